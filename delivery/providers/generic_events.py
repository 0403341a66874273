"""What anything else tells: our own words as JSON, signed with HMAC over time and body.

For relays and services that no module here knows: their mail goes by SMTP, and whoever can read
what they say posts it in these words. The scheme, with examples in curl and Python, is in
docs/events.md; every field but `type` may be missing.
"""

import hashlib
import hmac
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from delivery.providers import bouncing, hearing
from delivery.providers.base import (
    Account,
    BounceClass,
    Event,
    EventType,
    Forged,
    Heard,
    Unparsable,
    WebhookRequest,
)

KIND = "generic"
"""How it is called in addresses and settings; the accounts that speak it are SMTP's."""

TIMESTAMP_HEADER = "x-webhook-timestamp"
SIGNATURE_HEADER = "x-webhook-signature"

MOST_SIGNATURES = 8
MOST_EVENTS = 10_000

TYPES: Mapping[str, EventType] = {str(each): each for each in EventType}
CLASSES: Mapping[str, BounceClass] = {str(each): each for each in BounceClass}
_LOOKS = (EventType.OPENED, EventType.CLICKED)


# --- Is it who it says? ------------------------------------------------------------------


def verify(account: Account, request: WebhookRequest) -> None:
    """Raise Forged unless one of the account's secrets signed time and body; TooOld if late."""
    secrets = account["webhook_secrets"].split()
    if not secrets:
        raise Forged("This account has no webhook secret; set one, and sign with the same.")
    if any(len(secret) < hearing.SHORTEST_SECRET for secret in secrets):
        raise Forged("A webhook secret is too short to prove anything; set a longer one.")
    timestamp = request.headers.get(TIMESTAMP_HEADER, "")
    given = request.headers.get(SIGNATURE_HEADER, "").replace(",", " ").split()[:MOST_SIGNATURES]
    signed = timestamp.encode("utf-8", "replace") + b"." + request.body
    expected = [hmac.new(secret.encode(), signed, hashlib.sha256) for secret in secrets]
    # A list first: as many comparisons for a right signature as for a wrong one.
    matches = [
        hmac.compare_digest(one.lower().encode("utf-8", "replace"), each.hexdigest().encode())
        for one in given
        for each in expected
    ]
    if not any(matches):
        raise Forged("The signature is none of this account's secrets'; see docs/events.md.")
    hearing.check_age(account, KIND, hearing.epoch(timestamp), request.received_at)


def replay_key(_request: WebhookRequest) -> str:
    """Return '': the signature covers the body, so a replay changes nothing."""
    return ""


# --- What does it say? -------------------------------------------------------------------


def parse(request: WebhookRequest) -> list[Event]:
    """Return the events in order. Raises Unparsable if nothing of the request is understood."""
    return hearing.only_events(parse_each(request))


def parse_each(request: WebhookRequest) -> Heard:
    """Return the events and the problems. The body is one event, a list, or {"events": [...]}."""
    body = hearing.load(request.body)
    if isinstance(body, dict):
        body = body.get("events", [body])
    if not isinstance(body, list):
        raise Unparsable("The body is neither an event nor a list of events.")
    if len(body) > MOST_EVENTS:
        raise Unparsable(f"More than {MOST_EVENTS} events in one request; send several.")
    return hearing.collect(_heard(body, request.received_at))


def _heard(entries: list[Any], received_at: datetime) -> Iterator[Event | str]:
    for entry in entries:
        if not isinstance(entry, dict):
            yield "An event is not an object."
        elif (name := hearing.text(entry.get("type")).lower()) in TYPES:
            yield _event(TYPES[name], entry, received_at)
        else:
            yield f"unknown event type '{name[:40]}'"


def _event(kind: EventType, entry: dict[str, Any], received_at: datetime) -> Event:
    recipient = hearing.address(entry.get("recipient"))
    user_agent = hearing.text(entry.get("user_agent"), hearing.MAX_USER_AGENT)
    return Event(
        type=kind,
        occurred_at=hearing.moment(entry.get("occurred_at"), received_at),
        recipient=recipient,
        dedupe_key=_dedupe_key(kind, entry, recipient),
        message_id=_message_id(entry),
        provider_message_id=hearing.text(entry.get("provider_message_id")),
        url=hearing.text(entry.get("url"), hearing.MAX_URL),
        ip=hearing.ip(entry.get("ip")),
        user_agent=user_agent,
        is_machine=_is_machine(kind, entry),
        bounce_class=_bounce_class(kind, entry),
        reason=hearing.text(entry.get("reason"), hearing.MAX_REASON),
        complaint_type=hearing.text(entry.get("complaint_type"), hearing.MAX_COMPLAINT_TYPE),
        raw=entry,
    )


def _message_id(entry: Mapping[str, Any]) -> str:
    """Return our id: as it is, or out of the Message-ID header that a mail carried."""
    return hearing.text(entry.get("message_id")).strip("<>").partition("@")[0]


def _dedupe_key(kind: EventType, entry: Mapping[str, Any], recipient: str) -> str:
    """Return a key by the sender's own id of the event; without one, by what was said of whom."""
    if given := hearing.text(entry.get("id")):
        return hearing.fingerprint(given)
    names = ("message_id", "provider_message_id", "occurred_at", "url")
    return hearing.fingerprint(str(kind), recipient, *(entry.get(name) for name in names))


def _is_machine(kind: EventType, entry: Mapping[str, Any]) -> bool | None:
    if kind not in _LOOKS:
        return None
    said = entry.get("is_machine")
    return said if isinstance(said, bool) else None


def _bounce_class(kind: EventType, entry: Mapping[str, Any]) -> BounceClass | None:
    """Return the class that was given; without one the server's code and words decide."""
    given = CLASSES.get(hearing.text(entry.get("bounce_class")).lower())
    if kind is EventType.DROPPED:
        return given
    if kind not in (EventType.BOUNCED, EventType.DEFERRED):
        return None
    if given:
        return given
    said = hearing.text(entry.get("reason"), 1000)
    word = BounceClass.SOFT if kind is EventType.DEFERRED else BounceClass.UNKNOWN
    return bouncing.weigh(word, said, hearing.text(entry.get("status")))
