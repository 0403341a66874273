"""Complaints by mail: the abuse reporting format (RFC 5965) that feedback loops send."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from email.message import Message

from delivery.providers import letters
from delivery.providers.base import EventType
from delivery.providers.letters import address_in, addresses_of, field, parts

_MEANT_WELL = frozenset({"not-spam", "auth-failure"})
"""RFC 6430 and RFC 6591: no word against us; nothing is taken back by it either."""
_OPT_OUT = frozenset({"opt-out", "opt-out-list"})
_ORIGINALS = ("message/rfc822", "message/global", "text/rfc822-headers", "message/rfc822-headers")


@dataclass(frozen=True, slots=True)
class Complaint:
    """What one report says about one person."""

    type: EventType
    recipient: str
    """'' where it was left out; many reporters do so."""
    kind: str
    reporter: str


def report_of(mail: Message) -> Message | None:
    """Return the fields of a feedback report; None in any other mail."""
    for part in parts(mail):
        if part.get_content_type() == "message/feedback-report":
            return _fields_in(part)
    return None


def _fields_in(part: Message) -> Message:
    """Return the fields of a report: a message inside the part, or its text."""
    payload = part.get_payload()
    if isinstance(payload, list) and payload and isinstance(payload[0], Message):
        return payload[0]
    return letters.read(letters.text_of(part).lstrip().encode())


def read(mail: Message, report: Message) -> Iterator[Complaint]:
    """Yield what a report complains about, for each person it names."""
    kind = field(report, "feedback-type").lower() or "abuse"
    if kind in _MEANT_WELL:
        return
    kind_of_event = EventType.UNSUBSCRIBED if kind in _OPT_OUT else EventType.COMPLAINED
    for recipient in _recipients(mail, report) or [""]:
        yield Complaint(kind_of_event, recipient, kind, field(report, "user-agent"))


def _recipients(mail: Message, report: Message) -> list[str]:
    named = [address_in(value) for value in letters.fields(report, "original-rcpt-to")]
    original = original_of(mail)
    if not any(named) and original is not None:
        # Microsoft names the person here; others leave them in To, or redact that.
        named = addresses_of(original, "x-hmxmroriginalrecipient")
        named = named or addresses_of(original, "to")[:1]
    return list(dict.fromkeys(each for each in named if each))


def reported_senders(mail: Message) -> list[str]:
    """Return the sender's address, as a report has it: our return path."""
    report = report_of(mail)
    return addresses_of(report, "original-mail-from") if report else []


def original_of(mail: Message) -> Message | None:
    """Return the mail that came back, or its headers; None if there is none."""
    for part in parts(mail):
        if part is mail or part.get_content_type() not in _ORIGINALS:
            continue
        payload = part.get_payload()
        if isinstance(payload, list) and payload and isinstance(payload[0], Message):
            return payload[0]
        return letters.read(letters.text_of(part).lstrip().encode())
    return None
