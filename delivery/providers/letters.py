"""Mail from outside, read so that nothing in it can hurt: no charset, nesting or length.

Returned mail carries the whole original, files and all; what counts stands at its beginning.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from email import message_from_bytes
from email.errors import MessageError
from email.header import decode_header
from email.message import Message
from email.utils import getaddresses

from delivery.providers.base import Unparsable

READ_AT_MOST = 1_000_000
"""Bytes of a mail that are looked at."""
LONGEST_LINE = 2000
"""Bytes; RFC 5322 allows 998. Patterns run on lines, so their length is a matter of time."""
MOST_PARTS = 200
DEEPEST = 20
MOST_TEXT = 20_000
"""Characters of one part."""

_ADDRESS = re.compile(r"[^\s<>()\[\],;:\"]{1,64}@[^\s<>()\[\],;:\"@]{1,255}")
_CHARSET = re.compile(
    r"utf-?(?:8|16)|us-ascii|ascii|iso-?[\d-]+|windows-\d+|koi8-\w|gb\w+|big5|euc-\w+|shift_jis"
)
"""Python knows stranger codecs than any mail may have: slow ones, and some that are no text."""


def read(body: bytes) -> Message:
    """Return a mail, or the part of it that is looked at. Raises Unparsable."""
    lines = body[:READ_AT_MOST].replace(b"\0", b"").split(b"\n")
    try:
        return message_from_bytes(b"\n".join(line[:LONGEST_LINE] for line in lines))
    except RecursionError:
        raise Unparsable("The mail is nested without end.") from None


def parts(mail: Message) -> Iterator[Message]:
    """Yield a mail and its parts, from the outside in; as many and as deep as make sense."""
    waiting, seen = [(mail, 0)], 0
    while waiting and seen < MOST_PARTS:
        part, depth = waiting.pop()
        seen += 1
        yield part
        payload = part.get_payload() if depth < DEEPEST else None
        if isinstance(payload, list):
            inner = [each for each in payload if isinstance(each, Message)]
            waiting += [(each, depth + 1) for each in reversed(inner)]


def field(part: Message, name: str, limit: int = 500) -> str:
    """Return a header on one line, decoded as far as it can be; '' without one."""
    return clean(_decoded(str(part.get(name) or "")[: 4 * limit]))[:limit]


def fields(part: Message, name: str) -> list[str]:
    """Return all headers of this name, each on one line."""
    return [clean(_decoded(str(value)[:2000])) for value in part.get_all(name, [])[:20]]


def clean(text: str) -> str:
    """Return a text on one line that PostgreSQL can store."""
    storable = text.replace("\0", "").encode("utf-8", "replace").decode()
    return " ".join(storable.split())


def _decoded(value: str) -> str:
    if "=?" not in value:
        return value
    try:
        found = decode_header(value)
    except (ValueError, MessageError):
        return value
    return "".join(
        text if isinstance(text, str) else _decode(text, charset or "ascii")
        for text, charset in found
    )


def _decode(text: bytes, charset: str) -> str:
    """Return a text, whatever its charset claims to be."""
    known = _CHARSET.fullmatch(charset.strip().lower())
    try:
        return text.decode(known[0] if known else "latin-1", "replace")
    except (LookupError, ValueError):
        return text.decode("latin-1")


def text_of(part: Message) -> str:
    """Return the text of one part; '' if it has none."""
    payload = part.get_payload(decode=True)
    if not isinstance(payload, bytes):
        return ""
    text = _decode(payload[: 4 * MOST_TEXT], str(part.get_content_charset("utf-8")))
    return text.replace("\0", "").encode("utf-8", "replace").decode()[:MOST_TEXT]


def address_in(text: str) -> str:
    """Return the first address in a text, as it stands; '' if there is none.

    >>> address_in("rfc822; <Ana@Example.com>"), address_in("unknown")
    ('Ana@Example.com', '')
    """
    found = _ADDRESS.search(text[:LONGEST_LINE])
    return found[0].strip("'.") if found else ""


def addresses_of(part: Message, name: str) -> list[str]:
    """Return the addresses in all headers of this name."""
    given = getaddresses([value for value in fields(part, name) if "@" in value])
    return [address for _, address in given if "@" in address]
