"""The text part of a mail, derived from its HTML *template*: Jinja tags stay, so it is personal.

What has no place in a text (styles, scripts, hidden elements, comments) is left out, but the
{% … %} tags in it are kept: left out as well, an {% if %} could lose its {% endif %}.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from html import unescape

from jinja2 import Environment
from jinja2.exceptions import TemplateError

from campaigns.markup import Piece, attributes, pieces, words
from campaigns.scanning import Tag, masked, tags

LINE = words(
    "div section article header footer main nav aside address center form figure li tr dt dd"
    " tbody thead tfoot caption"
)
PARAGRAPH = words("p h1 h2 h3 h4 h5 h6 ul ol table blockquote pre hr body")
BLOCKS = {**dict.fromkeys(LINE, 1), **dict.fromkeys(PARAGRAPH, 2)}
"""Elements that start and end a line, and with how many line ends."""
DROPPED = words("head style script title template noscript svg select textarea")
HIDDEN = re.compile(r"display\s*:\s*none|mso-hide\s*:\s*all|visibility\s*:\s*hidden", re.IGNORECASE)
SPACE = re.compile(r"[ \t\r\n\f]+")
RULE = "-" * 40
LITERAL_BRACE = '{{ "{" }}'
BRACE = re.compile(r"\{(?=[{%#])")


def text_of(html: str, environment: Environment) -> str:
    """Return a template of plain text that says what the template `html` says.

    Whatever `environment` can parse as `html`, it can parse as text.
    """
    found = list(tags(html))
    writer = _Writer(html, found, environment)
    text = writer.written()
    try:
        environment.parse(text)
    except TemplateError:
        # Tags that moved with a link no longer nest. In their old order they do.
        text = _Writer(html, found, environment, keeps_links=False).written()
    return text


class _Writer:
    """Goes through the HTML once and writes down its text."""

    def __init__(
        self, html: str, found: list[Tag], environment: Environment, *, keeps_links: bool = True
    ) -> None:
        self.html = html
        self.blank = masked(html, found)
        self.found = found
        self.starts = [tag.start for tag in found]
        self.environment = environment
        self.keeps_links = keeps_links
        self.next_tag = 0
        self.out: list[str] = []
        self.ends = 2
        """Line ends that were just written: 0 within a line; 2 also at the very beginning."""
        self.is_spaced = True
        self.cell_is_due = False
        self.hidden: list[str] = []
        """The element which hides what follows, and those of its name within it."""
        self.links: list[tuple[str, int]] = []
        self.lists: list[_List] = []

    def written(self) -> str:
        for piece in pieces(self.blank):
            if piece.kind == "text":
                self._text(piece)
            elif piece.kind == "open":
                self._open(piece)
            elif piece.kind == "close":
                self._close(piece)
            self._skip_to(piece.end)
        return "".join(self.out).strip() + "\n"

    # -- Jinja tags

    def _skip_to(self, end: int) -> None:
        """Pass over the tags before `end`, keeping those which others may depend on."""
        while self.next_tag < len(self.found) and self.found[self.next_tag].start < end:
            tag = self.found[self.next_tag]
            if tag.kind == "%":
                self._keep(tag)
            self.next_tag += 1

    def _keep(self, tag: Tag) -> None:
        self.out.append(tag.text)
        if self.lists:
            self.lists[-1].is_numbered = False

    def _with_tags(self, start: int, end: int) -> str:
        """Return the text between `start` and `end` as a template, entities decoded."""
        parts, position = [], start
        for tag in self._between(start, end):
            parts += [_literal(self.html[position : tag.start], before_tag=True), tag.text]
            position = tag.end
        return "".join([*parts, _literal(self.html[position:end])])

    def _between(self, start: int, end: int) -> list[Tag]:
        first = bisect_left(self.starts, start)
        return self.found[first : bisect_left(self.starts, end, first)]

    # -- text

    def _text(self, piece: Piece) -> None:
        position = piece.start
        while self.next_tag < len(self.found) and self.found[self.next_tag].start < piece.end:
            tag = self.found[self.next_tag]
            self._words(self.html[position : tag.start], before_tag=True)
            if tag.kind == "%":
                self._keep(tag)
            elif tag.is_printed and not self.hidden:
                self._write(tag.text)
            position = tag.end
            self.next_tag += 1
        self._words(self.html[position : piece.end])

    def _words(self, source: str, *, before_tag: bool = False) -> None:
        if self.hidden:
            return
        text = SPACE.sub(" ", unescape(source)).replace("\xa0", " ").replace("\u200c", "")
        if self.is_spaced:
            text = text.lstrip(" ")
        if text:
            self._write(_escaped(text, before_tag=before_tag))
            self.is_spaced = text.endswith(" ")

    def _write(self, text: str) -> None:
        if self.cell_is_due and self.ends == 0 and text.strip():
            self.out.append(" | " if not self.is_spaced else "| ")
        if text.strip():
            self.cell_is_due = False
        self.out.append(text)
        self.ends = 0
        self.is_spaced = False

    def _end_line(self, ends: int) -> None:
        if self.hidden:
            return
        if self.ends < ends:
            self.out.append("\n" * (ends - self.ends))
            self.ends = ends
        self.is_spaced = True
        self.cell_is_due = False

    # -- elements

    def _open(self, piece: Piece) -> None:
        where = attributes(piece.inside)
        if self._hides(piece, where):
            return
        offset = piece.end - len(piece.inside) - 1
        if piece.name in BLOCKS:
            self._end_line(
                1 if self.lists and piece.name in ("ul", "ol", "p") else BLOCKS[piece.name]
            )
        values = {
            name: self._value(offset + start, offset + end)
            for name, (start, end) in where.items()
            if name in ("href", "alt")
        }
        self._begin(piece.name, values)

    def _begin(self, name: str, values: dict[str, str]) -> None:
        if name == "a":
            self.links.append((values.get("href", ""), len(self.out)))
        elif name == "img" and values.get("alt", "").strip():
            self._write(values["alt"].strip())
        elif name == "br":
            self.out.append("\n")
            self.ends, self.is_spaced, self.cell_is_due = max(1, self.ends + 1), True, False
        elif name == "hr":
            self._write(RULE)
            self._end_line(2)
        elif name in ("td", "th"):
            self.cell_is_due = self.ends == 0
        elif name in ("ul", "ol"):
            self.lists.append(_List(name == "ol"))
        elif name == "li" and self.lists:
            self._write(self.lists[-1].bullet(len(self.lists) - 1))
            self.is_spaced = True

    def _hides(self, piece: Piece, where: dict[str, tuple[int, int]]) -> bool:
        """Note that `piece` hides what it holds; return whether it is hidden."""
        if self.hidden:
            if piece.name == self.hidden[0] and not piece.is_empty:
                self.hidden.append(piece.name)
            return True
        start, end = where.get("style", (0, 0))
        is_hidden = piece.name in DROPPED or "hidden" in where
        if is_hidden or HIDDEN.search(piece.inside[start:end]):
            if not piece.is_empty:
                self.hidden.append(piece.name)
            return True
        return False

    def _close(self, piece: Piece) -> None:
        if self.hidden:
            if piece.name == self.hidden[0]:
                self.hidden.pop()
            return
        if piece.name == "a" and self.links:
            self._end_link(*self.links.pop())
        elif piece.name in ("ul", "ol") and self.lists:
            self.lists.pop()
        if piece.name in BLOCKS:
            self._end_line(1 if self.lists else BLOCKS[piece.name])

    def _end_link(self, url: str, start: int) -> None:
        label = "".join(self.out[start:]).strip()
        if not url or url.startswith("#") or label in (url, url.removeprefix("mailto:")):
            return
        if not label:
            self._write(url)
            return
        if self.out and self.out[-1].endswith(" "):
            self.out[-1] = self.out[-1].rstrip(" ")
        self._write(f" ({url})")

    def _value(self, start: int, end: int) -> str:
        """Return an attribute's value as a template, or nothing if its tags belong elsewhere."""
        inside = self._between(start, end)
        value = self._with_tags(start, end).strip()
        if any(tag.kind == "%" for tag in inside):
            if not self.keeps_links or not self._is_whole(value):
                return ""
            self._pass(end)
        return value

    def _is_whole(self, template: str) -> bool:
        try:
            self.environment.parse(template)
        except TemplateError:
            return False
        return True

    def _pass(self, end: int) -> None:
        """Take the tags up to `end` as written: they move with the value they stand in."""
        while self.next_tag < len(self.found) and self.found[self.next_tag].start < end:
            self.next_tag += 1


class _List:
    """A list in the text: numbered, unless a Jinja tag decides how many points it has."""

    def __init__(self, is_numbered: bool) -> None:
        self.is_numbered = is_numbered
        self.count = 0

    def bullet(self, depth: int) -> str:
        self.count += 1
        return "  " * depth + (f"{self.count}. " if self.is_numbered else "- ")


def _literal(source: str, *, before_tag: bool = False) -> str:
    return _escaped(unescape(source), before_tag=before_tag)


def _escaped(text: str, *, before_tag: bool = False) -> str:
    """Return `text` so that Jinja prints it: &#123;&#123; in HTML is not a tag in the text."""
    if "{" not in text:
        return text
    escaped = BRACE.sub(lambda _: LITERAL_BRACE, text)
    if escaped.endswith("{"):
        # What comes next may make it the beginning of a tag.
        escaped = escaped[:-1] + LITERAL_BRACE
    return escaped
