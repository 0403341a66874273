"""A sheet of an Excel workbook as CSV: a program of its own, `python -m subscribers.sheets`.

Workbooks come from strangers and are unpacked into memory as a whole. So this runs apart from the
platform, with a limit to its memory and time and without a secret in its environment: what is made
to burst bursts here. Reads the workbook from standard input, writes CSV (UTF-8, LF) to standard
output and one JSON object, what it found, to standard error.
"""

from __future__ import annotations

import csv
import json
import resource
import sys
from collections.abc import Iterator, Sequence
from datetime import date, datetime, time, timedelta
from typing import Any, BinaryIO, TextIO

import python_calamine

MOST_MEMORY = 1 << 30
"""Bytes of address space; a million rows of seven columns take some 700 MB of it."""
MOST_SECONDS = 120
"""Of CPU; a million rows take ten."""


def main() -> None:
    """Convert the sheet named on the command line; without a name, the first with rows."""
    resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (MOST_SECONDS, MOST_SECONDS))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    wanted = sys.argv[1] if len(sys.argv) > 1 else ""
    sys.stdout.reconfigure(encoding="utf-8", errors="replace", newline="")  # type: ignore[union-attr]
    found = convert(sys.stdin.buffer, wanted, sys.stdout)
    sys.stdout.flush()
    sys.stderr.write(json.dumps(found))


def convert(workbook: BinaryIO, wanted: str, into: TextIO) -> dict[str, Any]:
    """Write a sheet as CSV; return {"sheets": names of those one may choose, "sheet": which}.

    A row of the sheet is a line of the file, empty ones too, so line numbers are row numbers.
    "sheet" is "" if there is no such sheet, or nothing in any.
    """
    book = python_calamine.CalamineWorkbook.from_filelike(workbook)
    names = [
        each.name
        for each in book.sheets_metadata
        if each.visible == python_calamine.SheetVisibleEnum.Visible
        and each.typ == python_calamine.SheetTypeEnum.WorkSheet
    ]
    write = csv.writer(into, lineterminator="\n").writerow
    for name in [wanted] if wanted else names:
        if name not in names:
            break
        sheet = book.get_sheet_by_name(name)
        if sheet.height:
            for row in sheet.iter_rows():
                write(cells_of(row))
            return {"sheets": names, "sheet": name}
    return {"sheets": names, "sheet": ""}


def cells_of(row: Sequence[Any]) -> list[str]:
    """Return a row as text; one with nothing in it is []."""
    cells = list(_texts(row))
    return cells if any(cells) else []


def _texts(row: Sequence[Any]) -> Iterator[str]:
    for value in row:
        yield value if type(value) is str and value.isprintable() else text_of(value)


def text_of(value: Any) -> str:
    """Return a value as CSV has it: 12 for 12.0, dates in ISO 8601, breaks of lines as spaces.

    >>> text_of(12.0), text_of(0.1), text_of(True), text_of(datetime(2026, 11, 23))
    ('12', '0.1', 'true', '2026-11-23')
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else repr(value)
    if isinstance(value, datetime):
        return value.date().isoformat() if value.time() == time() else value.isoformat()
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, timedelta):
        return str(value)
    return " ".join(str(value).replace("\0", "").splitlines())


if __name__ == "__main__":
    main()
