"""MJML with Jinja tags → HTML with the same tags, through mrml.

mrml knows no Jinja and would refuse or move it. So every tag is first replaced by a token that
MJML carries along unchanged: a plain word inside texts and attribute values, a comment between
elements; afterwards the tags take the tokens' places. Nothing is ever included from elsewhere.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator

import mrml

from campaigns.explaining import TemplateProblem
from campaigns.markup import Piece, pieces, words
from campaigns.scanning import MASK, Tag, line_at, masked, tags

MAX_DEPTH = 100
"""Elements in elements. mrml calls itself for each; a thousand times that ends the process."""

BETWEEN = words(
    "mj-body mj-wrapper mj-section mj-group mj-column mj-hero mj-navbar mj-social mj-accordion"
)
"""Elements between whose children a comment may stand."""
CLOSED = words(
    "mjml mj-head mj-attributes mj-html-attributes mj-selector mj-accordion-element mj-carousel"
)
"""Elements between whose children nothing of ours may stand."""

QUOTED = re.compile(r"\"[^\"]*+\"|'[^']*+'")
POSITION = re.compile(r"\bat position (\d+):\d+")


def html_of(source: str) -> str:
    """Return the HTML template of the MJML template `source`. Raises TemplateProblem.

    Tags before <mjml> stay before the HTML: a place for {% set %} and {% macro %}.
    """
    found = list(tags(source))
    blank = masked(source, found)
    root = re.search(r"<mjml[\s>]", blank)
    if root is None:
        raise _problem("there is no <mjml>; the body must be inside <mjml><mj-body>…", source, 0)
    prologue = _prologue(source, blank, root.start())
    tokens = _Tokens(source, found, root.start())
    text = tokens.put(_contexts(source, blank, tokens.found, root.start()))
    return prologue + tokens.taken(_compiled(text, tokens))


def _problem(sentence: str, source: str, position: int) -> TemplateProblem:
    return TemplateProblem(sentence, part="body", line=line_at(source, position))


def _prologue(source: str, blank: str, end: int) -> str:
    if MASK in blank[:end]:
        return source[:end].strip()
    for piece in pieces(blank[:end]):
        if piece.kind != "comment" and blank[piece.start : piece.end].strip():
            raise _problem("something stands before <mjml>; remove it.", source, piece.start)
    return ""


class _Tokens:
    """The tags of a source and the words that stand for them."""

    def __init__(self, source: str, found: list[Tag], start: int) -> None:
        self.source = source
        self.start = start
        self.found = [tag for tag in found if tag.start >= start]
        self.word = "jtag"
        while self.word in source:
            self.word += "q"
        self.places: list[tuple[int, int]] = []
        """Where the tokenised text and the source run together: (byte there, character here)."""

    def put(self, between: set[int]) -> str:
        """Return the source with a token for each tag; those in `between` are comments."""
        parts, position, size = [], self.start, 0
        for index, tag in enumerate(self.found):
            token = "" if tag.kind == "#" else f"{self.word}{index}x"
            if index in between and token:
                token = f"<!--{token}-->"
            text = self.source[position : tag.start]
            self.places.append((size, position))
            size += len(text.encode("utf-8", "surrogatepass")) + len(token)
            parts += [text, token]
            position = tag.end
        self.places.append((size, position))
        return "".join([*parts, self.source[position:]])

    def line(self, byte: int) -> int:
        """Return the line in the source of a byte of the tokenised text."""
        start, position = self.places[max(0, bisect_right(self.places, (byte, 0)) - 1)]
        # Bytes are at least as many as characters: at worst a line too far in a long text.
        behind = self.source[position:].encode("utf-8", "surrogatepass")[: byte - start]
        return line_at(self.source, position) + behind.count(b"\n")

    def taken(self, html: str) -> str:
        """Return `html` with the tags back in place of their tokens."""
        seen = set()

        def tag(token: re.Match[str]) -> str:
            index = int(token[1] or token[2])
            seen.add(index)
            return self.found[index].text

        pattern = rf"<!--{self.word}(\d+)x-->|{self.word}(\d+)x"
        restored = re.sub(pattern, tag, html)
        for index, lost in enumerate(self.found):
            if index not in seen and lost.kind != "#":
                sentence = f"MJML does not show {_short(lost)} at this place; put it into a text."
                raise _problem(sentence, self.source, lost.start)
        return restored


def _short(tag: Tag) -> str:
    return tag.text if len(tag.text) <= 40 else tag.text[:38] + "…"


def _contexts(source: str, blank: str, found: list[Tag], start: int) -> set[int]:
    """Return the indexes of the tags that stand between elements.

    Checks on the way what mrml would say without a line, or not survive: elements that are not
    closed, includes, depth. Raises TemplateProblem.
    """
    between: set[int] = set()
    next_tag = 0
    for piece, parent in _nested(source, blank, start):
        first = next_tag
        while next_tag < len(found) and found[next_tag].start < piece.end:
            next_tag += 1
        if piece.kind == "open":
            _refuse_loose(source, blank, piece, found[first:next_tag])
        elif piece.kind == "text":
            inside = range(first, next_tag)
            between.update(i for i in inside if _is_between(source, parent, found[i]))
    return between


def _is_between(source: str, parent: str, tag: Tag) -> bool:
    if parent in CLOSED and tag.kind != "#":
        sentence = f"{_short(tag)} cannot stand directly in <{parent}>; put it before <mjml>"
        raise _problem(f"{sentence} or into one of the elements.", source, tag.start)
    return parent in BETWEEN


def _refuse_loose(source: str, blank: str, piece: Piece, inside: list[Tag]) -> None:
    """Raise unless each of the tags is in the quotes of an attribute's value."""
    quoted = iter([found.span() for found in QUOTED.finditer(blank, piece.start, piece.end)])
    start, end = next(quoted, (0, 0))
    for tag in inside:
        while end and end <= tag.start:
            start, end = next(quoted, (0, 0))
        if not start <= tag.start < end and tag.kind != "#":
            sentence = f"{_short(tag)} cannot stand among the attributes of <{piece.name}>"
            raise _problem(f"{sentence}; put it inside the quotes of one.", source, tag.start)


def _nested(source: str, blank: str, start: int) -> Iterator[tuple[Piece, str]]:
    """Yield each piece of the MJML and the name of the element it stands in."""
    open_: list[tuple[str, int]] = []
    for relative in pieces(blank[start:]):
        piece = Piece(
            relative.kind,
            relative.start + start,
            relative.end + start,
            relative.name,
            relative.inside,
        )
        if piece.kind == "close":
            _close(source, open_, piece)
        yield piece, open_[-1][0] if open_ else ""
        if refusal := _refusal(piece, blank):
            raise _problem(refusal, source, piece.start)
        if piece.kind == "open" and not piece.is_empty:
            open_.append((piece.name, piece.start))
            if len(open_) > MAX_DEPTH:
                raise _problem("elements are nested too deeply here.", source, piece.start)
    if open_:
        name, position = open_[-1]
        raise _problem(f"<{name}> is never closed; add </{name}>.", source, position)


def _refusal(piece: Piece, blank: str) -> str:
    """Return why `piece` cannot be in MJML here, or nothing."""
    if piece.kind == "text" and blank[piece.start] == "<":
        return "a < stands alone; write &lt; instead."
    if piece.kind == "open" and piece.name == "mj-include":
        return "<mj-include> is not available; paste it in."
    return ""


def _close(source: str, open_: list[tuple[str, int]], piece: Piece) -> None:
    if not open_:
        raise _problem(f"</{piece.name}> closes nothing; remove it.", source, piece.start)
    name, position = open_.pop()
    if name != piece.name:
        line = line_at(source, position)
        sentence = f"</{piece.name}> stands where </{name}> (line {line}) is due; close that first."
        raise _problem(sentence, source, piece.start)


def _compiled(text: str, tokens: _Tokens) -> str:
    options = mrml.ParserOptions(include_loader=mrml.noop_loader())
    try:
        html: str = mrml.to_html(text, options).content
    except (OSError, ValueError) as error:
        position = POSITION.search(str(error))
        line = tokens.line(int(position[1])) if position else 0
        reason = POSITION.sub("", str(error)).replace(" in root template", "").strip()
        sentence = f"this is not MJML ({reason}); check the elements and quotes here."
        raise TemplateProblem(sentence, part="body", line=line) from error
    return html
