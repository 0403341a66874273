"""Count what people do with a mail: links that lead through us, a pixel, a link nobody sees.

Works on the *template* of the HTML, so that most of it is the same for everybody. An address in
which nothing is personal becomes its number; one with Jinja tags is known only when it is rendered
(it may stand in a loop), and travels in the link itself, sealed. Only addresses that begin with
http:// or https:// are changed, and never those of our own pages.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from html import escape, unescape
from typing import NamedTuple

from django.conf import settings
from jinja2 import Environment
from jinja2.exceptions import TemplateError
from markupsafe import Markup

from campaigns.bounding import BoundExceeded
from campaigns.chunking import SHARED
from campaigns.markup import COMMENT, attributes, pieces
from campaigns.scanning import Tag, masked, tags
from emailplatform import secrets

TRACKING = SHARED
"""The one variable of a person that links are made of, like https://host/c/token. In capitals: no
attribute of a person can be called so."""
OWN_NAMES = frozenset({"unsubscribe_url", "preferences_url", "view_url"})
OWN_PAGES = ("u", "p", "v", "c")
"""Where our own public pages are, below PUBLIC_URL."""
TRAP = 0
"""The number of the hidden link."""
MOST_LINKS = 2_000
LONGEST = 2_000
"""Characters of an address that is carried in a link; a longer one is left as it is."""

_WEB = re.compile(r"https?://[^/?#\s]", re.IGNORECASE)
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*:|[#/?.]", re.IGNORECASE)
_DROPPED = re.compile(r"[\x00-\x1f\x7f]")
"""What browsers leave out of an address."""
_NAMES = re.compile(r"[A-Za-z_]\w*")
_CHANGING = re.compile(r"\{%[-+]?\s*(?:set|macro|call|filter|block|import|from|include)\b")
_END = re.compile(r"</body\s*>", re.IGNORECASE)


@dataclass(frozen=True)
class Tracking:
    """What is counted of a mail, and the numbers of its links.

    `numbers` has the addresses that were frozen at launch; one that is not there is left alone.
    """

    numbers: Mapping[str, int]

    opens: bool = True
    clicks: bool = True
    has_trap: bool = False
    is_personal: bool = True
    """False: nothing may tell people apart, so links with something personal are left alone."""


class Link(NamedTuple):
    """One address of a template, as it is counted."""

    address: str
    """As a browser would ask for it; Jinja tags as they are."""
    is_personal: bool


class _Found(NamedTuple):
    """Where an address stands in the HTML."""

    start: int
    end: int
    link: Link


def is_own(address: str) -> bool:
    """Say whether an address is one of our own public pages, like the unsubscribe page.

    What people do there is no interest in what a mail says.
    """
    path = address.removeprefix(settings.PUBLIC_URL)
    return path != address and path.lstrip("/").partition("/")[0] in OWN_PAGES


def links_in(html: str, environment: Environment) -> list[Link]:
    """Return every address in the template that can be counted, once, in order of appearance."""
    found = dict.fromkeys(each.link for each in _find(html, environment))
    return list(found)[:MOST_LINKS]


def tracked(html: str, tracking: Tracking, environment: Environment) -> str:
    """Return the template with counted links, a pixel and a hidden link. Lines stay."""
    followed = _with_links(html, tracking, environment) if tracking.clicks else html
    place = _place(masked(followed, list(tags(followed))))
    return followed[:place] + _extras(f"{{{{ {TRACKING} }}}}", tracking) + followed[place:]


def tracked_mail(html: str, tracking: Tracking, base: str) -> str:
    """Return the finished HTML of one mail with the same; its links carry their addresses.

    Nothing is numbered beforehand: `tracking.numbers` is not looked at.
    """
    parts, position = [], 0
    numbers: dict[str, int] = {}
    for start, end in _places(html) if tracking.clicks else ():
        address = cleaned(unescape(html[start:end]))
        if not is_followed(address) or len(address) > LONGEST or len(numbers) == MOST_LINKS:
            continue
        number = numbers.setdefault(address, len(numbers) + 1)
        parts += [html[position:start], escape(followed_url(base, number, address))]
        position = end
    followed = "".join([*parts, html[position:]])
    place = _place(followed)
    return followed[:place] + _extras(escape(base), tracking) + followed[place:]


def _extras(base: str, tracking: Tracking) -> str:
    """Return the hidden link and the pixel, as far as they are wanted."""
    trap = (
        f'<a href="{base}/{TRAP}" style="display:none" aria-hidden="true"'
        ' tabindex="-1" rel="nofollow"></a>'
    )
    pixel = (
        f'<img src="{base}/o.gif" width="1" height="1" alt=""'
        ' style="display:block;border:0;width:1px;height:1px">'
    )
    return trap * (tracking.has_trap and tracking.clicks) + pixel * tracking.opens


def _with_links(html: str, tracking: Tracking, environment: Environment) -> str:
    parts, position = [], 0
    for start, end, link in _find(html, environment):
        number = tracking.numbers.get(link.address)
        if number is None or (link.is_personal and not tracking.is_personal):
            continue
        value = html[start:end]
        counted = _sealing(value, number) if link.is_personal else _plain(value, number)
        parts += [html[position:start], counted]
        position = end
    followed = "".join([*parts, html[position:]])
    try:
        environment.parse(followed)
    except (TemplateError, BoundExceeded):
        return (
            html  # A template at the limit of its tags: it goes out, and its links count nothing.
        )
    return followed


def _plain(value: str, number: int) -> str:
    return f"{{{{ {TRACKING} }}}}/{number}" + "\n" * value.count("\n")


def _sealing(value: str, number: int) -> str:
    return f"{{% filter tracked({TRACKING}, {number}) %}}{value}{{% endfilter %}}"


def followed_url(base: str, number: int, address: str) -> str:
    """Return the link that leads through us to `address`; it carries it, sealed."""
    token = base.rpartition("/")[2]
    return f"{base}/{number}/{secrets.seal_text('click', address, f'{token}/{number}')}"


def target_in(token: str, number: int, sealed: str) -> str | None:
    """Return the address that a link carries; None if we did not make it for this mail."""
    return secrets.unseal_text("click", sealed, f"{token}/{number}")


def sealing_filter(value: Markup | str, base: str, number: int) -> Markup:
    """Do the work of `{% filter tracked(…) %}`: the address as rendered → the link."""
    address = cleaned(unescape(str(value)))
    if not is_followed(address) or len(address) > LONGEST:
        return Markup(value)  # noqa: S704  # It is what the block rendered, escaped already.
    return Markup(escape(followed_url(base, number, address)))  # noqa: S704


def cleaned(address: str) -> str:
    """Return an address as a browser reads it: without line ends and spaces around."""
    return _DROPPED.sub("", address).strip()


def is_followed(address: str) -> bool:
    """Say whether a rendered address may be led through us."""
    return bool(_WEB.match(address)) and not is_own(address)


# --- Finding addresses -------------------------------------------------------------------


def _find(html: str, environment: Environment) -> Iterator[_Found]:
    found = list(tags(html))
    starts = [tag.start for tag in found]
    for start, end in _places(masked(html, found)):
        inside = found[bisect_left(starts, start) : bisect_left(starts, end)]
        link = _link(html[start:end], inside, environment)
        if link:
            yield _Found(start, end, link)


def _places(html: str) -> Iterator[tuple[int, int]]:
    """Yield where the addresses of links stand."""
    for piece in pieces(html):
        if piece.kind == "open" and piece.name in ("a", "area"):
            offset = piece.start + 1 + len(piece.name)
            start, end = attributes(piece.inside).get("href", (0, 0))
            yield offset + start, offset + end


def _link(value: str, inside: list[Tag], environment: Environment) -> Link | None:
    address = cleaned(unescape(value))
    if not inside:
        return Link(address, is_personal=False) if is_followed(address) else None
    if not all(tag.kind in "{%" for tag in inside) or _CHANGING.search(value):
        return None
    if any(OWN_NAMES & {*_NAMES.findall(tag.text)} for tag in inside):
        return None
    literal = address.partition("{")[0]
    if is_own(literal) or (_SCHEME.match(literal) and not _WEB.match(f"{literal}x")):
        return None
    try:
        environment.parse(value)
    except (TemplateError, BoundExceeded):
        return None  # Its tags belong to others outside of it.
    return Link(address, is_personal=True)


def _place(html: str) -> int:
    """Return where the pixel goes: before the last </body>, else at the end."""
    blank = COMMENT.sub(lambda found: " " * len(found[0]), html)
    ends = [found.start() for found in _END.finditer(blank)]
    return ends[-1] if ends else len(html)
