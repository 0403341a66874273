"""Find the Jinja tags of a source without understanding them: for what works on the text around.

Assumes a source which Jinja can read; a property test holds it against Jinja's own lexer.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

OPENING = re.compile(r"\{[{%#]")
RAW = re.compile(r"\{%[-+]?\s*raw\s*-?%\}")
END_RAW = re.compile(r"\{%[-+]?\s*endraw\s*[-+]?%\}")
INSIDE = re.compile(
    r"""(?P<text>"(?:[^"\\]|\\.)*+(?:"|\Z)|'(?:[^'\\]|\\.)*+(?:'|\Z))|(?P<end>[%}]\})|(?P<open>[(\[{])|(?P<close>[)\]}])""",
    re.DOTALL,
)

MAX_READ = 20_000
"""Characters after which a tag is taken for one that is never closed; the sandbox takes half."""


@dataclass(frozen=True)
class Tag:
    """A `{{ … }}`, `{% … %}`, `{# … #}` or a whole raw block, from `start` to before `end`."""

    kind: str
    """One of "{", "%", "#" and "raw"."""
    start: int
    end: int
    text: str

    @property
    def is_printed(self) -> bool:
        # Jinja takes a {% raw %} at the very end, though nothing closes it.
        return self.kind == "{" or (self.kind == "raw" and bool(END_RAW.search(self.text)))


def tags(source: str) -> Iterator[Tag]:
    """Yield the tags of `source` in order. What is never closed reaches to the end."""
    position = 0
    while opening := OPENING.search(source, position):
        start = opening.start()
        kind, position = _extent(source, start)
        yield Tag(kind, start, position, source[start:position])


def _extent(source: str, start: int) -> tuple[str, int]:
    kind = source[start + 1]
    if kind == "#":
        end = source.find("#}", start + 2)
        return kind, end + 2 if end >= 0 else len(source)
    if raw := RAW.match(source, start):
        end_raw = END_RAW.search(source, raw.end())
        return "raw", end_raw.end() if end_raw else len(source)
    return kind, _tag_end(source, start + 2, "}}" if kind == "{" else "%}")


def _tag_end(source: str, position: int, closing: str) -> int:
    depth, start = 0, position
    while position - start < MAX_READ and (found := INSIDE.search(source, position)):
        position = found.end()
        if found["end"] == closing and depth == 0:
            return position
        if found["end"] == "}}" or found["close"]:
            # Of two braces, only the first closes what is open: the second may end the tag.
            position = found.start() + 1
            depth = max(0, depth - 1)
        elif found["end"]:
            position = found.start() + 1
        elif found["open"]:
            depth += 1
    return len(source)


def masked(source: str, found: list[Tag]) -> str:
    """Return `source` with each tag blanked to its own length by MASK; line ends stay."""
    parts, position = [], 0
    for tag in found:
        parts.append(source[position : tag.start])
        parts.append(re.sub(r"[^\n]", MASK, tag.text))
        position = tag.end
    return "".join([*parts, source[position:]])


MASK = "\ue000"
"""A character of private use: no sign of HTML, and no letter of any language."""


def line_at(source: str, position: int) -> int:
    """Return the line of `position`, counted from 1."""
    return source.count("\n", 0, position) + 1
