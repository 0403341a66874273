"""One address out of texts: in every spelling in which it may stand there, and of nobody else."""

from __future__ import annotations

import mmap
import re
from collections.abc import Collection, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from django.db import connection, models

INSTEAD = "erased"
_BEFORE = r"(?:(?<![\w.+-])|(?<=%[0-9a-fA-F]{2}))"
_AFTER = r"(?![\w-]|\.\w)"


@lru_cache(maxsize=16)
def pattern_of(address: str) -> str:
    """Return the regular expression, for Python and PostgreSQL alike, of an address in a text.

    Bare, in a URL (%40) or escaped in JSON (backslash, u0040), the domain as IDNA or as written.
    Neighbours that contain it (joana@… for ana@…) do not match.
    """
    spelt = "|".join("".join(map(_letter, each)) for each in _spellings(address))
    return f"{_BEFORE}(?:{spelt}){_AFTER}"


def _letter(letter: str) -> str:
    if letter.isascii() and letter.isalnum():
        return letter
    url = "".join(f"%{byte:02X}" for byte in letter.encode())
    literal = f"\\{letter}" if letter.isascii() else letter
    return f"(?:{literal}|{url}|\\\\u{ord(letter):04x})"


def _spellings(address: str) -> Iterator[str]:
    yield address
    local, _, domain = address.rpartition("@")
    try:
        written = domain.encode().decode("idna")
    except UnicodeError:
        return
    if written != domain:
        yield f"{local}@{written}"


def is_in(address: str, text: str) -> bool:
    return re.search(pattern_of(address), text, re.IGNORECASE) is not None


def without(address: str, body: bytes) -> bytes:
    """Return bytes (JSON, a form, a mail) with another word in place of an address."""
    pattern = pattern_of(address).encode()
    return re.sub(pattern, INSTEAD.encode(), body, flags=re.IGNORECASE)


def scrub(
    model: type[models.Model], address: str, columns: Collection[str], among: Any = None
) -> int:
    """Put another word in place of an address in text columns of a table; return how many rows.

    `among`: the keys of the rows to look at; None: all of them, which reads the whole table.
    """
    pattern, changes, finds = pattern_of(address), [], []
    for name in columns:
        field = model._meta.get_field(name)
        column = connection.ops.quote_name(name)
        cast = "::jsonb" if isinstance(field, models.JSONField) else ""
        changes.append(
            f"{column} = regexp_replace({column}::text, %(pattern)s, %(instead)s, 'gi'){cast}"
        )
        finds.append(f"{column}::text ~* %(pattern)s")
    table = connection.ops.quote_name(model._meta.db_table)
    chosen = "" if among is None else f"{model._meta.pk.column} = ANY(%(among)s) AND "
    sql = f"UPDATE {table} SET {', '.join(changes)} WHERE {chosen}({' OR '.join(finds)})"  # noqa: S608 (names of our own)
    values = {"pattern": pattern, "instead": INSTEAD, "among": among and list(among)}
    if among is not None and not values["among"]:
        return 0
    with connection.cursor() as cursor:
        cursor.execute(sql, values)
        return int(cursor.rowcount)


def _wide(address: str) -> tuple[bytes, bytes]:
    """Return the patterns of an address in UTF-16, either way round."""
    little, big = (re.escape(address.encode(each)) for each in ("utf-16-le", "utf-16-be"))
    return (
        rb"(?<![\w.+-]\x00)" + little + rb"(?![\w-]\x00)",
        rb"(?<!\x00[\w.+-])" + big + rb"(?!\x00[\w-])",
    )


def blot_out(address: str, path: Path) -> int:
    """Overwrite an address in a file, letter by letter, so that its size stays; say how often."""
    if not path.is_file() or not path.stat().st_size:
        return 0
    plain = pattern_of(address).encode()
    found = 0
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as content:
        for pattern in (plain, *_wide(address)):
            places = [match.span() for match in re.finditer(pattern, content, re.IGNORECASE)]
            for start, end in places:
                content[start:end] = b"x" * (end - start)
            found += len(places)
    return found
