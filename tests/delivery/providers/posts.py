"""Webhook posts as the providers send them, signed here with keys of our own.

Written from the providers' documentation, not from our verifiers or the sandbox's signing, so that
one mistake cannot hide in both. Payloads with their sources: tests/payloads/<provider>/.
"""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from delivery.providers import (
    generic_events,
    mailgun_events,
    postmark_events,
    sendgrid_events,
    ses_events,
)
from delivery.providers.base import Account, WebhookRequest

NOW = datetime(2026, 11, 23, 4, 0, 30, tzinfo=UTC)
TOPIC = "arn:aws:sns:us-east-1:123456789012:ses-events"
CERTIFICATE_URL = (
    "https://sns.us-east-1.amazonaws.com/SimpleNotificationService-"
    + "0123456789abcdef" * 2
    + ".pem"
)
MAILGUN_KEY = "mailgun-signing-key-of-a-test"
BASIC_AUTH = "postmark:a long pass:word"
PAYLOADS = Path(__file__).parents[2] / "payloads"

MODULES: dict[str, ModuleType] = {
    "sendgrid": sendgrid_events,
    "mailgun": mailgun_events,
    "postmark": postmark_events,
    "ses": ses_events,
    "generic": generic_events,
}
ESPS = ("sendgrid", "mailgun", "postmark", "ses", "generic")
GENERIC_SECRET = "a-secret-of-our-own-for-a-test"


@dataclass(frozen=True)
class Sample:
    """One file of tests/payloads: what a provider posts, and what it means."""

    provider: str
    name: str
    payload: Any
    expected: list[dict[str, Any]]
    problems: list[str]

    def __str__(self) -> str:
        return f"{self.provider}/{self.name}"


def samples() -> list[Sample]:
    """Return every payload that is kept, in order of its path."""
    return [_sample(path) for path in sorted(PAYLOADS.glob("*/*.json"))]


def sample(provider: str, name: str) -> Sample:
    return _sample(PAYLOADS / provider / f"{name}.json")


def _sample(path: Path) -> Sample:
    content = json.loads(path.read_text())
    return Sample(
        path.parent.name,
        path.stem,
        content["payload"],
        content["expected"],
        content.get("problems", []),
    )


def account(provider: str, /, **values: str) -> Account:
    """Return an account with everything its webhooks need; `values` replace some of it."""
    own = {
        "sendgrid": {"webhook_public_key": public_key(ec_key("first"))},
        "mailgun": {"webhook_signing_key": MAILGUN_KEY},
        "postmark": {"webhook_basic_auth": BASIC_AUTH},
        "ses": {"topic_arns": TOPIC, "sns_certificate": pem(certificate("first"))},
        "generic": {"webhook_secrets": GENERIC_SECRET},
    }[provider]
    return Account(id=1, version=1, values={**own, **values})


def post(provider: str, payload: Any, /, at: datetime = NOW, **how: str) -> WebhookRequest:
    """Return the signed request with which the provider tells `payload` at the time `at`."""
    headers, body = _MAKERS[provider](payload, at, **how)
    return WebhookRequest(headers=headers, body=body, received_at=NOW)


def raw(body: bytes, **headers: str) -> WebhookRequest:
    """Return a request with just this body."""
    return WebhookRequest(headers=headers, body=body, received_at=NOW)


# --- SendGrid: ECDSA P-256 / SHA-256 over timestamp + body --------------------------------


@cache
def ec_key(name: str) -> ec.EllipticCurvePrivateKey:
    """Return a private key, the same for the same name."""
    return ec.generate_private_key(ec.SECP256R1())


def public_key(key: ec.EllipticCurvePrivateKey) -> str:
    der = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(der).decode()


def _sendgrid(payload: Any, at: datetime, key: str = "first") -> tuple[dict[str, str], bytes]:
    body = json.dumps(payload).encode() + b"\r\n"
    timestamp = str(int(at.timestamp()))
    signature = ec_key(key).sign(timestamp.encode() + body, ec.ECDSA(hashes.SHA256()))
    return {
        "content-type": "application/json",
        "x-twilio-email-event-webhook-timestamp": timestamp,
        "x-twilio-email-event-webhook-signature": base64.b64encode(signature).decode(),
    }, body


# --- Mailgun: HMAC-SHA256 of timestamp + token, in the body -------------------------------


def mailgun_signature(timestamp: str, token: str, key: str = MAILGUN_KEY) -> str:
    return hmac.new(key.encode(), (timestamp + token).encode(), hashlib.sha256).hexdigest()


def _mailgun(
    payload: Any, at: datetime, key: str = MAILGUN_KEY, parent_key: str = ""
) -> tuple[dict[str, str], bytes]:
    timestamp, token = str(int(at.timestamp())), payload["signature"]["token"]
    block = {
        "timestamp": timestamp,
        "token": token,
        "signature": mailgun_signature(timestamp, token, key),
    }
    if parent_key:
        block["parent-signature"] = mailgun_signature(timestamp, token, parent_key)
    body = json.dumps({**payload, "signature": block}).encode()
    return {"content-type": "application/json"}, body


# --- Postmark: basic auth in the URL ------------------------------------------------------


def _postmark(
    payload: Any, _at: datetime, credentials: str = BASIC_AUTH
) -> tuple[dict[str, str], bytes]:
    header = "Basic " + base64.b64encode(credentials.encode()).decode()
    return {"authorization": header}, json.dumps(payload).encode()


# --- SNS: RSA over named lines ------------------------------------------------------------


@cache
def rsa_key(name: str) -> rsa.RSAPrivateKey:
    """Return a private key, the same for the same name."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@cache
def certificate(
    name: str = "first",
    valid_from: datetime = NOW - timedelta(days=30),
    valid_until: datetime = NOW + timedelta(days=30),
) -> x509.Certificate:
    """Return a certificate of `rsa_key(name)` by a certificate authority of our own."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sns.amazonaws.com")])
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "A test's own authority")])
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(rsa_key(name).public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(valid_from)
        .not_valid_after(valid_until)
        .sign(rsa_key("authority"), hashes.SHA256())
    )


def pem(one: x509.Certificate) -> str:
    return one.public_bytes(Encoding.PEM).decode()


def sns(kind: str = "Notification", /, at: datetime = NOW, **fields: str) -> dict[str, str]:
    """Return an unsigned SNS message."""
    own = {
        "Type": kind,
        "MessageId": "22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324",
        "TopicArn": TOPIC,
        "Timestamp": at.strftime("%Y-%m-%dT%H:%M:%S.000Z"),
        "SigningCertURL": CERTIFICATE_URL,
    }
    if kind != "Notification":
        own |= {
            "Message": f"You have chosen to change the subscription to the topic {TOPIC}.",
            "SubscribeURL": "https://canary.invalid/?Action=ConfirmSubscription",
            "Token": "2336412f37fb687f5d51e6e2425f",
        }
    return {**own, **fields}


def sign(message: dict[str, str], version: str = "2", key: str = "first") -> bytes:
    """Return the body of an SNS message signed with `rsa_key(key)`."""
    names = {
        "Notification": ["Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"],
    }.get(
        message["Type"],
        ["Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"],
    )
    text = "".join(f"{name}\n{message[name]}\n" for name in names if name in message)
    digest = hashes.SHA1() if version == "1" else hashes.SHA256()  # noqa: S303 - theirs
    signature = rsa_key(key).sign(text.encode(), padding.PKCS1v15(), digest)
    signed = {"SignatureVersion": version, "Signature": base64.b64encode(signature).decode()}
    return json.dumps({**message, **signed}).encode()


def _ses(payload: Any, at: datetime, **how: str) -> tuple[dict[str, str], bytes]:
    message = sns(at=at, Message=json.dumps(payload), Subject="Amazon SES Email Event")
    return {"x-amz-sns-message-type": "Notification"}, sign(message, **how)


# --- Anything else: HMAC-SHA256 of timestamp, a full stop, and the body ---------------------


def _generic(
    payload: Any, at: datetime, secret: str = GENERIC_SECRET
) -> tuple[dict[str, str], bytes]:
    body, timestamp = json.dumps(payload).encode(), str(int(at.timestamp()))
    signed = f"{timestamp}.".encode() + body
    signature = hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()
    return {"x-webhook-timestamp": timestamp, "x-webhook-signature": signature}, body


_MAKERS: dict[str, Callable[..., tuple[dict[str, str], bytes]]] = {
    "sendgrid": _sendgrid,
    "mailgun": _mailgun,
    "postmark": _postmark,
    "ses": _ses,
    "generic": _generic,
}
