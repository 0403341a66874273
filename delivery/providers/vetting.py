"""Look at a batch before any call: what no provider may see is refused here, person by person.

A CR or LF in a header would let a stranger's name write headers of its own, and no provider's
client library checks them all. Domains outside ASCII leave here encoded (IDNA 2008), so that all
after this deals in ASCII addresses only.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import idna

from delivery.providers.base import Batch, Recipient, Result, Skeleton, Verdict

_UNSAFE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f\ud800-\udfff]")
"""Control characters other than TAB, and halves of characters: never part of a header."""
_HEADER_NAME = re.compile(r"[!-9;-~]{1,76}")
_TOKEN = re.compile(r"[A-Za-z0-9_-]{1,64}")
_ADDRESS = re.compile(
    r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*"
    r"@(?:[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?\.)*[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
)
_MAX_LOCAL, _MAX_ADDRESS = 64, 254


class Unsound(ValueError):
    """Something that must not be sent; `str()` says what and why, without the value."""


@dataclass(frozen=True, slots=True)
class Vetted:
    """A batch whose recipients may be sent to, and the results of those who may not."""

    batch: Batch
    refused: Sequence[Result]


def vet(batch: Batch) -> Vetted:
    """Return the batch with its sound recipients, and a REJECTED for each of the others."""
    sound: list[Recipient] = []
    refused: list[Result] = []
    try:
        batch = _vet_common(batch)
    except Unsound as error:
        return Vetted(replace(batch, recipients=()), _refuse_all(batch.recipients, str(error)))
    for recipient in batch.recipients:
        try:
            sound.append(_vet_recipient(batch, recipient))
        except Unsound as error:
            refused.append(Result(recipient.message_id, Verdict.REJECTED, reason=str(error)))
    return Vetted(replace(batch, recipients=sound), refused)


def ascii_address(address: str, what: str = "address") -> str:
    """Return the address with its domain encoded. Raises Unsound for what mail cannot carry.

    >>> ascii_address("ana@bücher.example")
    'ana@xn--bcher-kva.example'
    """
    if not address.isascii():
        address = _encode_domain(address, what)
    local = address.rpartition("@")[0]
    if len(local) > _MAX_LOCAL or len(address) > _MAX_ADDRESS or not _ADDRESS.fullmatch(address):
        raise Unsound(f"The {what} is not a valid e-mail address.")
    return address


def _refuse_all(recipients: Iterable[Recipient], reason: str) -> list[Result]:
    return [Result(person.message_id, Verdict.REJECTED, reason=reason) for person in recipients]


def _vet_common(batch: Batch) -> Batch:
    _check_text("sender's name", batch.from_name)
    _check_text("subject", *batch.subject.static)
    _check_headers(batch.headers)
    _check_encodable(*batch.html.static, *batch.text.static)
    if batch.tag and not _TOKEN.fullmatch(batch.tag):
        raise Unsound("The tag may hold letters, digits, _ and - only, 64 at most.")
    if not _has_content(batch.html) and not _has_content(batch.text):
        raise Unsound("The message has neither an HTML nor a text part.")
    return replace(
        batch,
        from_email=ascii_address(batch.from_email, "sender's address"),
        reply_to=batch.reply_to and ascii_address(batch.reply_to, "reply-to address"),
    )


def _has_content(part: Skeleton) -> bool:
    return part.static != ("",)


def _vet_recipient(batch: Batch, recipient: Recipient) -> Recipient:
    if not _TOKEN.fullmatch(recipient.message_id):
        raise Unsound("The message id may hold letters, digits, _ and - only, 64 at most.")
    _check_text("recipient's name", recipient.name)
    _check_text("subject", *recipient.subject)
    _check_headers(recipient.headers)
    sizes = (len(recipient.subject), len(recipient.html), len(recipient.text))
    if sizes != (batch.subject.size, batch.html.size, batch.text.size):
        raise Unsound("The person's values do not fit the template.")
    _check_encodable(*recipient.html, *recipient.text)
    address = ascii_address(recipient.email)
    return recipient if address == recipient.email else replace(recipient, email=address)


def _check_text(what: str, *texts: str) -> None:
    if _UNSAFE.search("".join(texts)):
        raise Unsound(f"The {what} contains a line break or a control character.")


def _check_encodable(*texts: str) -> None:
    text = "".join(texts)
    try:
        _ = text.isascii() or text.encode()
    except UnicodeEncodeError:
        raise Unsound("The text holds half a character, which cannot be encoded.") from None


def _check_headers(headers: Mapping[str, str]) -> None:
    for name, value in headers.items():
        if not _is_header_name(name):
            raise Unsound("A header's name contains a character that is not allowed there.")
        if _UNSAFE.search(value):
            raise Unsound(f"The header {name} contains a line break or a control character.")


@lru_cache(maxsize=1000)
def _is_header_name(name: str) -> bool:
    return _HEADER_NAME.fullmatch(name) is not None


def _encode_domain(address: str, what: str) -> str:
    local, _, domain = address.rpartition("@")
    if not local.isascii():
        raise Unsound(
            f"The {what} has letters outside ASCII before the @; mail providers cannot carry that."
        )
    try:
        return f"{local}@{idna.encode(domain, uts46=True).decode('ascii')}"
    except idna.IDNAError:
        raise Unsound(f"The domain of the {what} is not a valid name.") from None
