"""Amazon SES's events as SNS sends them: JSON in JSON, signed with the account's own RSA key.

The certificate is served by the sandbox under /sns/, unless the account names another address
(`signing["certificate_url"]`): Amazon's own host cannot be imitated on a loopback port.
"""

import hashlib
import json
import secrets
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from delivery.sandbox import ses
from delivery.sandbox.calls import Content, Occurrence, Post
from delivery.sandbox.config import Account
from delivery.sandbox.signing import sign_sns

TOLD = {
    "processed": "Send",
    "delivered": "Delivery",
    "defer": "DeliveryDelay",
    "drop": "Reject",
    "bounce": "Bounce",
    "soft_bounce": "Bounce",
    "block": "Bounce",
    "open": "Open",
    "click": "Click",
    "complaint": "Complaint",
    "unsubscribe": "Subscription",
    "unrenderable": "Rendering Failure",
}
"""Our events in Amazon's words."""

_BOUNCES = {
    "bounce": ("Permanent", "General", "5.1.1", "smtp; 550 5.1.1 user unknown"),
    "soft_bounce": ("Transient", "MailboxFull", "4.2.2", "smtp; 452 4.2.2 mailbox full"),
    "block": ("Transient", "ContentRejected", "5.7.1", "smtp; 550 5.7.1 unsolicited mail"),
}


def certificate_path(account: Account) -> str:
    """Return where the sandbox serves the account's certificate, named as Amazon names its own."""
    digest = hashlib.sha256(account.signing.get("certificate", "").encode()).hexdigest()
    return f"/sns/SimpleNotificationService-{digest[:32]}.pem"


def posts(account: Account, occurrences: Sequence[Occurrence], base_url: str) -> list[Post]:
    """Return the webhooks for these events: one signed notification each."""
    made = []
    for occurrence in occurrences:
        identity = hashlib.sha256(f"{occurrence.provider_message_id}/{occurrence.id}".encode())
        message = {
            "Type": "Notification",
            "MessageId": str(uuid.UUID(bytes=identity.digest()[:16])),
            "TopicArn": account.signing.get("topic_arn", ""),
            "Subject": "Amazon SES Email Event Notification",
            "Message": json.dumps(_event(occurrence)),
            "Timestamp": _time(datetime.now(UTC).timestamp()),
        }
        made.append(_post(account, message, base_url, [occurrence.id]))
    return made


def confirmation(account: Account, base_url: str) -> Post:
    """Return the hand-shake that SNS begins a subscription with."""
    topic, token = account.signing.get("topic_arn", ""), secrets.token_hex(64)
    confirm = f"{base_url}/sns/confirm?Action=ConfirmSubscription&TopicArn={topic}&Token={token}"
    message = {
        "Type": "SubscriptionConfirmation",
        "MessageId": str(uuid.uuid4()),
        "Token": token,
        "TopicArn": topic,
        "Message": f"You have chosen to subscribe to the topic {topic}.\nTo confirm the"
        " subscription, visit the SubscribeURL included in this message.",
        "SubscribeURL": confirm,
        "Timestamp": _time(datetime.now(UTC).timestamp()),
    }
    return _post(account, message, base_url, [])


def _post(account: Account, message: dict[str, str], base_url: str, events: Sequence[int]) -> Post:
    served = f"{base_url}{certificate_path(account)}"
    message["SignatureVersion"] = "2"
    message["SigningCertURL"] = account.signing.get("certificate_url") or served
    if account.signing.get("private_key"):
        message["Signature"] = sign_sns(account.signing["private_key"], message)
    if message["Type"] == "Notification":
        message["UnsubscribeURL"] = f"{base_url}/sns/unsubscribe"
    headers = {
        "Content-Type": "text/plain; charset=UTF-8",
        "User-Agent": "Amazon Simple Notification Service Agent",
        "x-amz-sns-message-type": message["Type"],
        "x-amz-sns-message-id": message["MessageId"],
        "x-amz-sns-topic-arn": message["TopicArn"],
    }
    return Post(account.webhook_url, headers, json.dumps(message).encode(), events)


def _event(occurrence: Occurrence) -> dict[str, Any]:
    kind = TOLD[occurrence.type]
    content = ses.expand(occurrence.shared, occurrence.own)
    details = _details(occurrence)
    key = {"Rendering Failure": "failure", "DeliveryDelay": "deliveryDelay"}.get(kind, kind.lower())
    return {"eventType": kind, "mail": _mail(occurrence, content), key: details}


def _mail(occurrence: Occurrence, content: Content) -> dict[str, Any]:
    headers = {"From": content.sender, "To": content.to, "Subject": content.subject}
    headers |= {**content.headers, "MIME-Version": "1.0"}
    tags = {name: [value] for name, value in _tags(occurrence).items()}
    return {
        "timestamp": _time(occurrence.at),
        "source": content.sender,
        "sendingAccountId": "123456789012",
        "messageId": occurrence.provider_message_id,
        "destination": occurrence.own.get("people") or [occurrence.recipient],
        "headersTruncated": False,
        "headers": [{"name": name, "value": value} for name, value in headers.items()],
        "commonHeaders": {
            "from": [content.sender],
            "to": [content.to],
            "messageId": occurrence.provider_message_id,
            "subject": content.subject,
        },
        "tags": {"ses:configuration-set": ["sandbox"], "ses:caller-identity": ["sandbox"], **tags},
    }


def _tags(occurrence: Occurrence) -> Mapping[str, str]:
    return {**occurrence.shared["tags"], **occurrence.own.get("tags", {})}


def _details(occurrence: Occurrence) -> dict[str, Any]:
    """Return the object that carries what is special to this type of event."""
    at, email = _time(occurrence.at), occurrence.recipient
    simple: dict[str, dict[str, Any]] = {
        "processed": {},
        "drop": {"reason": "Bad content"},
        "unrenderable": {
            "errorMessage": "Attribute is not present in the rendering data.",
            "templateName": "inline",
        },
        "unsubscribe": {
            "contactList": "sandbox",
            "timestamp": at,
            "source": "UnsubscribeHeader",
            "newTopicPreferences": {"unsubscribeAll": True, "topicSubscriptionStatus": []},
        },
        "delivered": {
            "timestamp": at,
            "processingTimeMillis": 500,
            "recipients": [email],
            "smtpResponse": "250 2.6.0 Message received",
            "reportingMTA": "mta.example.com",
        },
        "defer": {
            "delayType": "TransientCommunicationFailure",
            "timestamp": at,
            "delayedRecipients": [
                {"emailAddress": email, "status": "4.4.1", "diagnosticCode": "smtp; 421 4.4.1"}
            ],
        },
        "complaint": {
            "complainedRecipients": [{"emailAddress": email}],
            "timestamp": at,
            "arrivalDate": at,
            "feedbackId": f"0100-{occurrence.id}",
            "userAgent": "Amazon SES Mailbox Simulator",
            "complaintFeedbackType": "abuse",
        },
    }
    if occurrence.type in _BOUNCES:
        return _bounce(occurrence, at)
    if occurrence.type in ("open", "click"):
        return _engagement(occurrence, at)
    return simple[occurrence.type]


def _bounce(occurrence: Occurrence, at: str) -> dict[str, Any]:
    kind, subtype, status, diagnostic = _BOUNCES[occurrence.type]
    recipient = {"emailAddress": occurrence.recipient, "action": "failed", "status": status}
    return {
        "bounceType": kind,
        "bounceSubType": subtype,
        "bouncedRecipients": [{**recipient, "diagnosticCode": diagnostic}],
        "timestamp": at,
        "feedbackId": f"0100-{occurrence.id}",
        "reportingMTA": "dsn; mta.example.com",
    }


def _engagement(occurrence: Occurrence, at: str) -> dict[str, Any]:
    agent = {"ipAddress": occurrence.ip, "userAgent": occurrence.agent.user_agent, "timestamp": at}
    if occurrence.type == "click":
        return {**agent, "link": occurrence.url, "linkTags": None}
    return agent


def _time(seconds: float) -> str:
    """Return the moment as Amazon writes it, in milliseconds and UTC."""
    moment = datetime.fromtimestamp(seconds, UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"
