"""CSV as people really send it, read in bounded memory and from any record's first byte on.

What is stored is UTF-8, lines end in LF or CRLF (`subscribers.receiving` sees to it). A line that
is not UTF-8 is read as Windows-1252: files glued together from two sources stay readable.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import BinaryIO, NamedTuple

from emailplatform.errors import InvalidInput

LONGEST_RECORD = 1 << 20
"""Bytes of one record, and of one line. Longer ones are refused without being held in memory."""
SAMPLE_BYTES = 1 << 18
"""How much of a file is looked at to tell how it is written."""
SAMPLE_ROWS = 200
DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
_EXCEL_HINT = re.compile(rb"sep=([,;\t|])\r?\n")
MOST_COLUMNS = 500
_SKIP_BYTES = 1 << 16


class Record(NamedTuple):
    """One record: the line it starts on, its cells, and what is wrong with it ("" if nothing)."""

    line: int
    cells: list[str]
    problem: str = ""


class _TooLong(Exception):
    """The record outgrew LONGEST_RECORD."""


class Records:
    """The records of an open file, one after the other.

    After each one `offset` is the first byte and `line` the number of lines behind it: begin there
    again (with the same delimiter) and the rest comes out the same. Records that cannot be read
    (a quote never closed, too long) come with a problem and their first line as the only cell; the
    next line begins anew, so one stray quote costs one row and not the rest of the file.
    """

    def __init__(self, file: BinaryIO, delimiter: str, offset: int = 0, line: int = 0) -> None:
        self.offset, self.line = offset, line
        self._file, self._delimiter = file, delimiter
        self._ahead_offset, self._ahead_line = offset, line

    def __iter__(self) -> Iterator[Record]:
        """Yield every record that is not a blank line."""
        while True:
            try:
                yield from self._well_formed()
            except csv.Error as error:
                problem = _problem(error)
            except _TooLong:
                problem = f"longer than {LONGEST_RECORD >> 20} MB"
            else:
                return
            yield self._skip_a_line(problem)

    def _well_formed(self) -> Iterator[Record]:
        self._file.seek(self.offset)
        self._ahead_offset, self._ahead_line = self.offset, self.line
        # Strict: otherwise a stray quote silently swallows the people of the lines after it.
        for cells in csv.reader(self._lines(), delimiter=self._delimiter, strict=True):
            first = self.line + 1
            self.offset, self.line = self._ahead_offset, self._ahead_line
            if cells:
                yield Record(first, cells)

    def _lines(self) -> Iterator[str]:
        readline = self._file.readline
        while raw := readline(LONGEST_RECORD + 1):
            self._ahead_offset += len(raw)
            self._ahead_line += 1
            if self._ahead_offset - self.offset > LONGEST_RECORD:
                raise _TooLong
            yield decoded(raw)

    def _skip_a_line(self, problem: str) -> Record:
        """Step over one line of whatever length, in small reads."""
        self._file.seek(self.offset)
        part = self._file.readline(_SKIP_BYTES)
        start = decoded(part[:2000]).rstrip("\r\n")
        self.offset += len(part)
        while part and not part.endswith(b"\n"):
            part = self._file.readline(_SKIP_BYTES)
            self.offset += len(part)
        self.line += 1
        return Record(self.line, [start], problem)


def _problem(error: csv.Error) -> str:
    text = str(error)
    if "expected after" in text:
        return "a quote in the middle of a quoted cell (inside quotes, write it twice)"
    if "new-line character" in text:
        return "a line break in the middle of a cell"
    return "a quote that is never closed"


def decoded(raw: bytes) -> str:
    """Return a line as text: UTF-8, or else Windows-1252 and, where that has gaps, Latin-1."""
    for encoding in ("utf-8", "cp1252"):
        try:
            return raw.decode(encoding)
        except UnicodeDecodeError:
            continue
    return raw.decode("latin-1")


@dataclass(frozen=True, slots=True)
class Layout:
    """How a file is written, and where its first row of data begins."""

    delimiter: str
    headers: list[str]
    offset: int
    line: int
    samples: list[list[str]]


def layout_of(file: BinaryIO, delimiter: str = "") -> Layout:
    """Return the layout of a stored file, with up to SAMPLE_ROWS rows; without delimiter, guess it.

    Raises InvalidInput, in one sentence, if there is no header or nothing below it.
    """
    if delimiter and delimiter not in DELIMITERS:
        raise InvalidInput("The delimiter must be a comma, semicolon, tab or bar.")
    file.seek(0)
    sample = file.read(SAMPLE_BYTES)
    start, line = _start_of(sample)
    hint = _EXCEL_HINT.match(sample, start)
    if hint:
        start, line = hint.end(), line + 1
        delimiter = delimiter or hint.group(1).decode("latin-1")
    delimiter = delimiter or guess_delimiter(sample[start:])
    return _layout(Records(file, delimiter, start, line), delimiter)


def _layout(records: Records, delimiter: str) -> Layout:
    header = next((record for record in records if any(map(str.strip, record.cells))), None)
    if header is None:
        raise InvalidInput("The file is empty.")
    if header.problem:
        raise InvalidInput(f"The first line cannot be read: {header.problem}.")
    if len(header.cells) > MOST_COLUMNS:
        raise InvalidInput(f"The first line has more than {MOST_COLUMNS} columns.")
    offset, line = records.offset, records.line
    rows = [record.cells for record in islice(records, SAMPLE_ROWS)]
    if not rows:
        raise InvalidInput("The file has a line of column names and nothing below it.")
    return Layout(delimiter, unique_headers(header.cells), offset, line, rows)


def _start_of(sample: bytes) -> tuple[int, int]:
    return (3, 0) if sample.startswith(codecs.BOM_UTF8) else (0, 0)


def guess_delimiter(sample: bytes) -> str:
    """Return the delimiter under which most rows are as wide as the header; the widest of equals.

    A file with a single column gives a comma.
    """
    end = sample.rfind(b"\n") + 1
    text = decoded(sample[:end] if end else sample)
    lines = list(islice(io.StringIO(text, newline="\n"), SAMPLE_ROWS))
    return max(DELIMITERS, key=lambda each: _fit(lines, each))


def _fit(lines: list[str], delimiter: str) -> tuple[float, int]:
    """Return the share of rows as wide as the first, and how wide it is."""
    try:
        widths = [len(cells) for cells in csv.reader(lines, delimiter=delimiter) if cells]
    except csv.Error:
        return (0.0, 0)
    if not widths or widths[0] == 1:
        return (0.0, 1)
    return (sum(width == widths[0] for width in widths) / len(widths), widths[0])


def unique_headers(cells: list[str]) -> list[str]:
    """Return the column names, none empty and none twice: “Name”, “Name (2)”, “Column 3”."""
    seen: Counter[str] = Counter()
    names = []
    for number, cell in enumerate(cells, 1):
        name = " ".join(cell.replace("\0", "").split())[:100] or f"Column {number}"
        seen[name] += 1
        while seen[name] > 1:
            name = f"{name} ({seen[name]})"
            seen[name] += 1
        names.append(name)
    return names
