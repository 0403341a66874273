"""What Mailgun tells: one event in each POST, signed beside the event, not over it.

Source: "Webhook Payloads", "Securing Webhooks" and "Open and Click Bot Detection", docs of
Mailgun. The signature covers timestamp and token alone, so a captured one fits any event: the
caller must take each `replay_key` once, in the transaction that stores the event.
"""

import hashlib
import hmac
from collections.abc import Mapping
from datetime import datetime, timedelta
from types import MappingProxyType
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

TYPES: Mapping[str, EventType] = MappingProxyType(
    {
        "accepted": EventType.QUEUED,
        "rejected": EventType.FAILED,
        "delivered": EventType.DELIVERED,
        "failed": EventType.BOUNCED,
        "opened": EventType.OPENED,
        "clicked": EventType.CLICKED,
        "unsubscribed": EventType.UNSUBSCRIBED,
        "complained": EventType.COMPLAINED,
    }
)
"""`failed` is told apart by severity and reason: deferred, dropped or bounced."""

DROP_REASONS: Mapping[str, BounceClass | None] = MappingProxyType(
    {"suppress-bounce": BounceClass.HARD, "suppress-unsubscribe": None, "suppress-complaint": None}
)
DROP_CODES: Mapping[str, str] = MappingProxyType(
    {"605": "suppress-bounce", "606": "suppress-unsubscribe", "607": "suppress-complaint"}
)
"""Mailgun's own codes above SMTP's, for when it did not even try."""

WORDS: Mapping[str, BounceClass] = MappingProxyType(
    {"hard": BounceClass.HARD, "soft": BounceClass.SOFT, "espblock": BounceClass.BLOCK}
)


LONGEST_AGE = timedelta(hours=9)
"""Of a signature. Mailgun repeats a POST for 8 hours; what is older was kept by somebody else, to
put another event beside it."""


# --- Is it Mailgun? ----------------------------------------------------------------------


def verify(account: Account, request: WebhookRequest) -> None:
    """Raise Forged unless one of the account's keys signed timestamp and token; TooOld if late.

    Forged as well when it was signed longer ago than LONGEST_AGE, whatever the account's window.
    For an event of a subaccount the primary account's `parent-signature` counts as well.
    """
    keys = account["webhook_signing_key"].split()
    if not keys:
        raise Forged("This account has no webhook signing key; set the one Mailgun shows.")
    block = _signature_block(request)
    timestamp, token = hearing.text(block.get("timestamp")), _token(block)
    signed = f"{timestamp}{token}".encode("utf-8", "replace")
    if not _is_signed(block, [_hmac(key, signed) for key in keys]):
        raise Forged("The signature is not Mailgun's for this account; compare the signing key.")
    signed_at = hearing.epoch(timestamp)
    if request.received_at - signed_at > LONGEST_AGE:
        raise Forged("The signature is older than the 9 hours in which Mailgun might repeat it.")
    hearing.check_age(account, "mailgun", signed_at, request.received_at)


def replay_key(request: WebhookRequest) -> str:
    """Return the token, good for one request only, 16 to 100 characters. Raises Forged if none."""
    return _token(_signature_block(request))


def _signature_block(request: WebhookRequest) -> Mapping[str, Any]:
    try:
        return hearing.mapping(hearing.mapping(hearing.load(request.body)).get("signature"))
    except Unparsable:
        raise Forged("The request holds no signature: its body is not Mailgun's JSON.") from None


def _token(block: Mapping[str, Any]) -> str:
    token = block.get("token")
    if not isinstance(token, str) or not 16 <= len(token) <= 100:
        raise Forged("The request holds no token to check its signature with.")
    return token


def _hmac(key: str, signed: bytes) -> bytes:
    return hmac.new(key.encode(), signed, hashlib.sha256).hexdigest().encode()


def _is_signed(block: Mapping[str, Any], expected: list[bytes]) -> bool:
    """Return whether any given signature is any expected one, comparing each with each."""
    given = [hearing.text(block.get(name)) for name in ("signature", "parent-signature")]
    matches = [
        hmac.compare_digest(one.encode("utf-8", "replace"), e) for one in given for e in expected
    ]
    return any(matches)


# --- What does it say? -------------------------------------------------------------------


def parse(request: WebhookRequest) -> list[Event]:
    """Return the event. Raises Unparsable if it is not understood."""
    return hearing.only_events(parse_each(request))


def parse_each(request: WebhookRequest) -> Heard:
    """Return the event, or the problem with it. Raises Unparsable if there is no event at all."""
    data = hearing.mapping(hearing.load(request.body)).get("event-data")
    if not isinstance(data, dict):
        raise Unparsable("The body holds no event-data; is this Mailgun's inbound route?")
    name = hearing.text(data.get("event"))
    if name not in TYPES:
        return [], [f"unknown event type '{name[:40]}'"]
    return [_event(data, request.received_at)], []


def _event(data: dict[str, Any], received_at: datetime) -> Event:
    kind, bounce_class = _kind(data)
    client = hearing.mapping(data.get("client-info"))
    user_agent = hearing.text(client.get("user-agent"), hearing.MAX_USER_AGENT)
    recipient = hearing.address(data.get("recipient") or _headers(data).get("to"))
    return Event(
        type=kind,
        occurred_at=hearing.moment(data.get("timestamp"), received_at),
        recipient=recipient,
        dedupe_key=_dedupe_key(data, recipient, received_at),
        message_id=hearing.text(hearing.mapping(data.get("user-variables")).get("message_id")),
        provider_message_id=_provider_message_id(data),
        url=hearing.text(data.get("url"), hearing.MAX_URL),
        ip=hearing.ip(data.get("ip")),
        user_agent=user_agent,
        is_machine=_is_machine(kind, client),
        bounce_class=bounce_class,
        reason=_reason(kind, data),
        country=hearing.country(hearing.mapping(data.get("geolocation")).get("country")),
        raw=data,
    )


def _dedupe_key(data: dict[str, Any], recipient: str, received_at: datetime) -> str:
    """Return a key by Mailgun's event id, which is "unique within a day", and that day."""
    given = hearing.text(data.get("id"))
    if not given:
        return hearing.fingerprint(data)
    day = hearing.moment(data.get("timestamp"), received_at).date()
    return hearing.fingerprint(given, data.get("event"), recipient, day.isoformat())


def _headers(data: dict[str, Any]) -> Mapping[str, Any]:
    return hearing.mapping(hearing.mapping(data.get("message")).get("headers"))


def _provider_message_id(data: dict[str, Any]) -> str:
    """Return the id as the send call answered it: in angle brackets. One for a whole call."""
    given = hearing.text(_headers(data).get("message-id")).strip("<>")
    return f"<{given}>" if given else ""


def _is_machine(kind: EventType, client: Mapping[str, Any]) -> bool | None:
    """Return Mailgun's verdict: `bot` is apple, gmail or generic, or empty for no bot."""
    if kind not in (EventType.OPENED, EventType.CLICKED):
        return None
    return bool(client["bot"]) if "bot" in client else None


def _kind(data: dict[str, Any]) -> tuple[EventType, BounceClass | None]:
    kind = TYPES[hearing.text(data.get("event"))]
    if kind is not EventType.BOUNCED:
        return kind, None
    status = hearing.mapping(data.get("delivery-status"))
    said = _said(status)
    code = hearing.text(status.get("enhanced-code")) or hearing.text(status.get("code"))
    if hearing.text(data.get("severity")).lower() == "temporary":
        return EventType.DEFERRED, bouncing.weigh(BounceClass.SOFT, said, code)
    reason = hearing.text(data.get("reason")).lower()
    drop = DROP_CODES.get(hearing.text(status.get("code")), reason)
    if drop in DROP_REASONS:
        return EventType.DROPPED, DROP_REASONS[drop]
    return EventType.BOUNCED, bouncing.weigh(_word(reason, status), said, code)


def _word(reason: str, status: Mapping[str, Any]) -> BounceClass:
    """Return what Mailgun calls a permanent failure; "generic" and "old" call it nothing."""
    by_type = WORDS.get(hearing.text(status.get("bounce-type")).lower())
    if by_type or reason in WORDS:
        return by_type or WORDS[reason]
    return BounceClass.HARD if reason == "bounce" else BounceClass.UNKNOWN


def _said(status: Mapping[str, Any]) -> str:
    code = hearing.text(status.get("code"))
    rest = " ".join(
        part
        for name in ("message", "description")
        if (part := hearing.text(status.get(name), hearing.MAX_REASON))
    )
    # Most servers begin their answer with the code themselves.
    return rest if rest.startswith(code) else f"{code} {rest}".strip()


def _reason(kind: EventType, data: dict[str, Any]) -> str:
    if kind is EventType.FAILED:
        return hearing.text(hearing.mapping(data.get("reject")).get("reason"), hearing.MAX_REASON)
    if kind not in (EventType.BOUNCED, EventType.DEFERRED, EventType.DROPPED):
        return ""
    said = _said(hearing.mapping(data.get("delivery-status")))
    return (said or hearing.text(data.get("reason")))[: hearing.MAX_REASON]
