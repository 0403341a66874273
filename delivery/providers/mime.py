"""MIME messages as bytes: the structure is built once for a batch and filled person by person.

No object of `email.*` is made for a message; building such a tree costs fifteen times the
rendering. Lines end in CRLF and are short enough for SMTP; dots are stuffed by the session.
"""

from __future__ import annotations

import binascii
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from email.message import MIMEPart
from email.policy import SMTP

from delivery.providers.base import Address, Attachment, Batch, Recipient, Skeleton

MAX_LINE = 998
"""Bytes of a line without its CRLF (RFC 5322)."""
_ENCODED_WORD_BYTES = 45
"""So that "=?utf-8?b?…?=" stays below 75 characters (RFC 2047)."""
_FILE_LINE = 76
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
        shown = (
            [one for one in batch.attachments if one.content_id]
            if batch.html.static != ("",)
            else []
        )
        self._inline = [_file(one, "inline") for one in shown]
        self._files = [_file(one, "attachment") for one in batch.attachments if one not in shown]
        self._boundary = f"=_{secrets.token_hex(16)}"
        shared = {"From": mailbox(batch.from_name, batch.from_email), "MIME-Version": "1.0"}
        if batch.reply_to:
            shared["Reply-To"] = batch.reply_to
        self._shared = b"".join(_header_lines({**shared, **_encoded(batch.headers)}))

    def message(self, person: Recipient, date: str) -> bytes:
        """Return the message of one person; `date` is the text of the Date header."""
        own = {
            "To": _mailboxes([Address(person.email, person.name), *person.more_to]),
            "Subject": encode_words(self._subject.fill(person.subject)),
            "Date": date,
            **_encoded(person.headers),
        }
        if person.cc:
            own["Cc"] = _mailboxes(person.cc)
        if not any(name.lower() == "message-id" for name in person.headers):
            own["Message-ID"] = f"<{person.message_id}@{self._from_domain}>"
        filled = [part.fill(values) for part, values in self._with_values(person)]
        body = self._with_files(self._text(filled))
        end = b"" if body.endswith(b"\r\n") else b"\r\n"
        return b"".join((*_header_lines(own), self._shared, body, end))

    def _with_values(self, person: Recipient) -> Iterator[tuple[_Part, Sequence[str]]]:
        for part in self._parts:
            yield part, person.html if part.subtype == "html" else person.text

    def _text(self, filled: Sequence[tuple[bytes, bytes]]) -> bytes:
        """Return the readable part, its headers first."""
        parts = [b"\r\n".join(part) for part in filled]
        return parts[0] if len(parts) == 1 else self._together("alternative", parts)

    def _with_files(self, text: bytes) -> bytes:
        """Return the readable part with the pictures it shows, and both with the other files."""
        if self._inline:
            text = self._together("related", [text, *self._inline])
        if self._files:
            text = self._together("mixed", [text, *self._files])
        return text

    def _together(self, subtype: str, parts: Sequence[bytes]) -> bytes:
        mark = f"{self._boundary}{subtype[0]}".encode()
        of = (
            b'; type="multipart/alternative"'
            if subtype == "related" and len(self._parts) > 1
            else b""
        )
        head = [b"Content-Type: multipart/", subtype.encode(), of, b'; boundary="', mark, b'"\r\n']
        if any(_is_8bit(part) for part in parts):
            head.append(b"Content-Transfer-Encoding: 8bit\r\n")
        middle = [b"\r\n--" + mark + b"\r\n" + part for part in parts]
        return b"".join((*head, *middle, b"\r\n--", mark, b"--"))


class _Part:
    """One text of a message, its static parts encoded already."""

    def __init__(self, subtype: str, skeleton: Skeleton, *, is_8bit: bool) -> None:
        self.subtype = subtype
        self._is_8bit = is_8bit
        self._static = [_with_crlf(text).encode() for text in skeleton.static]
        self._gaps = skeleton.gaps
        self._type = f"Content-Type: text/{subtype}; charset=utf-8\r\n".encode()

    def fill(self, values: Sequence[str]) -> tuple[bytes, bytes]:
        """Return the part's headers and its body."""
        given = [_with_crlf(value).encode() for value in values]
        pieces = [self._static[0]]
        for index, static in zip(self._gaps, self._static[1:], strict=True):
            pieces += (given[index], static)
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


def _is_8bit(part: bytes) -> bool:
    """Whether a part says in its head that it, or one inside it, holds 8-bit text."""
    head = part.find(b"\r\n\r\n")
    return part.find(b"\r\nContent-Transfer-Encoding: 8bit", 0, head) >= 0


def _file(attachment: Attachment, disposition: str) -> bytes:
    """Return a file as a part of a message; made once for a batch."""
    kind, *rest = attachment.content_type.split(";")
    maintype, _, subtype = kind.strip().partition("/")
    part = MIMEPart(policy=SMTP)
    part.set_content(
        b"",  # The library would take a second for each 5 MB.
        maintype=maintype,
        subtype=subtype,
        disposition=disposition,
        filename=attachment.filename,
        cid=f"<{attachment.content_id}>" if attachment.content_id else None,
        params=dict(one.strip().split("=", 1) for one in rest),
    )
    head = bytes(part).partition(b"\r\n\r\n")[0]
    text = binascii.b2a_base64(attachment.content, newline=False)
    lines = (text[start : start + _FILE_LINE] for start in range(0, len(text), _FILE_LINE))
    return b"\r\n".join((head, b"", *lines))


def _mailboxes(people: Sequence[Address]) -> str:
    return ",\r\n ".join(mailbox(one.name, one.email) for one in people)


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
