"""Providers that post to us, with keys of their own and genuine signatures."""

from __future__ import annotations

import hashlib
import hmac
import itertools
import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from django.test import Client
from django.utils import timezone

from delivery.models import Message, ProviderAccount
from delivery.sandbox import signing
from tests import make

PAYLOADS = Path(__file__).parents[1] / "payloads"
KINDS = ("sendgrid", "mailgun", "postmark", "ses", "generic")
_number = itertools.count(1)

PLACEHOLDER_ID = "0199f3a0-5b1c-7d2e-8f40-2a6c9e7b1d35"
PLACEHOLDER_ADDRESS = "ada@example.com"

SAMPLES = {
    "delivered": {
        "sendgrid": "delivered",
        "mailgun": "delivered",
        "postmark": "delivery",
        "ses": "delivery",
        "generic": "delivered",
    },
    "hard bounce": {
        "sendgrid": "bounce",
        "mailgun": "failed_permanent",
        "postmark": "hard_bounce",
        "ses": "bounce_permanent",
        "generic": "bounced",
    },
    "complaint": {
        "sendgrid": "spamreport",
        "mailgun": "complained",
        "postmark": "spam_complaint",
        "ses": "complaint",
        "generic": "complained",
    },
    "open": {
        "sendgrid": "open",
        "mailgun": "opened",
        "postmark": "open",
        "ses": "open",
        "generic": "opened",
    },
    "click": {
        "sendgrid": "click",
        "mailgun": "clicked",
        "postmark": "click",
        "ses": "click",
        "generic": "clicked",
    },
    "unsubscribe": {
        "sendgrid": "unsubscribe",
        "mailgun": "unsubscribed",
        "postmark": "unsubscribed",
        "ses": "subscription",
        "generic": "unsubscribed",
    },
}
"""What happened -> the file under tests/payloads in which each provider tells it."""


@dataclass(frozen=True)
class Esp:
    """One account at one provider, from the provider's side."""

    account: ProviderAccount
    keys: dict[str, str]

    @property
    def kind(self) -> str:
        """What its address calls it: “generic” is what accounts of SMTP relays speak."""
        return "generic" if self.account.kind == "smtp" else self.account.kind

    @property
    def path(self) -> str:
        return f"/api/webhooks/email/{self.kind}/{self.account.webhook_token}"

    def tells(self, what: str, message: Message, recipient: str = "") -> Any:
        """Return the payload in which the provider tells `what` about our message."""
        path = PAYLOADS / self.kind / f"{SAMPLES[what][self.kind]}.json"
        payload = json.dumps(json.loads(path.read_text())["payload"])
        payload = payload.replace(PLACEHOLDER_ID, message.token)
        payload = payload.replace(PLACEHOLDER_ADDRESS, recipient or message.email)
        return json.loads(payload)

    def post(self, client: Client, payload: Any, at: datetime | None = None, **changes: str) -> Any:
        """Post a payload, signed at `at`; `changes` are headers that replace the true ones."""
        headers, body = self.signed(payload, at or timezone.now())
        return self.post_raw(client, body, {**headers, **changes})

    def post_raw(self, client: Client, body: bytes, headers: dict[str, str]) -> Any:
        return client.post(self.path, body, content_type="application/json", headers=headers)

    def signed(self, payload: Any, at: datetime) -> tuple[dict[str, str], bytes]:
        """Return headers and body as the provider sends them."""
        stamp = str(int(at.timestamp()))
        if self.kind == "mailgun":
            token = f"{next(_number):050x}"
            signature = signing.sign_mailgun(self.keys["signing_key"], stamp, token)
            block = {"timestamp": stamp, "token": token, "signature": signature}
            return {}, json.dumps({**payload, "signature": block}).encode()
        if self.kind == "ses":
            return {}, json.dumps(self.sns(payload, at)).encode()
        body = json.dumps(payload).encode()
        if self.kind == "generic":
            secret = self.keys["secret"].encode()
            signature = hmac.new(secret, f"{stamp}.".encode() + body, hashlib.sha256).hexdigest()
            return {"x-webhook-timestamp": stamp, "x-webhook-signature": signature}, body
        if self.kind == "postmark":
            login = signing.basic_auth(self.keys["user"], self.keys["password"])
            return {"authorization": login}, body
        return {
            "x-twilio-email-event-webhook-timestamp": stamp,
            "x-twilio-email-event-webhook-signature": signing.sign_sendgrid(
                self.keys["private_key"], stamp, body
            ),
        }, body

    def sns(self, payload: Any, at: datetime, **fields: str) -> dict[str, str]:
        message = {
            "Type": "Notification",
            "MessageId": f"00000000-0000-0000-0000-{next(_number):012x}",
            "TopicArn": self.keys["topic_arn"],
            "Message": json.dumps(payload),
            "Timestamp": at.strftime("%Y-%m-%dT%H:%M:%S.000Z"),
            **fields,
        }
        signature = signing.sign_sns(self.keys["private_key"], message)
        return {**message, "SignatureVersion": "2", "Signature": signature}


def esp(kind: str, **fields: Any) -> Esp:
    """Return a new account of this kind that can be posted to."""
    kind = "smtp" if kind == "generic" else kind
    keys = signing.make_keys(kind) or {"secret": f"a-secret-of-relay-{next(_number)}"}
    login = f"{keys.get('user')}:{keys.get('password')}"
    secrets = {
        "sendgrid": {"webhook_public_key": keys.get("public_key")},
        "mailgun": {"webhook_signing_key": keys.get("signing_key")},
        "postmark": {"webhook_basic_auth": login},
        "ses": {"topic_arns": keys.get("topic_arn"), "sns_certificate": keys.get("certificate")},
        "smtp": {"webhook_secrets": keys.get("secret")},
    }
    return Esp(make.account(kind=kind, secrets=secrets[kind], **fields), keys)


def sendgrid_event(message: Message, event: str, at: datetime, **more: Any) -> dict[str, Any]:
    """Return one entry of SendGrid's array, with an id of its own."""
    return {
        "email": message.email,
        "event": event,
        "timestamp": int(at.timestamp()),
        "sg_event_id": f"event-{next(_number)}",
        "sg_message_id": "abc.filter0001",
        "message_id": message.token,
        **more,
    }
