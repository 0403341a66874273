"""From a file to people on a list: start, confirm the columns, run. A crash costs a second's work.

Everything a run of rows changes (people, subscriptions, refused rows, counters, the place in the
file) is one transaction, so an import goes on exactly where it stood, whoever was killed.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from time import monotonic
from typing import Any, BinaryIO, cast
from uuid import uuid4

import psycopg
from django.contrib.auth.models import AbstractBaseUser
from django.core.files import File
from django.db import OperationalError, transaction
from django.utils import timezone

from emailplatform.errors import DomainError, InvalidInput
from subscribers import guessing, upserting
from subscribers.models import Attribute, Import, MailingList
from subscribers.parsing import Batch, Parser, guarded
from subscribers.reading import DELIMITERS, Layout, Record, Records, layout_of
from subscribers.receiving import received
from subscribers.upserting import Counts

CHUNK_ROWS = 10_000
CHUNK_BYTES = 8 << 20
"""A transaction takes so many rows, or bytes of the file, whichever comes first."""
LEASE = timedelta(minutes=2)
"""How long a worker owns an import after each chunk: many times what one takes."""
_TRIES = 5


class _NoLongerOurs(Exception):
    """The import was paused, cancelled, or taken on by somebody else."""


def start(
    content: BinaryIO,
    filename: str,
    list: MailingList | None = None,  # noqa: A002 — as the field is called
    *,
    known: str = Import.Known.UPDATE,
    user: AbstractBaseUser | None = None,
    delimiter: str = "",
) -> Import:
    """Store a file and return its import, the columns guessed, waiting for `confirm`.

    `content` is read once, in blocks. Raises InvalidInput, in one sentence, for what is no CSV file
    with a line of column names and at least one row; nothing is stored then.
    """
    with received(content) as (file, encoding, size):
        layout = layout_of(file, delimiter)
        import_ = Import(
            filename=_short(filename),
            list=list,
            known=known,
            encoding=encoding,
            delimiter=layout.delimiter,
            headers=layout.headers,
            mapping=guessing.guess_mapping(layout.headers, layout.samples),
            size=size,
            offset=layout.offset,
            line=layout.line,
            created_by=cast("Any", user),
        )
        file.seek(0)
        import_.file.save(f"{uuid4().hex}.csv", File(file), save=False)
    import_.save()
    return import_


def _short(filename: str) -> str:
    name = filename.replace("\\", "/").rpartition("/")[2]
    return "".join(c for c in name if c.isprintable())[:255] or "people.csv"


@dataclass(frozen=True, slots=True)
class Column:
    """One column as the mapping page shows it."""

    header: str
    field: str
    """As mapped now: "email", …, "attributes.plan", "" to leave it out."""
    suggestion: str
    """The attribute it would become: "attributes.plan"."""
    type: str
    """What its values look like: text, number, date, boolean. A known attribute's type stands."""
    samples: list[str]
    """Up to three different values."""


@dataclass(frozen=True, slots=True)
class Preview:
    """A file as it was understood."""

    columns: list[Column]
    encoding: str
    delimiter: str
    """In a word: comma, semicolon, tab."""
    problems: list[str]
    """What keeps it from starting or deserves a look, in sentences."""


_ENCODINGS = {
    "utf-8": "UTF-8",
    "utf-8-sig": "UTF-8 with a byte order mark",
    "cp1252": "Windows-1252 (Latin-1)",
    "utf-16": "UTF-16",
}


def preview(import_: Import) -> Preview:
    """Return how the file of an import that has not ended was understood, with sample values."""
    with _opened(import_) as file:
        layout = layout_of(file, import_.delimiter)
    types = _known_types()
    columns = [
        _column(import_, layout, position, types) for position in range(len(import_.headers))
    ]
    return Preview(
        columns,
        _ENCODINGS.get(import_.encoding, import_.encoding),
        DELIMITERS.get(import_.delimiter, import_.delimiter),
        _problems(import_, layout),
    )


def _column(import_: Import, layout: Layout, position: int, types: Mapping[str, str]) -> Column:
    header = import_.headers[position]
    field = import_.mapping.get(header, "")
    cells = guessing.column(layout.samples, position)
    others = [other for name, other in import_.mapping.items() if name != header]
    suggestion = f"attributes.{guessing.free_name(header, position, others)}"
    named = (field if field.startswith("attributes.") else suggestion).partition(".")[2]
    kind = types.get(named) or guessing.guess_type(header, cells)
    samples = [cell[:100] for cell in dict.fromkeys(cells)][:3]
    return Column(header, field, suggestion, kind, samples)


def _problems(import_: Import, layout: Layout) -> list[str]:
    problems = []
    if "email" not in import_.mapping.values():
        problems.append("No column looks like e-mail addresses: choose the one that holds them.")
    if any(map(guessing.is_address, import_.headers)):
        problems.append(
            "The first line holds an address: a line with column names seems to be missing."
        )
    if import_.encoding == "cp1252":
        problems.append(
            "The file is not UTF-8 and is read as Windows-1252: check names with accents below."
        )
    if len(layout.headers) == 1:
        problems.append("There is only one column: if that is wrong, choose another delimiter.")
    return problems


@contextmanager
def _opened(import_: Import) -> Iterator[BinaryIO]:
    """Give the stored file, open; closed afterwards."""
    try:
        stored = import_.file.open("rb")
    except (FileNotFoundError, ValueError) as error:
        raise InvalidInput("The file is no longer there: upload it again.") from error
    with stored:
        yield cast("BinaryIO", stored.file)


def _known_types() -> dict[str, str]:
    return dict(Attribute.objects.values_list("name", "type"))


def confirm(
    import_: Import,
    mapping: Mapping[str, str],
    known: str = Import.Known.UPDATE,
    types: Mapping[str, str] | None = None,
) -> None:
    """Queue an import with these columns: header -> field, as in `Import.mapping`.

    Headers not named are left out. Attributes that are new are registered, with the type in `types`
    (attribute name -> type) or the guessed one. Raises InvalidInput naming the column at fault.
    """
    _check_mapping(import_, mapping)
    if known not in Import.Known:
        raise InvalidInput(f"“{known}” is none of {', '.join(Import.Known)}.", param="known")
    full = {header: mapping.get(header, "") for header in import_.headers}
    with _opened(import_) as file:
        layout = layout_of(file, import_.delimiter)
    with transaction.atomic():
        _register_attributes(full, layout, types or {})
        import_.move_to(Import.Status.QUEUED, mapping=full, known=known)


def _check_mapping(import_: Import, mapping: Mapping[str, str]) -> None:
    unknown = [header for header in mapping if header not in import_.headers]
    if unknown:
        raise InvalidInput(f"The file has no column “{unknown[0]}”.", param="mapping")
    used = Counter(field for field in mapping.values() if field)
    for field, count in used.items():
        if field not in guessing.FIELDS and not _is_attribute(field):
            raise InvalidInput(f"“{field}” is not a field of people.", param="mapping")
        if count > 1:
            label = guessing.FIELDS.get(field, field)
            raise InvalidInput(f"Two columns are mapped to “{label}”.", param="mapping")
    if "email" not in used:
        raise InvalidInput(
            "No column is mapped to the e-mail address: choose the one that holds it.",
            param="mapping",
        )


def _is_attribute(field: str) -> bool:
    return field.startswith("attributes.") and guessing.is_attribute_name(field[11:])


def _register_attributes(
    mapping: Mapping[str, str], layout: Layout, types: Mapping[str, str]
) -> None:
    for position, (header, field) in enumerate(mapping.items()):
        prefix, _, name = field.partition(".")
        if prefix == "attributes":
            cells = guessing.column(layout.samples, position)
            kind = types.get(name) or guessing.guess_type(header, cells)
            if kind not in Attribute.Type:
                raise InvalidInput(f"“{kind}” is no type of attribute.", param="types")
            Attribute.objects.get_or_create(name=name, defaults={"label": header, "type": kind})


def run(pk: int, seconds: float = 20.0) -> bool:
    """Work on an import for about so many seconds; say whether it was ours to work on.

    Takes it with a lease: of several callers one works, the others get False at once. Returns True
    also when it ended (done or failed): read its status. Safe to kill at any moment.
    """
    now = timezone.now()
    import_ = Import.objects.lease(pk, now, now + LEASE)
    if import_ is None:
        return False
    stop_at = monotonic() + seconds
    try:
        for _ in _chunks(import_):
            if monotonic() >= stop_at:
                Import.objects.release(pk, timezone.now())
                return True
        import_.finish(Import.Status.DONE)
    except _NoLongerOurs:
        return True
    except DomainError as error:
        import_.finish(Import.Status.FAILED, str(error))
    return True


def _chunks(import_: Import) -> Iterator[None]:
    """Write chunk after chunk of the file; stop behind each, committed."""
    parser = Parser(import_.headers, import_.mapping, _known_types())
    with _opened(import_) as file:
        records = Records(file, import_.delimiter, import_.offset, import_.line)
        stream = iter(records)
        while import_.offset < import_.size:
            batch = parser.parse(_bounded(records, stream))
            _write(import_, batch, records)
            yield


def _bounded(records: Records, stream: Iterator[Record]) -> Iterator[Record]:
    end = records.offset + CHUNK_BYTES
    for count, record in enumerate(stream, 1):
        yield record
        if count == CHUNK_ROWS or records.offset >= end:
            return


def _write(import_: Import, batch: Batch, records: Records) -> None:
    """Commit a batch and the place behind it; tried again when it got in another's way."""
    for tries_left in reversed(range(_TRIES)):
        try:
            with transaction.atomic():
                fields = _write_once(import_, batch)
                fields |= {"offset": records.offset, "line": records.line}
                if not Import.objects.advance(import_.pk, import_.offset, **fields):
                    raise _NoLongerOurs
        except OperationalError as error:
            if not tries_left or not isinstance(error.__cause__, psycopg.errors.DeadlockDetected):
                raise
        else:
            for name, value in fields.items():
                setattr(import_, name, value)
            return


def _write_once(import_: Import, batch: Batch) -> dict[str, Any]:
    """Write a batch; return the fields of the import as they are afterwards."""
    now = timezone.now()
    counts = Counts()
    if batch.people:
        upserting.stage(batch.people)
        counts = upserting.upsert(import_, now)
    if batch.refused:
        upserting.store_refused(import_.pk, batch.refused)
    reasons = Counter(refused.reason for refused in batch.refused)
    return {
        "rows": import_.rows + batch.rows,
        "created_count": import_.created_count + counts.created,
        "updated_count": import_.updated_count + counts.updated,
        "unchanged_count": import_.unchanged_count + counts.unchanged,
        "duplicate_count": import_.duplicate_count + counts.duplicates + batch.duplicates,
        "refused_count": import_.refused_count + len(batch.refused),
        "subscribed_count": import_.subscribed_count + counts.subscribed,
        "unmailable_count": import_.unmailable_count + counts.unmailable,
        "reasons": dict(Counter(import_.reasons) + reasons),
        "warnings": dict(Counter(import_.warnings) + batch.warnings),
        "lease_until": now + LEASE,
    }


def refused_csv(import_: Import) -> Iterator[str]:
    """Yield the error file, line by line: where each refused row stood, why, and what it said.

    Cells a spreadsheet would take for a formula begin with ' (SEC-14).
    """
    line = csv.writer(_Echo(), lineterminator="\r\n")
    yield line.writerow(["Line", "Reason", "Content"])
    rows = import_.refused.order_by("line").values_list("line", "reason", "content")
    for number, reason, content in rows.iterator(chunk_size=2_000):
        yield line.writerow([number, guarded(reason), guarded(content)])


class _Echo:
    """What csv writes to: gives the line back."""

    def write(self, text: str) -> str:
        return text
