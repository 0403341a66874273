"""From a file to people on a list: start, confirm the columns, run; then the error file.

A crash costs a second's work (`subscribers.chunking`). An import that ended lets go of its file.
"""

from __future__ import annotations

import csv
import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from time import monotonic
from typing import Any, BinaryIO, cast
from uuid import uuid4

from django.contrib.auth.models import AbstractBaseUser
from django.core.files import File
from django.db import DataError, IntegrityError, transaction
from django.utils import timezone

from emailplatform.errors import InvalidInput
from emailplatform.states import InvalidTransition
from subscribers import chunking, converting, guessing
from subscribers.models import Attribute, Import, MailingList
from subscribers.parsing import Parser, guarded
from subscribers.reading import DELIMITERS, Layout, layout_of
from subscribers.receiving import Received, received

logger = logging.getLogger(__name__)


def start(
    content: BinaryIO,
    filename: str,
    list: MailingList | None = None,  # noqa: A002 — as the field is called
    *,
    known: str = Import.Known.UPDATE,
    user: AbstractBaseUser | None = None,
    sheet: str = "",
) -> Import:
    """Store a file and return its import, the columns guessed, waiting for `confirm`.

    `content` is read once, in blocks: CSV, or an Excel workbook, of which `sheet` is taken (the
    first with something in it). Raises InvalidInput, in one sentence, for what has no line of
    column names and at least one row; nothing is stored then.
    """
    with received(content, sheet) as got:
        import_ = Import(
            filename=_short(filename),
            list=list,
            known=known,
            created_by=cast("Any", user),
        )
        _describe(import_, got)
        _keep(import_, got)
    import_.save()
    return import_


def choose_sheet(import_: Import, sheet: str) -> None:
    """Read another sheet of the workbook an import came in; its columns are guessed anew.

    Raises InvalidInput if there is no such sheet, or nothing in it that could be imported.
    """
    if import_.status != Import.Status.MAPPING or not import_.workbook:
        raise InvalidInput("Only before an import has started, another sheet can be chosen.")
    with import_.workbook.open("rb") as workbook, received(workbook.file, sheet) as got:
        _describe(import_, got)
        import_.file.delete(save=False)
        import_.file.save(f"{uuid4().hex}.csv", File(got.file), save=False)
    import_.save()


def _describe(import_: Import, got: Received) -> None:
    """Write down how the file is read. Raises InvalidInput if it cannot be."""
    layout = layout_of(got.file, "," if got.workbook else "")
    import_.encoding, import_.sheet, import_.sheets = got.encoding, got.sheet, [*got.sheets]
    import_.delimiter, import_.headers = layout.delimiter, layout.headers
    import_.mapping = guessing.guess_mapping(layout.headers, layout.samples)
    import_.size, import_.offset, import_.line = got.size, layout.offset, layout.line
    got.file.seek(0)


def _keep(import_: Import, got: Received) -> None:
    """Store the file, and the workbook as long as another of its sheets may be chosen."""
    import_.file.save(f"{uuid4().hex}.csv", File(got.file), save=False)
    if got.workbook and len(got.sheets) > 1:
        import_.workbook.save(f"{uuid4().hex}.xlsx", File(got.workbook), save=False)


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
    "xlsx": "an Excel workbook",
}


def preview(import_: Import) -> Preview:
    """Return how the file of an import that has not ended was understood, with sample values."""
    with opened(import_) as file:
        layout = layout_of(file, import_.delimiter)
    types = known_types()
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
def opened(import_: Import) -> Iterator[BinaryIO]:
    """Give the stored file, open; closed afterwards."""
    try:
        stored = import_.file.open("rb")
    except (FileNotFoundError, ValueError) as error:
        raise InvalidInput("The file is no longer there: upload it again.") from error
    with stored:
        yield cast("BinaryIO", stored.file)


def known_types() -> dict[str, str]:
    return dict(Attribute.objects.values_list("name", "type"))


def confirm(
    import_: Import,
    mapping: Mapping[str, str],
    known: str = Import.Known.UPDATE,
    types: Mapping[str, str] | None = None,
    tags: Iterable[str] = (),
) -> None:
    """Queue an import with these columns: header -> field, as in `Import.mapping`.

    `tags` are given to everybody whom the import makes or updates.

    Headers not named are left out. Attributes that are new are registered, with the type in `types`
    (attribute name -> type) or the guessed one. Raises InvalidInput naming the column at fault.
    """
    check_mapping(import_, mapping)
    if known not in Import.Known:
        raise InvalidInput(f"“{known}” is none of {', '.join(Import.Known)}.", param="known")
    full = {header: mapping.get(header, "") for header in import_.headers}
    with opened(import_) as file:
        layout = layout_of(file, import_.delimiter)
    with transaction.atomic():
        _register_attributes(full, layout, types or {})
        everybody = [*converting.tags(",".join(tags))]
        import_.move_to(Import.Status.QUEUED, mapping=full, known=known, tags=everybody)
    import_.let_go_of_workbook()


def check_mapping(import_: Import, mapping: Mapping[str, str]) -> None:
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
    for name, (header, kind) in attributes_of(mapping, layout, types).items():
        Attribute.objects.get_or_create(name=name, defaults={"label": header[:100], "type": kind})


def attributes_of(
    mapping: Mapping[str, str], layout: Layout, types: Mapping[str, str]
) -> dict[str, tuple[str, str]]:
    """Return attribute -> (header, type) of a whole mapping: `types` decide, then the samples."""
    found = {}
    for position, header in enumerate(layout.headers):
        prefix, _, name = mapping.get(header, "").partition(".")
        if prefix == "attributes":
            cells = guessing.column(layout.samples, position)
            kind = types.get(name) or guessing.guess_type(header, cells)
            if kind not in Attribute.Type:
                raise InvalidInput(f"“{kind}” is no type of attribute.", param="types")
            found[name] = (header, str(kind))
    return found


def run(pk: int, seconds: float = 20.0) -> bool:
    """Work on an import for about so many seconds; say whether it was ours to work on.

    Takes it with a lease: of several callers one works, the others get False at once. Returns True
    also when it ended (done or failed): read its status. Safe to kill at any moment.
    """
    now = timezone.now()
    import_ = Import.objects.lease(pk, now, now + chunking.LEASE)
    if import_ is None:
        return False
    try:
        if _work(import_, monotonic() + seconds):
            import_.finish(Import.Status.DONE)
        else:
            Import.objects.release(pk, timezone.now())
    except (chunking.NoLongerOurs, InvalidTransition):
        return True
    except (DataError, IntegrityError, InvalidInput) as error:
        _fail(import_, error)
    return True


def _work(import_: Import, stop_at: float) -> bool:
    """Write chunk after chunk until the file or the time is over; say whether it was the file."""
    parser = Parser(import_.headers, import_.mapping, known_types(), import_.policies, import_.tags)
    with opened(import_) as file, closing(chunking.batches(import_, file, parser)) as batches:
        for batch in batches:
            chunking.write(import_, batch)
            if monotonic() >= stop_at:
                break
    return import_.offset >= import_.size


def _fail(import_: Import, error: Exception) -> None:
    sentence = str(error)
    if not isinstance(error, InvalidInput):
        # Only the class: PostgreSQL's own words quote the row.
        kind = type(error.__cause__).__name__
        logger.error("import failed", extra={"import": import_.pk, "error": kind})
        sentence = f"The database refused the rows after line {import_.line}."
    with suppress(InvalidTransition):  # paused or cancelled meanwhile
        import_.finish(Import.Status.FAILED, sentence)


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
