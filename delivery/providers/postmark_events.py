"""What Postmark tells: one record in each POST, proved by basic auth in the URL, never signed.

Source: "Webhooks overview", "Bounce webhook", "Bounce API: bounce types", "Subscription change
webhook", developer docs of Postmark. A hard bounce and a complaint are told twice, once as
themselves and once as the SubscriptionChange they cause: both have one dedupe key.
"""

import base64
import binascii
import hmac
from collections.abc import Mapping
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

Kind = tuple[EventType, BounceClass | None]

RECORDS: Mapping[str, Kind] = MappingProxyType(
    {
        "Delivery": (EventType.DELIVERED, None),
        "Open": (EventType.OPENED, None),
        "Click": (EventType.CLICKED, None),
        "SpamComplaint": (EventType.COMPLAINED, None),
    }
)

BOUNCES: Mapping[str, Kind | None] = MappingProxyType(
    {
        "HardBounce": (EventType.BOUNCED, BounceClass.HARD),
        "SoftBounce": (EventType.BOUNCED, BounceClass.SOFT),
        "Unknown": (EventType.BOUNCED, BounceClass.UNKNOWN),
        "Blocked": (EventType.BOUNCED, BounceClass.BLOCK),
        "SpamNotification": (EventType.BOUNCED, BounceClass.BLOCK),
        "VirusNotification": (EventType.BOUNCED, BounceClass.BLOCK),
        "DMARCPolicy": (EventType.BOUNCED, BounceClass.BLOCK),
        "Transient": (EventType.DEFERRED, BounceClass.SOFT),
        "DnsError": (EventType.DEFERRED, BounceClass.SOFT),
        "BadEmailAddress": (EventType.DROPPED, BounceClass.HARD),
        "ManuallyDeactivated": (EventType.DROPPED, None),
        "Unconfirmed": (EventType.DROPPED, None),
        "SMTPApiError": (EventType.FAILED, None),
        "TemplateRenderingFailed": (EventType.FAILED, None),
        "SpamComplaint": (EventType.COMPLAINED, None),
        "Unsubscribe": (EventType.UNSUBSCRIBED, None),
        # Answers of a machine or of a person, about nothing that happened to our mail.
        "Subscribe": None,
        "AutoResponder": None,
        "AddressChange": None,
        "OpenRelayTest": None,
        "ChallengeVerification": None,
        "InboundError": None,
    }
)
"""`Type` of a Bounce record; None is not an event for us."""

TYPE_CODES: Mapping[str, str] = MappingProxyType(
    {
        "1": "HardBounce",
        "2": "Transient",
        "16": "Unsubscribe",
        "32": "Subscribe",
        "64": "AutoResponder",
        "128": "AddressChange",
        "256": "DnsError",
        "512": "SpamNotification",
        "1024": "OpenRelayTest",
        "2048": "Unknown",
        "4096": "SoftBounce",
        "8192": "VirusNotification",
        "16384": "ChallengeVerification",
        "100000": "BadEmailAddress",
        "100001": "SpamComplaint",
        "100002": "ManuallyDeactivated",
        "100003": "Unconfirmed",
        "100006": "Blocked",
        "100007": "SMTPApiError",
        "100008": "InboundError",
        "100009": "DMARCPolicy",
        "100010": "TemplateRenderingFailed",
    }
)
"""`TypeCode` of a Bounce record, for one whose Type is missing or new."""

SUPPRESSIONS: Mapping[str, Kind] = MappingProxyType(
    {
        "ManualSuppression": (EventType.UNSUBSCRIBED, None),
        "HardBounce": (EventType.BOUNCED, BounceClass.HARD),
        "SpamComplaint": (EventType.COMPLAINED, None),
    }
)
"""`SuppressionReason` of a SubscriptionChange that stops sending."""

TIMES = ("DeliveredAt", "BouncedAt", "ReceivedAt", "ChangedAt")

TOLD_TWICE = frozenset({(EventType.BOUNCED, BounceClass.HARD), (EventType.COMPLAINED, None)})


# --- Is it Postmark? ---------------------------------------------------------------------


def verify(account: Account, request: WebhookRequest) -> None:
    """Raise Forged unless the request carries one of the account's user:password pairs."""
    pairs = _pairs(account["webhook_basic_auth"])
    if not pairs:
        raise Forged("This account has no webhook user:password; set one and put it in the URL.")
    given = _credentials(request.headers.get("authorization", ""))
    # A list first: as many comparisons for a right pair as for a wrong one.
    matches = [hmac.compare_digest(given, pair.encode()) for pair in pairs]
    if not any(matches):
        raise Forged("User and password are not this account's; check the URL set in Postmark.")


def replay_key(_request: WebhookRequest) -> str:
    """Return '': nothing is signed, so there is nothing to use up."""
    return ""


def _pairs(setting: str) -> list[str]:
    """Return the user:password lines that have both: an empty password protects nothing."""
    return [line.strip() for line in setting.splitlines() if is_pair(line)]


def is_pair(line: str) -> bool:
    """Say whether this is user:password, both of them there."""
    return all(line.strip().partition(":"))


def _credentials(header: str) -> bytes:
    scheme, _, encoded = header.partition(" ")
    if scheme.lower() != "basic":
        raise Forged("The request carries no user and password; put them in the URL in Postmark.")
    try:
        return base64.b64decode(encoded.strip(), validate=True)
    except (binascii.Error, ValueError):
        raise Forged("User and password are not base64.") from None


# --- What does it say? -------------------------------------------------------------------


def parse(request: WebhookRequest) -> list[Event]:
    """Return the event, or none for what is not one. Raises Unparsable if not understood."""
    return hearing.only_events(parse_each(request))


def parse_each(request: WebhookRequest) -> Heard:
    """Return the event, or the problem with it. Raises Unparsable if the body is no record."""
    record = hearing.load(request.body)
    if not isinstance(record, dict) or not hearing.text(record.get("RecordType")):
        raise Unparsable("The body is no record; is this Postmark's inbound webhook?")
    try:
        kind = _kind(record)
    except Unparsable as error:
        return [], [str(error)]
    return ([_event(kind, record, request)] if kind else []), []


def _kind(record: dict[str, Any]) -> Kind | None:
    """Return what the record is, None for nothing of ours. Raises Unparsable."""
    name = hearing.text(record["RecordType"])
    if name == "Bounce":
        return _bounce(record)
    if name == "SubscriptionChange":
        return _change(record)
    if name not in RECORDS:
        raise Unparsable(f"unknown event type '{name[:40]}'")
    return RECORDS[name]


def _bounce(record: dict[str, Any]) -> Kind | None:
    name = hearing.text(record.get("Type"))
    if name not in BOUNCES:
        name = TYPE_CODES.get(hearing.text(record.get("TypeCode")), name)
    if name not in BOUNCES:
        raise Unparsable(f"unknown event type 'Bounce {name[:40]}'")
    kind = BOUNCES[name]
    if kind is None or kind[1] in (None, BounceClass.HARD):
        # On a hard bounce Postmark stops sending to the address, so lowering it would not help.
        return kind
    return kind[0], bouncing.weigh(kind[1], hearing.text(record.get("Details"), 1000))


def _change(record: dict[str, Any]) -> Kind | None:
    """Return what made Postmark stop sending; None if it starts again, which is not our opt-in."""
    if record.get("SuppressSending") is not True:
        return None
    reason = hearing.text(record.get("SuppressionReason"))
    if reason not in SUPPRESSIONS:
        raise Unparsable(f"unknown event type 'SubscriptionChange {reason[:40]}'")
    return SUPPRESSIONS[reason]


def _event(kind: Kind, record: dict[str, Any], request: WebhookRequest) -> Event:
    event_type, bounce_class = kind
    user_agent = hearing.text(record.get("UserAgent"), hearing.MAX_USER_AGENT)
    return Event(
        type=event_type,
        occurred_at=hearing.moment(_time(record), request.received_at),
        recipient=hearing.address(record.get("Recipient") or record.get("Email")),
        dedupe_key=_dedupe_key(kind, record),
        message_id=hearing.text(hearing.mapping(record.get("Metadata")).get("message_id")),
        provider_message_id=hearing.text(record.get("MessageID")),
        url=hearing.text(record.get("OriginalLink"), hearing.MAX_URL),
        ip=hearing.ip(hearing.mapping(record.get("Geo")).get("IP")),
        user_agent=user_agent,
        bounce_class=bounce_class,
        reason=_reason(event_type, record),
        country=hearing.country(hearing.mapping(record.get("Geo")).get("CountryISOCode")),
        raw=record,
    )


def _time(record: dict[str, Any]) -> Any:
    return next((record[name] for name in TIMES if name in record), None)


def _dedupe_key(kind: Kind, record: dict[str, Any]) -> str:
    """Return a key of what, which mail, whom and when; without when for what is told twice."""
    recipient = hearing.address(record.get("Recipient") or record.get("Email"))
    message_id = hearing.text(record.get("MessageID"))
    if kind in TOLD_TWICE and message_id.strip("0-"):
        return hearing.fingerprint(kind[0], message_id, recipient)
    return hearing.fingerprint(
        record["RecordType"],
        record.get("ID"),
        message_id,
        recipient,
        _time(record),
        record.get("OriginalLink"),
    )


def _reason(event_type: EventType, record: dict[str, Any]) -> str:
    if event_type in (EventType.DELIVERED, EventType.OPENED, EventType.CLICKED):
        return ""
    names = ("Details", "Description", "SuppressionReason")
    given = (hearing.text(record.get(name), hearing.MAX_REASON) for name in names)
    return next((reason for reason in given if reason), "")
