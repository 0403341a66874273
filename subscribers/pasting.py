"""What people paste: addresses in whatever way their mail program writes them, as rows."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator

HEADER = ("Email", "First name", "Last name")
_parts = re.compile(r'(?:"[^"\n]*"|<[^>\n]*>|[^,;\t"<]|["<])+')
"""What stands between commas, semicolons and tabs, unless in quotes or angle brackets."""
_named = re.compile(r"(.*?)<([^<>]*)>\s*", re.DOTALL).fullmatch


def as_csv(text: str) -> bytes | None:
    """Return pasted addresses as CSV with HEADER; None for a table that has column names itself.

    One per line or many, “Name <address>”, or cells with the name beside the address. What is no
    address stays in its row, so that it is refused with a reason and not lost.
    """
    lines = [line for line in text.splitlines() if line.strip()]
    if not lines or ("@" not in lines[0] and any("@" in line for line in lines)):
        return None
    out = io.StringIO()
    write = csv.writer(out, lineterminator="\n").writerow
    write(HEADER)
    for line in lines:
        for row in rows_of(line):
            write(row)
    return out.getvalue().encode("utf-8", "replace")


def rows_of(line: str) -> Iterator[tuple[str, str, str]]:
    """Yield (address, first name, last name) of everybody in a line.

    >>> list(rows_of('"Gil, Ana" <ana@example.com>; ben@example.com'))
    [('ana@example.com', 'Ana', 'Gil'), ('ben@example.com', '', '')]
    >>> list(rows_of("Ana\\tGil\\tana@example.com"))
    [('ana@example.com', 'Ana', 'Gil')]
    """
    parts = [part.strip() for part in _parts.findall(line) if part.strip()]
    addressed = [part for part in parts if "@" in part]
    if len(addressed) == 1 and len(parts) > 1:
        address, *own = _row(addressed[0])
        beside = " ".join(part.strip('" ') for part in parts if part is not addressed[0])
        yield (address, own[0], own[1]) if any(own) else (address, *_name(beside))
        return
    for part in parts:
        words = part.split()
        if "<" not in part and sum("@" in word for word in words) > 1:
            yield from ((word, "", "") for word in words)
        else:
            yield _row(part)


def _row(part: str) -> tuple[str, str, str]:
    named = _named(part)
    if named is None:
        return (part, "", "")
    return (named[2].strip(), *_name(named[1].strip().strip('"')))


def _name(text: str) -> tuple[str, str]:
    """Return (first, last): “Gil, Ana” and “Ana Gil” are the same."""
    last, comma, first = text.partition(",")
    if comma:
        return first.strip(), last.strip()
    first, _, last = text.strip().partition(" ")
    return first, last.strip()
