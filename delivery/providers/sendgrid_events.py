"""What SendGrid tells: the Event Webhook, many events in one POST, signed with ECDSA.

Source: "Event Webhook Reference" and "Event Webhook Security Features", docs of Twilio SendGrid.
`spamreport` becomes COMPLAINED like every feedback loop's word, so complaints are counted once.
"""

import base64
import binascii
from collections.abc import Iterator, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_der_public_key

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

SIGNATURE_HEADER = "x-twilio-email-event-webhook-signature"
TIMESTAMP_HEADER = "x-twilio-email-event-webhook-timestamp"

TYPES: Mapping[str, EventType] = MappingProxyType(
    {
        "processed": EventType.QUEUED,
        "deferred": EventType.DEFERRED,
        "delivered": EventType.DELIVERED,
        "bounce": EventType.BOUNCED,
        "dropped": EventType.DROPPED,
        "open": EventType.OPENED,
        "click": EventType.CLICKED,
        "spamreport": EventType.COMPLAINED,
        "unsubscribe": EventType.UNSUBSCRIBED,
        "group_unsubscribe": EventType.UNSUBSCRIBED,
    }
)
IGNORED = frozenset({"group_resubscribe"})

CLASSIFICATIONS: Mapping[str, BounceClass] = MappingProxyType(
    {
        "invalid address": BounceClass.HARD,
        "technical": BounceClass.SOFT,
        "technical failure": BounceClass.SOFT,
        "mailbox unavailable": BounceClass.SOFT,
        "content": BounceClass.BLOCK,
        "reputation": BounceClass.BLOCK,
        "frequency/volume": BounceClass.BLOCK,
        "frequency or volume too high": BounceClass.BLOCK,
    }
)
"""SendGrid's `bounce_classification`. Not here: "Unclassified"."""

DEAD_ADDRESS_DROPS = frozenset({"bounced address", "invalid"})
"""Reasons of `dropped` that mean the address is dead; others are wishes of the person or limits."""


# --- Is it SendGrid? ---------------------------------------------------------------------


def verify(account: Account, request: WebhookRequest) -> None:
    """Raise Forged unless one of the account's keys signed timestamp and body; TooOld if late."""
    keys = account["webhook_public_key"].split()
    if not keys:
        raise Forged("This account has no webhook public key; set the one SendGrid shows.")
    signature = _signature(request.headers.get(SIGNATURE_HEADER, ""))
    timestamp = request.headers.get(TIMESTAMP_HEADER, "")
    signed = timestamp.encode("utf-8", "replace") + request.body
    if not any(_signs(_public_key(key), signature, signed) for key in keys):
        raise Forged("The signature is not SendGrid's for this account; compare the public key.")
    hearing.check_age(account, "sendgrid", hearing.epoch(timestamp), request.received_at)


def replay_key(_request: WebhookRequest) -> str:
    """Return '': the signature covers the body, so a replay changes nothing."""
    return ""


def _signature(header: str) -> bytes:
    if not header:
        raise Forged("The request is not signed; turn on Signed Event Webhook in SendGrid.")
    try:
        return base64.b64decode(header, validate=True)
    except (binascii.Error, ValueError):
        raise Forged("The signature is not base64.") from None


@lru_cache(maxsize=64)
def _public_key(key: str) -> ec.EllipticCurvePublicKey:
    """Return the key of a base64 DER text. Raises Forged: with a broken key nothing is proved."""
    try:
        public_key = load_der_public_key(base64.b64decode(key, validate=True))
    except (binascii.Error, ValueError):
        public_key = None
    if not isinstance(public_key, ec.EllipticCurvePublicKey):
        raise Forged("The webhook public key is not one of SendGrid's; paste it again.")
    return public_key


def is_key(key: str) -> bool:
    """Say whether this is a key that SendGrid may show."""
    try:
        _public_key(key.strip())
    except Forged:
        return False
    return True


def _signs(key: ec.EllipticCurvePublicKey, signature: bytes, signed: bytes) -> bool:
    try:
        key.verify(signature, signed, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        return False
    return True


# --- What does it say? -------------------------------------------------------------------


def parse(request: WebhookRequest) -> list[Event]:
    """Return the events in order. Raises Unparsable if nothing of the request is understood."""
    return hearing.only_events(parse_each(request))


def parse_each(request: WebhookRequest) -> Heard:
    """Return the events in order and the problems. Raises Unparsable if the body is no array."""
    entries = hearing.load(request.body)
    if not isinstance(entries, list):
        raise Unparsable("SendGrid sends an array of events; this is something else.")
    return hearing.collect(_heard(entries, request))


def _heard(entries: list[Any], request: WebhookRequest) -> Iterator[Event | str]:
    for entry in entries:
        if not isinstance(entry, dict):
            yield "An entry is not an object."
        elif (name := hearing.text(entry.get("event"))) in TYPES:
            yield _event(TYPES[name], entry, request)
        elif name not in IGNORED:
            yield f"unknown event type '{name[:40]}'"


def _event(kind: EventType, entry: dict[str, Any], request: WebhookRequest) -> Event:
    reason = _reason(kind, entry)
    user_agent = hearing.text(entry.get("useragent"), hearing.MAX_USER_AGENT)
    return Event(
        type=kind,
        occurred_at=hearing.moment(entry.get("timestamp"), request.received_at),
        recipient=hearing.address(entry.get("email")),
        dedupe_key=_dedupe_key(entry),
        message_id=hearing.text(entry.get("message_id")),
        provider_message_id=_provider_message_id(entry),
        url=hearing.text(entry.get("url"), hearing.MAX_URL),
        ip=hearing.ip(entry.get("ip")),
        user_agent=user_agent,
        is_machine=_is_machine(kind, entry),
        bounce_class=_bounce_class(kind, entry, reason),
        reason=reason,
        raw=entry,
    )


def _reason(kind: EventType, entry: dict[str, Any]) -> str:
    """Return why, as SendGrid or the server put it; a delivery's "250 OK" is no reason."""
    if kind is EventType.DELIVERED:
        return ""
    return hearing.text(entry.get("reason") or entry.get("response"), hearing.MAX_REASON)


def _dedupe_key(entry: dict[str, Any]) -> str:
    """Return SendGrid's own event id; a few drops have none, and are known by all they say."""
    given = entry.get("sg_event_id")
    if isinstance(given, str) and 0 < len(given) <= 200:
        return given
    return hearing.fingerprint(entry)


def _provider_message_id(entry: dict[str, Any]) -> str:
    """Return the id that the send call answered as X-Message-Id: the part before the filter's."""
    given = hearing.text(entry.get("sg_message_id"))
    return given.split(".filter", 1)[0].split(".recvd", 1)[0]


def _is_machine(kind: EventType, entry: dict[str, Any]) -> bool | None:
    """Return what SendGrid says; it knows Apple's privacy proxy alone, and of opens alone."""
    said = entry.get("sg_machine_open") if kind is EventType.OPENED else None
    return said if isinstance(said, bool) else None


def _bounce_class(kind: EventType, entry: dict[str, Any], reason: str) -> BounceClass | None:
    if kind is EventType.DROPPED:
        return BounceClass.HARD if reason.lower() in DEAD_ADDRESS_DROPS else None
    if kind not in (EventType.BOUNCED, EventType.DEFERRED):
        return None
    status = hearing.text(entry.get("status"))
    if kind is EventType.DEFERRED:
        return bouncing.weigh(BounceClass.SOFT, reason, status)
    return bouncing.weigh(_word(entry), reason, status)


def _word(entry: dict[str, Any]) -> BounceClass:
    """Return what SendGrid calls it. It never suppresses an address for a `blocked`."""
    if hearing.text(entry.get("type")).lower() == "blocked":
        return BounceClass.BLOCK
    classification = hearing.text(entry.get("bounce_classification")).lower()
    return CLASSIFICATIONS.get(classification, BounceClass.HARD)
