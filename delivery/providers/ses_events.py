"""What Amazon SES tells: one event in each SNS message, for one recipient or several.

Source: "Contents of event data that Amazon SES publishes to Amazon SNS" and its examples, docs of
AWS. Signatures and subscriptions are SNS's: see sns.py. SES does not say which of several
recipients opened or clicked; we send one mail to one person, so there is one.
"""

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

from delivery.providers import bouncing, hearing, sns
from delivery.providers.base import (
    Account,
    BounceClass,
    Event,
    EventType,
    Heard,
    Unparsable,
    WebhookRequest,
)

TYPES: Mapping[str, EventType] = MappingProxyType(
    {
        "Send": EventType.SENT,
        "Delivery": EventType.DELIVERED,
        "DeliveryDelay": EventType.DEFERRED,
        "Bounce": EventType.BOUNCED,
        "Complaint": EventType.COMPLAINED,
        "Open": EventType.OPENED,
        "Click": EventType.CLICKED,
        "Subscription": EventType.UNSUBSCRIBED,
        "Reject": EventType.FAILED,
        "Rendering Failure": EventType.FAILED,
    }
)

DETAILS: Mapping[str, str] = MappingProxyType(
    {"Rendering Failure": "failure", "DeliveryDelay": "deliveryDelay"}
)
"""Where an event keeps its details, if not under its own name in lower case."""

RECIPIENTS: Mapping[str, str] = MappingProxyType(
    {
        "Bounce": "bouncedRecipients",
        "Complaint": "complainedRecipients",
        "DeliveryDelay": "delayedRecipients",
        "Delivery": "recipients",
    }
)
"""Where the details list recipients; all other events are about the mail's destination."""

BOUNCE_WORDS: Mapping[str, BounceClass] = MappingProxyType(
    {"Permanent": BounceClass.HARD, "Transient": BounceClass.SOFT}
)
"""`bounceType`, which decides. Not here: Undetermined, where the server's answer counts."""

BLOCK_SUBTYPES = frozenset({"ContentRejected", "AttachmentRejected"})
SUPPRESSED_SUBTYPES = frozenset({"Suppressed", "OnAccountSuppressionList"})
"""Not sent, because an earlier bounce or complaint put the address on a list of SES."""

VALIDATED = "Successfully validated SNS topic for Amazon SES event publishing."
"""What SES publishes once, as plain text, when a topic is connected."""


def verify(account: Account, request: WebhookRequest) -> None:
    """Raise Forged unless Amazon signed it for a topic of the account; TooOld; see sns.verify."""
    sns.verify(account, request)


def confirm(account: Account, request: WebhookRequest) -> bool:
    """Answer a verified subscription message; True if this was one; see sns.confirm."""
    return sns.confirm(account, request)


def replay_key(_request: WebhookRequest) -> str:
    """Return '': the signature covers the message, so a replay changes nothing."""
    return ""


def parse(request: WebhookRequest) -> list[Event]:
    """Return one event per recipient. Raises Unparsable if nothing is understood."""
    return hearing.only_events(parse_each(request))


def parse_each(request: WebhookRequest) -> Heard:
    """Return one event per recipient and the problems; nothing for a subscription message."""
    message = sns.read(request)
    content = message.get("Message")
    if message["Type"] != "Notification" or content == VALIDATED:
        return [], []
    if not isinstance(content, str):
        raise Unparsable("The SNS message is empty.")
    event = hearing.load(content)
    if not isinstance(event, dict):
        raise Unparsable("The SNS message holds no SES event.")
    name = hearing.text(event.get("eventType") or event.get("notificationType"))
    if name not in TYPES:
        return [], [f"unknown event type '{name[:40]}'"]
    return hearing.collect(_heard(name, event, message, request))


def _heard(
    name: str, event: dict[str, Any], message: dict[str, Any], request: WebhookRequest
) -> Iterator[Event | str]:
    details = hearing.mapping(event.get(DETAILS.get(name, name.lower())))
    recipients = _recipients(name, event, details)
    if not recipients:
        yield f"{name} without a recipient"
    for entry in recipients:
        kind = _kind(name, details, entry)
        if kind is not None:
            yield _event(kind, entry, event, message, request)


def _recipients(
    name: str, event: dict[str, Any], details: Mapping[str, Any]
) -> list[Mapping[str, Any]]:
    """Return each recipient the event is about as an object with its emailAddress.

    Who of several opened or clicked, SES does not say: that is one event, about nobody.
    """
    listed = hearing.items(details.get(RECIPIENTS.get(name, ""))) or hearing.items(
        hearing.mapping(event.get("mail")).get("destination")
    )
    if name in ("Open", "Click") and len(listed) > 1:
        return [{"emailAddress": ""}]
    entries = [one if isinstance(one, dict) else {"emailAddress": one} for one in listed]
    return [entry for entry in entries if hearing.address(entry.get("emailAddress"))]


# --- What happened -----------------------------------------------------------------------

Kind = tuple[EventType, BounceClass | None]


def _kind(name: str, details: Mapping[str, Any], entry: Mapping[str, Any]) -> Kind | None:
    """Return type and bounce class for one recipient; None if it is no event for us."""
    if name == "Bounce":
        return _bounce(details, entry)
    if name == "Complaint":
        return _complaint(details)
    if name == "DeliveryDelay":
        return EventType.DEFERRED, bouncing.weigh(BounceClass.SOFT, *_said(entry))
    if name == "Subscription":
        preferences = hearing.mapping(details.get("newTopicPreferences"))
        return (EventType.UNSUBSCRIBED, None) if preferences.get("unsubscribeAll") else None
    return TYPES[name], None


def _bounce(details: Mapping[str, Any], entry: Mapping[str, Any]) -> Kind | None:
    bounce_type = hearing.text(details.get("bounceType"))
    subtype = hearing.text(details.get("bounceSubType"))
    if subtype in SUPPRESSED_SUBTYPES:
        return EventType.DROPPED, BounceClass.HARD
    if subtype in BLOCK_SUBTYPES:
        return EventType.BOUNCED, BounceClass.BLOCK
    said, status = _said(entry)
    if (bounce_type, subtype) == ("Transient", "General") and not (said or status):
        return None  # Mostly an out-of-office answer: no server has refused anything.
    word = BOUNCE_WORDS.get(bounce_type, BounceClass.UNKNOWN)
    return EventType.BOUNCED, bouncing.weigh(word, said, status)


def _complaint(details: Mapping[str, Any]) -> Kind | None:
    if hearing.text(details.get("complaintSubType")) in SUPPRESSED_SUBTYPES:
        return EventType.DROPPED, None
    if hearing.text(details.get("complaintFeedbackType")) == "not-spam":
        return None
    return EventType.COMPLAINED, None


def _said(entry: Mapping[str, Any]) -> tuple[str, str]:
    """Return the server's answer and the outer status of one recipient."""
    said = hearing.text(entry.get("diagnosticCode"), bouncing.READ_AT_MOST)
    return said, hearing.text(entry.get("status"))


# --- The event ---------------------------------------------------------------------------


def _event(
    kind: Kind,
    entry: Mapping[str, Any],
    event: dict[str, Any],
    message: dict[str, Any],
    request: WebhookRequest,
) -> Event:
    event_type, bounce_class = kind
    name = hearing.text(event.get("eventType") or event.get("notificationType"))
    details = hearing.mapping(event.get(DETAILS.get(name, name.lower())))
    mail = hearing.mapping(event.get("mail"))
    recipient = hearing.address(entry.get("emailAddress"))
    user_agent = hearing.text(details.get("userAgent"), hearing.MAX_USER_AGENT)
    # Send, Reject and Rendering Failure have no time of their own but the mail's.
    time = details.get("timestamp") or mail.get("timestamp")
    return Event(
        type=event_type,
        occurred_at=hearing.moment(time, request.received_at),
        recipient=recipient,
        dedupe_key=hearing.fingerprint(message.get("MessageId"), recipient, name),
        message_id=_message_id(mail),
        provider_message_id=hearing.text(mail.get("messageId")),
        url=hearing.text(details.get("link"), hearing.MAX_URL),
        ip=hearing.ip(details.get("ipAddress")),
        user_agent=user_agent,
        bounce_class=bounce_class,
        reason=_reason(event_type, details, entry),
        complaint_type=hearing.text(
            details.get("complaintFeedbackType"), hearing.MAX_COMPLAINT_TYPE
        ),
        raw=event,
    )


def _message_id(mail: Mapping[str, Any]) -> str:
    """Return ours: from the message tags, or from the X-Metadata header of a single mail."""
    tagged = hearing.items(hearing.mapping(mail.get("tags")).get("message_id"))
    if tagged:
        return hearing.text(tagged[0])
    for header in hearing.items(mail.get("headers")):
        if hearing.text(hearing.mapping(header).get("name")).lower() == "x-metadata":
            return _from_metadata(hearing.text(header.get("value"), 2000))
    return ""


def _from_metadata(value: str) -> str:
    try:
        return hearing.text(hearing.mapping(hearing.load(value)).get("message_id"))
    except Unparsable:
        return ""  # Somebody's own header of that name.


def _reason(event_type: EventType, details: Mapping[str, Any], entry: Mapping[str, Any]) -> str:
    """Return what a person should read: the server's answer, or SES's own words."""
    if event_type in (EventType.DELIVERED, EventType.OPENED, EventType.CLICKED):
        return ""
    own = ("reason", "errorMessage", "complaintFeedbackType", "complaintSubType", "delayType")
    words = [hearing.text(details.get(name), hearing.MAX_REASON) for name in own]
    bounce = (details.get("bounceType"), details.get("bounceSubType"))
    words.insert(0, hearing.text(entry.get("diagnosticCode"), hearing.MAX_REASON))
    words.append(" ".join(filter(None, map(hearing.text, bounce))))
    return next((word for word in words if word), "")
