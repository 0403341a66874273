"""Look at a batch before any call: what no provider may see is refused here, person by person.

A CR or LF in a header would let a stranger's name write headers of its own, and no provider's
client library checks them all. Domains outside ASCII leave here encoded (IDNA 2008), so that all
after this deals in ASCII addresses only. What rides along (copies, files, metadata) is looked at
in `cargo`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import idna

from delivery.providers import cargo
from delivery.providers.base import Batch, Fault, Recipient, Result, Skeleton, Verdict
from delivery.providers.cargo import TOKEN, Unsound, check_encodable, check_text

_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,76}")
"""A token, as RFC 7230 and all providers' pages understand it; RFC 5322 would allow more."""
_OURS = frozenset(
    {
        *("from", "sender", "to", "cc", "bcc", "reply-to", "subject", "date", "return-path"),
        *("mime-version", "content-type", "content-transfer-encoding", "content-disposition"),
        *("content-id", "received", "dkim-signature"),
    }
)
"""Headers that are written from the mail's other parts, or by servers on the way."""
_ORDERS = re.compile(r"x-(mailgun|ses|smtpapi|pm|sg|metadata)\b", re.IGNORECASE)
"""Headers with which a mail would give a provider orders, or itself the name of another."""
_ADDRESS = re.compile(
    r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*"
    r"@(?:[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?\.)*[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
)
_MAX_LOCAL, _MAX_ADDRESS = 64, 254


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
        return Vetted(replace(batch, recipients=()), _refuse(batch.recipients, error))
    for recipient in batch.recipients:
        try:
            sound.append(_vet_recipient(batch, recipient))
        except Unsound as error:
            refused += _refuse([recipient], error)
    return Vetted(replace(batch, recipients=sound), refused)


def ascii_address(address: str, what: str = "address", fault: Fault = Fault.ADDRESS) -> str:
    """Return the address with its domain encoded. Raises Unsound for what mail cannot carry.

    >>> ascii_address("ana@bücher.example")
    'ana@xn--bcher-kva.example'
    """
    if not address.isascii():
        address = _encode_domain(address, what, fault)
    local = address.rpartition("@")[0]
    if len(local) > _MAX_LOCAL or len(address) > _MAX_ADDRESS or not _ADDRESS.fullmatch(address):
        raise Unsound(f"The {what} is not a valid e-mail address.", fault)
    return address


def _refuse(recipients: Iterable[Recipient], error: Unsound) -> list[Result]:
    why, fault = str(error), error.fault
    return [
        Result(person.message_id, Verdict.REJECTED, reason=why, fault=fault)
        for person in recipients
    ]


def _vet_common(batch: Batch) -> Batch:
    check_text("sender's name", batch.from_name)
    check_text("subject", *batch.subject.static)
    _check_headers(batch.headers)
    check_encodable(*batch.html.static, *batch.text.static)
    cargo.check_tags(batch.all_tags)
    if not _has_content(batch.html) and not _has_content(batch.text):
        raise Unsound("The message has neither an HTML nor a text part.")
    files = cargo.sound_attachments(batch.attachments)
    cargo.check_metadata(batch.metadata)
    sender = ascii_address(batch.from_email, "sender's address", Fault.CONTENT)
    reply_to = batch.reply_to
    if reply_to:
        reply_to = ascii_address(reply_to, "reply-to address", Fault.CONTENT)
    return replace(batch, from_email=sender, reply_to=reply_to, attachments=files)


def _has_content(part: Skeleton) -> bool:
    return part.static != ("",)


def _vet_recipient(batch: Batch, recipient: Recipient) -> Recipient:
    if not TOKEN.fullmatch(recipient.message_id):
        raise Unsound("The message id may hold letters, digits, _ and - only, 64 at most.")
    check_text("recipient's name", recipient.name)
    check_text("subject", *recipient.subject)
    _check_headers(recipient.headers)
    if batch.headers:
        _check_given_once(batch.headers, recipient.headers)
    sizes = (len(recipient.subject), len(recipient.html), len(recipient.text))
    if sizes != (batch.subject.size, batch.html.size, batch.text.size):
        raise Unsound("The person's values do not fit the template.")
    check_encodable(*recipient.html, *recipient.text)
    address = ascii_address(recipient.email)
    if address != recipient.email:
        recipient = replace(recipient, email=address)
    return cargo.with_sound_copies(recipient, ascii_address) if recipient.copies else recipient


def _check_headers(headers: Mapping[str, str]) -> None:
    for name, value in headers.items():
        if fault := _fault_of_name(name):
            raise Unsound(fault)
        check_text(f"header {name}", value)


@lru_cache(maxsize=1000)
def _fault_of_name(name: str) -> str:
    """Return why no mail may bring a header of this name itself; '' if it may."""
    if not _HEADER_NAME.fullmatch(name):
        return "A header's name contains a character that is not allowed there."
    if name.lower() in _OURS:
        return f"The header {name} is made of the mail's other parts; leave it out."
    if _ORDERS.match(name):
        return f"The header {name} would give orders to a provider; leave it out."
    return ""


def _check_given_once(shared: Mapping[str, str], own: Mapping[str, str]) -> None:
    """Raise Unsound for a header that would stand in the mail twice, in whatever case."""
    names = [name.lower() for name in (*shared, *own)]
    if len(set(names)) < len(names):
        raise Unsound("A header is given twice.")


def _encode_domain(address: str, what: str, fault: Fault) -> str:
    local, _, domain = address.rpartition("@")
    if not local.isascii():
        words = "has letters outside ASCII before the @; mail providers cannot carry that."
        raise Unsound(f"The {what} {words}", fault)
    try:
        return f"{local}@{idna.encode(domain, uts46=True).decode('ascii')}"
    except idna.IDNAError:
        raise Unsound(f"The domain of the {what} is not a valid name.", fault) from None
