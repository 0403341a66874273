"""Mail that comes back: what it says of ours, as events.

Delivery status (RFC 3464, also without its wrapping), complaints (RFC 5965), and the letters that
servers write to people, of which `sloppy` reads what can be read. An automatic answer of a person
says nothing of the address. Nothing here knows the database: who may be believed is decided by
`webhooks.believing`, from the `Claims`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.message import Message
from email.utils import parsedate_to_datetime

from django.conf import settings

from delivery.providers import bouncing, complaining, hearing, letters, sloppy
from delivery.providers.base import BounceClass, Event, EventType, Unparsable
from delivery.providers.letters import address_in, addresses_of, clean, field, parts, text_of

OLDEST = timedelta(days=14)
"""A report about something longer ago counts as of now: so long no server keeps mail."""

_ACTIONS = {
    "failed": EventType.BOUNCED,
    "failure": EventType.BOUNCED,
    "delayed": EventType.DEFERRED,
    "delivered": EventType.DELIVERED,
    "relayed": EventType.SENT,
    "expanded": EventType.SENT,
}
_ENVELOPE = ("delivered-to", "x-original-to", "envelope-to", "x-envelope-to", "to")
"""Where a server writes for whom it took a mail: our return path."""
_STATUS = re.compile(r"[245]\.\d{1,3}\.\d{1,3}")
_LIKE_STATUS = re.compile(
    r"^(?:Final-Recipient|Action|Reporting-MTA)\s*:", re.IGNORECASE | re.MULTILINE
)


@dataclass(frozen=True, slots=True)
class Claims:
    """By what a mail says which message of ours it is about; nothing of it is proved here."""

    addresses: tuple[str, ...]
    """To whom it came, and the sender of what came back: one may be our signed return path."""
    links: str
    """What came back says here how to unsubscribe; it may be our signed link."""
    message_id: str
    """By the Message-ID of what came back; '' if it is not ours. Easily guessed."""


@dataclass(frozen=True, slots=True)
class Letter:
    """What a mail says."""

    claims: Claims
    events: list[Event]
    """A bounce of nobody in particular has no recipient."""


def read(body: bytes, envelope_to: str, received_at: datetime) -> Letter:
    """Return what a mail that came back says. Raises Unparsable if it is something else.

    No event: somebody's automatic answer, or a report that means no harm.
    """
    mail = letters.read(body)
    claims = claims_of(mail, envelope_to)
    sender_id = field(mail, "message-id") or hashlib.sha256(body).hexdigest()
    told = _Told(claims.message_id, sender_id, _written_at(mail, received_at))
    complaint = complaining.report_of(mail)
    if complaint is not None:
        return Letter(claims, [told.complaint(each) for each in complaining.read(mail, complaint)])
    if statuses := list(_statuses(mail)):
        return Letter(claims, list(_by_status(mail, statuses, told)))
    if sloppy.is_automatic_answer(mail):
        return Letter(claims, [])
    failures = sloppy.failures(mail)
    if not failures:
        subject = field(mail, "subject", 80)
        raise Unparsable(f"This mail is no bounce, complaint or automatic answer: “{subject}”.")
    return Letter(claims, [_event_of(failure, told) for failure in failures])


def claims_of(mail: Message, envelope_to: str) -> Claims:
    """Return by what a mail says which message it is about."""
    original = complaining.original_of(mail)
    came_to = [address for name in _ENVELOPE for address in addresses_of(mail, name)]
    sent_by = addresses_of(original, "return-path") if original else []
    sent_by += complaining.reported_senders(mail)
    links = " ".join(letters.fields(original, "list-unsubscribe")) if original else ""
    addresses = tuple(dict.fromkeys([envelope_to, *came_to, *sent_by]))
    return Claims(addresses, links, _message_id(mail, original))


# --- Which message -----------------------------------------------------------------------


def _message_id(mail: Message, original: Message | None) -> str:
    """Return our id out of the Message-ID of what came back, wherever that stands."""
    places = [original.get("message-id") if original else ""]
    places += [mail.get("in-reply-to"), mail.get("references")]
    places += [text_of(part) for part in parts(mail) if part.get_content_maintype() == "text"]
    for place in places:
        found = _ours().search(str(place or ""))
        if found:
            return found[1].lower()
    return ""


def _ours() -> re.Pattern[str]:
    domain = re.escape(settings.MESSAGE_ID_DOMAIN)
    return re.compile(rf"<(m[0-9a-f]{{1,15}})@{domain}>", re.IGNORECASE)


def _written_at(mail: Message, received_at: datetime) -> datetime:
    """Return when a mail was written, if that can be; else when it came."""
    try:
        at = parsedate_to_datetime(field(mail, "date"))
        at = at.replace(tzinfo=at.tzinfo or UTC).astimezone(UTC)
    except (ValueError, TypeError, OverflowError, IndexError):
        return received_at
    return at if received_at - OLDEST < at <= received_at else received_at


# --- Delivery status ---------------------------------------------------------------------


def _statuses(mail: Message) -> Iterator[Message]:
    """Yield the groups of fields, one for each recipient."""
    for part in parts(mail):
        for group in _groups(part):
            if group.get("final-recipient") or group.get("original-recipient"):
                yield group


def _groups(part: Message) -> list[Message]:
    kind = part.get_content_type()
    payload = part.get_payload()
    if kind in ("message/delivery-status", "message/global-delivery-status"):
        if isinstance(payload, list):
            return [each for each in payload if isinstance(each, Message)]
    elif kind != "text/plain" or not _LIKE_STATUS.search(text_of(part)):
        return []
    # Encoded, or sent as text: the fields all the same, in groups between empty lines.
    groups = re.split(r"\r?\n\s*\r?\n", text_of(part))[: letters.MOST_PARTS]
    return [letters.read(group.strip().encode()) for group in groups]


def _by_status(mail: Message, statuses: list[Message], told: _Told) -> Iterator[Event]:
    for group in statuses:
        action = field(group, "action").lower().partition(" ")[0]
        kind = _ACTIONS.get(action, EventType.BOUNCED)
        final = address_in(field(group, "final-recipient"))
        whom = address_in(field(group, "original-recipient")) or final
        said = field(group, "diagnostic-code", 1000).partition(";")[2].strip()
        said = said or sloppy.said_of(mail, final or whom)
        code = _STATUS.search(field(group, "status"))
        yield told.delivery(kind, whom, said, code[0] if code else "")


def _event_of(failure: sloppy.Failure, told: _Told) -> Event:
    kind = EventType.DEFERRED if failure.is_temporary else EventType.BOUNCED
    return told.delivery(kind, failure.recipient, failure.said, "")


# --- Events ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Told:
    """What all events of one mail share."""

    message_id: str
    letter: str
    """What makes this letter the same letter, should it come twice."""
    at: datetime

    def delivery(self, kind: EventType, recipient: str, said: str, status: str) -> Event:
        bounce_class = None
        if kind in (EventType.BOUNCED, EventType.DEFERRED):
            word = BounceClass.SOFT if kind is EventType.DEFERRED else BounceClass.UNKNOWN
            bounce_class = bouncing.weigh(word, said, status)
        reason = said if status in said else f"{status} {said}"
        return Event(
            type=kind,
            occurred_at=self.at,
            recipient=recipient[: hearing.MAX_NAME],
            dedupe_key=self._key(kind, recipient),
            message_id=self.message_id,
            bounce_class=bounce_class,
            reason=clean(reason)[: hearing.MAX_REASON],
            raw={"letter": self.letter, "status": status},
        )

    def complaint(self, complaint: complaining.Complaint) -> Event:
        return Event(
            type=complaint.type,
            occurred_at=self.at,
            recipient=complaint.recipient[: hearing.MAX_NAME],
            dedupe_key=self._key(complaint.type, complaint.recipient),
            message_id=self.message_id,
            user_agent=complaint.reporter[: hearing.MAX_USER_AGENT],
            complaint_type=complaint.kind[: hearing.MAX_COMPLAINT_TYPE],
            raw={"letter": self.letter},
        )

    def _key(self, kind: EventType, recipient: str) -> str:
        return hearing.fingerprint("letter", self.letter, self.message_id, str(kind), recipient)
