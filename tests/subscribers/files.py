"""CSV files for tests, as bytes."""

from __future__ import annotations

import csv
import io
import itertools
from collections.abc import Iterable
from pathlib import Path

from subscribers import importing
from subscribers.models import Import, MailingList

ROOT = Path(__file__).resolve().parent.parent.parent
DEMO = ROOT / "demo" / "subscribers.csv"


def table(*rows: Iterable[str], delimiter: str = ",") -> bytes:
    """Return a CSV file with these rows, the first being the header."""
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter, lineterminator="\r\n").writerows(rows)
    return text.getvalue().encode()


def people(count: int, tag: str = "p") -> bytes:
    """Return a file of so many people: E-Mail, Vorname, Plan."""
    plans = itertools.cycle(["free", "pro", "team"])
    rows = ((f"{tag}{n}@mail.example", f"Name {n}", next(plans)) for n in range(count))
    return table(("E-Mail", "Vorname", "Plan"), *rows)


def started(content: bytes, target: MailingList | None = None) -> Import:
    """Return the import of a file, waiting for its columns to be confirmed."""
    return importing.start(io.BytesIO(content), "people.csv", target)


def imported(content: bytes, target: MailingList | None = None, known: str = "update") -> Import:
    """Return the import of a file after it has run."""
    row = started(content, target)
    importing.confirm(row, row.mapping, known)
    importing.run(row.pk, 60)
    row.refresh_from_db()
    return row
