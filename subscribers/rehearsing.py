"""What an import would do, said before anything is changed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

from subscribers import guessing, importing
from subscribers.models import Attribute, Import, Subscriber, Subscription, Suppression
from subscribers.parsing import Batch, Parser
from subscribers.reading import Layout, Records, layout_of

MOST_ROWS = 20_000
"""Read at most: about a second. Of longer files it is said that this is their beginning."""
_AT_ONCE = 5_000
Row = TypeVar("Row")


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What would become of the rows. Their sum is `rows`: new + known + duplicates + refused."""

    rows: int
    is_whole: bool
    """False: the file goes on, these are its first rows."""
    new: int
    known: int
    on_list: int
    """Of the known: who is on the list already, subscribed or not."""
    unmailable: int
    """Of new and known: who gets no mail all the same."""
    duplicates: int
    refused: int
    reasons: list[tuple[str, int]]
    """Reason and how many rows, most first; so for warnings."""
    warnings: list[tuple[str, int]]
    new_attributes: list[str]
    """Names of fields that would be made."""


def rehearse(import_: Import, mapping: Mapping[str, str]) -> Rehearsal:
    """Return what importing with these columns would do; nothing is written.

    Raises InvalidInput for a mapping that cannot be used or a file that is gone.
    """
    importing.check_mapping(import_, mapping)
    batch, is_whole = _read(import_, mapping)
    emails = [person.email for person in batch.people]
    keys = [person.address_key for person in batch.people]
    known = sum(Subscriber.objects.filter(email__in=part).count() for part in _parts(emails))
    return Rehearsal(
        rows=batch.rows,
        is_whole=is_whole,
        new=len(emails) - known,
        known=known,
        on_list=_on_list(import_, emails),
        unmailable=sum(_unmailable(part) for part in _parts(keys)),
        duplicates=batch.duplicates,
        refused=len(batch.refused),
        reasons=Counter(refused.reason for refused in batch.refused).most_common(),
        warnings=batch.warnings.most_common(),
        new_attributes=_new_attributes(mapping),
    )


def _read(import_: Import, mapping: Mapping[str, str]) -> tuple[Batch, bool]:
    """Return the first rows as they would be taken, and whether these are all."""
    with importing.opened(import_) as file:
        layout = layout_of(file, import_.delimiter)
        records = Records(file, layout.delimiter, layout.offset, layout.line)
        types = {**_guessed_types(import_, mapping, layout), **importing.known_types()}
        parser = Parser(import_.headers, mapping, types, import_.policies, import_.tags)
        batch = parser.parse(islice(records, MOST_ROWS))
    return batch, records.offset >= import_.size


def _guessed_types(import_: Import, mapping: Mapping[str, str], layout: Layout) -> dict[str, str]:
    """Return what new attributes would be registered as."""
    cells = {
        header: guessing.column(layout.samples, position)
        for position, header in enumerate(import_.headers)
    }
    return {
        field.partition(".")[2]: guessing.guess_type(header, cells[header])
        for header, field in mapping.items()
        if field.startswith("attributes.")
    }


def _parts(rows: Sequence[Row]) -> list[Sequence[Row]]:
    return [rows[start : start + _AT_ONCE] for start in range(0, len(rows), _AT_ONCE)]


def _on_list(import_: Import, emails: Sequence[str]) -> int:
    if import_.list_id is None:
        return 0
    there = Subscription.objects.filter(list=import_.list_id)
    return sum(there.filter(subscriber__email__in=part).count() for part in _parts(emails))


def _unmailable(keys: Sequence[bytes]) -> int:
    """Count the suppressed, and who is closed without a suppression."""
    suppressed = Suppression.objects.stopping("marketing").filter(address_key__in=keys)
    closed = Subscriber.objects.filter(address_key__in=keys).exclude(
        status=Subscriber.Status.ACTIVE
    )
    rows = suppressed.values("address_key").union(closed.values("address_key"))
    return rows.count()


def _new_attributes(mapping: Mapping[str, str]) -> list[str]:
    names = [field.partition(".")[2] for field in mapping.values() if "." in field]
    known = set(Attribute.objects.filter(name__in=names).values_list("name", flat=True))
    return [name for name in names if name not in known]
