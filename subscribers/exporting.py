"""People as a CSV file (RFC 4180), streamed page by page: memory is flat however many there are.

Pages by key, and no cursor held open: a pool of connections may sit in between, and no transaction
lasts for minutes. No cell is taken for a formula by a spreadsheet.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from django.db.models import QuerySet

from emailplatform.errors import InvalidInput
from subscribers.models import Attribute, Subscriber
from subscribers.parsing import guarded

PAGE = 2_000
"""People per statement."""
COLUMNS = {
    "email": "email",
    "status": "status",
    "first_name": "first_name",
    "last_name": "last_name",
    "language": "language",
    "time_zone": "time_zone",
    "country": "country",
    "tags": "tags",
    "source": "source",
    "created_at": "created_at",
    "id": "pk",
    "mailbox": "mailbox",
    "status_changed_at": "status_changed_at",
    "updated_at": "updated_at",
    "score": "engagement__score",
    "stage": "engagement__stage",
}
"""Column of the file → where it stands; besides these “attributes.plan” and the like."""
_USUAL = tuple(COLUMNS)[:10]


def columns_of(wanted: Sequence[str] = ()) -> tuple[str, ...]:
    """Return the columns asked for; by default the usual ones, then every attribute.

    Raises InvalidInput for one that there is not.
    """
    attributes = [f"attributes.{name}" for name in Attribute.objects.values_list("name", flat=True)]
    for name in wanted:
        if name not in COLUMNS and name not in attributes:
            raise InvalidInput(f"There is no column “{name[:60]}”.", param="columns")
    return tuple(dict.fromkeys(wanted)) or (*_USUAL, *attributes)


class _Line:
    """What csv writes to: hands back each line."""

    def write(self, line: str) -> str:
        return line


def lines(people: QuerySet[Subscriber], columns: Sequence[str]) -> Iterator[str]:
    """Yield the lines of the file, the names of the columns first; people by their ids."""
    writer = csv.writer(_Line())
    yield writer.writerow(columns)
    paths = ["attributes", *(COLUMNS[name] for name in columns if name in COLUMNS)]
    ordered = people.order_by("pk").values("pk", *paths)
    last = 0
    while page := list(ordered.filter(pk__gt=last)[:PAGE]):
        yield "".join(writer.writerow([_cell(row, name) for name in columns]) for row in page)
        last = page[-1]["pk"]


def _cell(row: dict[str, Any], column: str) -> str:
    if column in COLUMNS:
        return guarded(_text(row[COLUMNS[column]]))
    return guarded(_text(row["attributes"].get(column.removeprefix("attributes."))))


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, datetime):
        return value.isoformat()
    return "|".join(value) if isinstance(value, list) else str(value)
