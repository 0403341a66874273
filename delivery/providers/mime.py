"""MIME messages as bytes: the structure is built once for a batch and filled person by person.

No object of `email.*` is made for a message; building such a tree costs fifteen times the
rendering. Lines end in CRLF and are short enough for SMTP; dots are stuffed by the session.
"""

from __future__ import annotations

import binascii
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence

from delivery.providers.base import Batch, Recipient, Skeleton

MAX_LINE = 998
"""Bytes of a line without its CRLF (RFC 5322)."""
_ENCODED_WORD_BYTES = 45
"""So that "=?utf-8?b?…?=" stays below 75 characters (RFC 2047)."""
MAX_PLAIN_NAME = 400
_PLAIN_PHRASE = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~ -]+")


class MimeSkeleton:
    """All that the messages of a batch share."""

    def __init__(self, batch: Batch, *, is_8bit: bool) -> None:
        """Prepare the batch for a server that takes 8-bit bodies, or for one that does not."""
        self._subject = batch.subject
        self._from_domain = batch.from_email.rpartition("@")[2]
        self._parts = [
            _Part(subtype, skeleton, is_8bit=is_8bit)
            for subtype, skeleton in (("plain", batch.text), ("html", batch.html))
            if skeleton.static != ("",)
        ]
        self._boundary = f"=_{secrets.token_hex(16)}"
        shared = {"From": mailbox(batch.from_name, batch.from_email), "MIME-Version": "1.0"}
        if batch.reply_to:
            shared["Reply-To"] = batch.reply_to
        self._shared = b"".join(_header_lines({**shared, **_encoded(batch.headers)}))

    def message(self, person: Recipient, date: str) -> bytes:
        """Return the message of one person; `date` is the text of the Date header."""
        own = {
            "To": mailbox(person.name, person.email),
            "Subject": encode_words(self._subject.fill(person.subject)),
            "Date": date,
            **_encoded(person.headers),
        }
        if not any(name.lower() == "message-id" for name in person.headers):
            own["Message-ID"] = f"<{person.message_id}@{self._from_domain}>"
        filled = [part.fill(values) for part, values in self._with_values(person)]
        return b"".join((*_header_lines(own), self._shared, *self._body(filled)))

    def _with_values(self, person: Recipient) -> Iterator[tuple[_Part, Sequence[str]]]:
        for part in self._parts:
            yield part, person.html if part.subtype == "html" else person.text

    def _body(self, filled: Sequence[tuple[bytes, bytes]]) -> Iterator[bytes]:
        if len(filled) == 1:
            head, body = filled[0]
            yield from (head, b"\r\n", body, b"" if body.endswith(b"\r\n") else b"\r\n")
            return
        mark = self._boundary.encode()
        yield b'Content-Type: multipart/alternative; boundary="' + mark + b'"\r\n'
        if any(b"8bit" in head for head, _ in filled):
            yield b"Content-Transfer-Encoding: 8bit\r\n"
        yield b"\r\n"
        for head, body in filled:
            yield from (b"--", mark, b"\r\n", head, b"\r\n", body, b"\r\n")
        yield from (b"--", mark, b"--\r\n")


class _Part:
    """One text of a message, its static parts encoded already."""

    def __init__(self, subtype: str, skeleton: Skeleton, *, is_8bit: bool) -> None:
        self.subtype = subtype
        self._is_8bit = is_8bit
        self._static = [_with_crlf(text).encode() for text in skeleton.static]
        self._type = f"Content-Type: text/{subtype}; charset=utf-8\r\n".encode()

    def fill(self, values: Sequence[str]) -> tuple[bytes, bytes]:
        """Return the part's headers and its body."""
        pieces = [self._static[0]]
        for value, static in zip(values, self._static[1:], strict=True):
            pieces += (_with_crlf(value).encode(), static)
        body = b"".join(pieces)
        encoding = self._encoding(body)
        if encoding == b"quoted-printable":
            # b2a_qp breaks lines as the text does, and needs one line break to see how.
            body = binascii.b2a_qp(body + b"\r\n", istext=True)[:-2]
        return self._type + b"Content-Transfer-Encoding: " + encoding + b"\r\n", body

    def _encoding(self, body: bytes) -> bytes:
        if max(map(len, body.split(b"\r\n"))) > MAX_LINE:
            return b"quoted-printable"
        if body.isascii():
            return b"7bit"
        return b"8bit" if self._is_8bit else b"quoted-printable"


def mailbox(name: str, email: str) -> str:
    """Return an address with its display name, as it stands in a header.

    >>> mailbox("Lee, Ana", "ana@example.com"), mailbox("", "ana@example.com")
    ('"Lee, Ana" <ana@example.com>', 'ana@example.com')
    """
    return f"{_phrase(name)} <{email}>" if name else email


def encode_words(value: str, *, folded: bool = True) -> str:
    """Return a header's value in ASCII: unchanged if it can be, else in encoded words (RFC 2047).

    `folded`: too long values are spread over several lines.

    >>> encode_words("Grüße")
    '=?utf-8?b?R3LDvMOfZQ==?='
    """
    if value.isascii() and "=?" not in value:
        if not folded or len(value) < MAX_LINE - 100:
            return value
        if max(map(len, value.split(" "))) < MAX_LINE - 100:
            return re.sub(" (?=[^ ])", "\r\n ", value)
    return words(value, "\r\n " if folded else " ")


def words(value: str, separator: str = "\r\n ") -> str:
    """Return the value in encoded words of base64."""
    coded = (binascii.b2a_base64(chunk, newline=False).decode() for chunk in _chunks(value))
    return separator.join(f"=?utf-8?b?{word}?=" for word in coded)


def _phrase(name: str) -> str:
    if not name.isascii() or "=?" in name or len(name) > MAX_PLAIN_NAME:
        return words(name)
    if _PLAIN_PHRASE.fullmatch(name):
        return name
    escaped = name.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _chunks(value: str) -> Iterator[bytes]:
    """Yield the value's UTF-8 in pieces that end where a character ends."""
    chunk = b""
    for character in value:
        encoded = character.encode()
        if len(chunk) + len(encoded) > _ENCODED_WORD_BYTES:
            yield chunk
            chunk = b""
        chunk += encoded
    yield chunk


def _encoded(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: encode_words(value) for name, value in headers.items()}


def _header_lines(headers: Mapping[str, str]) -> Iterator[bytes]:
    for name, value in headers.items():
        yield f"{name}: {value}\r\n".encode("ascii")


def _with_crlf(text: str) -> str:
    if "\n" not in text and "\r" not in text:
        return text
    return text.replace("\r\n", "\n").replace("\r", "\n").replace("\n", "\r\n")
