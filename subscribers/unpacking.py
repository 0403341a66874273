"""Excel workbooks into CSV, by a process apart (`subscribers.sheets`), once they look harmless."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from typing import BinaryIO

from django.conf import settings

from emailplatform.errors import InvalidInput

ZIP = b"PK\x03\x04"
MOST_UNPACKED = 600 << 20
"""Bytes of XML that a workbook may claim to hold: more than a million rows of seven columns."""
MOST_PARTS = 5_000
_PATIENCE_S = 180
_NO_WORKBOOK = "This is a zip file, not an Excel workbook: unpack it and upload the CSV inside."
_UNREADABLE = (
    "The workbook cannot be read: it is damaged, or larger than can be unpacked here. "
    "Save the sheet as CSV."
)


@dataclass(frozen=True, slots=True)
class Unpacked:
    """Which sheet was taken, and all that may be chosen."""

    sheet: str
    sheets: list[str]


def unpack(workbook: BinaryIO, into: BinaryIO, sheet: str = "") -> Unpacked:
    """Write a sheet as CSV; without a name, the first with something in it.

    Both are real files. Raises InvalidInput in one sentence.
    """
    _check(workbook)
    workbook.seek(0)
    command = [sys.executable, "-m", "subscribers.sheets", *([sheet] if sheet else [])]
    try:
        done = subprocess.run(
            command,
            stdin=workbook,
            stdout=into,
            stderr=subprocess.PIPE,
            cwd=settings.BASE_DIR,
            env={"PYTHONUTF8": "1"},
            timeout=_PATIENCE_S,
            check=True,
        )
        found = Unpacked(**json.loads(done.stderr))
    except (subprocess.SubprocessError, ValueError, TypeError) as error:
        raise InvalidInput(_UNREADABLE) from error
    if not found.sheet:
        raise InvalidInput(
            f"The workbook has no sheet “{sheet}” with anything in it."
            if sheet
            else "The workbook is empty."
        )
    return found


def _check(workbook: BinaryIO) -> None:
    """Refuse other zip files, and those that claim to unpack to too much."""
    workbook.seek(0)
    try:
        with zipfile.ZipFile(workbook) as parts:
            entries = parts.infolist()
    except zipfile.BadZipFile as error:
        raise InvalidInput(_UNREADABLE) from error
    if not any(entry.filename.startswith("xl/") for entry in entries):
        raise InvalidInput(_NO_WORKBOOK)
    if len(entries) > MOST_PARTS or sum(entry.file_size for entry in entries) > MOST_UNPACKED:
        raise InvalidInput(
            f"The workbook unpacks to more than {MOST_UNPACKED >> 20} MB: save the sheet as CSV."
        )
