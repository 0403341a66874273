"""Read HTML or MJML piece by piece, in time in proportion to its length, whatever it holds.

The standard library's HTMLParser is quadratic on hostile input in the versions we run on.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal


def words(text: str) -> frozenset[str]:
    return frozenset(text.split())


INSIDE = r"""(?:[^>"']++|"[^"]*+(?:"|\Z)|'[^']*+(?:'|\Z))*+"""
"""What is between the name of a tag and its >; a quote that is never closed takes the rest."""
TAG = re.compile(rf"<(?P<close>/?)(?P<name>[A-Za-z][^\s/>]*+)(?P<inside>{INSIDE})(?:>|\Z)")
DECLARATION = re.compile(r"<[!?][^>]*+(?:>|\Z)")
COMMENT = re.compile(r"<!--.*?(?:-->|\Z)", re.DOTALL)
VERBATIM = {name: re.compile(rf"</{name}\b", re.IGNORECASE) for name in ("script", "style")}
"""Elements whose content is not markup."""
VOID = words("area base br col embed hr img input link meta param source track wbr")
"""Elements of HTML that have no content and no end."""


@dataclass(frozen=True)
class Piece:
    """A text, comment, declaration, or the start or end of an element: source[start:end]."""

    kind: Literal["text", "open", "close", "comment"]
    start: int
    end: int
    name: str = ""
    """Lower case; of starts and ends of elements only."""
    inside: str = ""
    """What stands behind the name of a start: attributes, and the / of an empty element."""

    @property
    def is_empty(self) -> bool:
        return self.name in VOID or self.inside.endswith("/")


def pieces(source: str) -> Iterator[Piece]:
    """Yield all of `source`, in order."""
    position = 0
    while position < len(source):
        piece = _piece(source, position)
        yield piece
        position = piece.end
        if piece.kind == "open" and piece.name in VERBATIM and not piece.is_empty:
            end = VERBATIM[piece.name].search(source, position)
            stop = end.start() if end else len(source)
            yield Piece("text", position, stop)
            position = stop


def _piece(source: str, start: int) -> Piece:
    if source[start] != "<":
        stop = source.find("<", start)
        return Piece("text", start, stop if stop >= 0 else len(source))
    if comment := COMMENT.match(source, start):
        return Piece("comment", start, comment.end())
    if declaration := DECLARATION.match(source, start):
        return Piece("comment", start, declaration.end())
    if found := TAG.match(source, start):
        kind: Literal["open", "close"] = "close" if found["close"] else "open"
        return Piece(kind, start, found.end(), found["name"].lower(), found["inside"])
    # A lone < is text.
    stop = source.find("<", start + 1)
    return Piece("text", start, stop if stop >= 0 else len(source))


ATTRIBUTE = re.compile(
    r"""(?P<name>[^\s"'>/=]++)(?:\s*+=\s*+(?:"(?P<double>[^"]*+)"|'(?P<single>[^']*+)'|(?P<bare>[^\s"'>]++)))?"""
)


def attributes(inside: str) -> dict[str, tuple[int, int]]:
    """Return where the value of each attribute stands in `inside`; the first of a name counts."""
    found: dict[str, tuple[int, int]] = {}
    for attribute in ATTRIBUTE.finditer(inside):
        group = next((g for g in ("double", "single", "bare") if attribute[g] is not None), "name")
        span = attribute.span(group) if group != "name" else (attribute.end(), attribute.end())
        found.setdefault(attribute["name"].lower(), span)
    return found
