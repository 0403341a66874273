"""Sign webhooks as the four providers do, and make the key material for it.

Copied from documentation: SendGrid "Event Webhook Security Features" (ECDSA P-256/SHA-256 over
timestamp + body, DER signature and DER public key in base64), Mailgun "Securing webhooks"
(HMAC-SHA256 of timestamp + token, hex), Postmark (basic auth in the URL, no signature), SNS
"Verifying the signatures of Amazon SNS messages" (version 1 RSA-SHA1, version 2 RSA-SHA256, both
PKCS #1 v1.5).
"""

import base64
import hashlib
import hmac
import secrets
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.x509.oid import NameOID

SNS_SIGNED_FIELDS = {
    "Notification": ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"),
    "SubscriptionConfirmation": (
        ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type")
    ),
    "UnsubscribeConfirmation": (
        ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type")
    ),
}
"""What SNS signs of a message, in this order; a field that is absent (Subject) is left out."""

CERTIFICATE_LIFETIME = timedelta(days=3650)


def make_keys(kind: str) -> dict[str, str]:
    """Return fresh signing material for an account of this kind.

    sendgrid: `private_key` (PEM, the sandbox's half), `public_key` (base64 DER, as SendGrid
    shows it). mailgun: `signing_key`. postmark: `user`, `password`. ses: `private_key`,
    `certificate` (both PEM), `topic_arn`. smtp: nothing, it has no webhooks. Raises KeyError for
    any other kind.
    """
    return _MAKERS[kind]()


def sign_sendgrid(private_pem: str, timestamp: str, body: bytes) -> str:
    """Return the X-Twilio-Email-Event-Webhook-Signature of a body sent at `timestamp`."""
    key = _load(private_pem)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise TypeError("SendGrid signs with an elliptic curve key; this PEM holds another kind.")
    signature = key.sign(timestamp.encode() + body, ec.ECDSA(hashes.SHA256()))
    return base64.b64encode(signature).decode()


def sign_mailgun(key: str, timestamp: str, token: str) -> str:
    """Return the hex signature of a Mailgun webhook. It does not cover the body; theirs neither."""
    return hmac.new(key.encode(), f"{timestamp}{token}".encode(), hashlib.sha256).hexdigest()


def basic_auth(user: str, password: str) -> str:
    """Return the Authorization header that Postmark sends for a URL with user and password."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def sns_string_to_sign(message: Mapping[str, Any]) -> bytes:
    """Return what SNS signs of a message: name and value of each field, each on its own line."""
    fields = SNS_SIGNED_FIELDS[message["Type"]]
    return "".join(f"{name}\n{message[name]}\n" for name in fields if name in message).encode()


def sign_sns(private_pem: str, message: Mapping[str, Any], version: str = "2") -> str:
    """Return the Signature of an SNS message. `version` is its SignatureVersion, "1" or "2"."""
    key = _load(private_pem)
    if not isinstance(key, rsa.RSAPrivateKey):
        raise TypeError("SNS signs with an RSA key; this PEM holds another kind.")
    digest = {"1": hashes.SHA1, "2": hashes.SHA256}[version]()
    signature = key.sign(sns_string_to_sign(message), padding.PKCS1v15(), digest)
    return base64.b64encode(signature).decode()


@lru_cache(maxsize=64)
def _load(private_pem: str) -> PrivateKeyTypes:
    """Return the key of a PEM. Cached: reading one costs more than signing with it."""
    return serialization.load_pem_private_key(private_pem.encode(), password=None)


def _make_sendgrid() -> dict[str, str]:
    key = ec.generate_private_key(ec.SECP256R1())
    public = key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return {"private_key": _pem(key), "public_key": base64.b64encode(public).decode()}


def _make_mailgun() -> dict[str, str]:
    return {"signing_key": secrets.token_hex(16)}


def _make_postmark() -> dict[str, str]:
    return {"user": "postmark", "password": secrets.token_urlsafe(24)}


def _make_ses() -> dict[str, str]:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return {
        "private_key": _pem(key),
        "certificate": _self_signed(key).public_bytes(serialization.Encoding.PEM).decode(),
        "topic_arn": "arn:aws:sns:us-east-1:123456789012:sandbox-" + secrets.token_hex(4),
    }


def _self_signed(key: rsa.RSAPrivateKey) -> x509.Certificate:
    """Return a certificate for the name that SNS's own carries, signed by its own key."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sns.amazonaws.com")])
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + CERTIFICATE_LIFETIME)
        .sign(key, hashes.SHA256())
    )


def _pem(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()


_MAKERS: Mapping[str, Callable[[], dict[str, str]]] = {
    "sendgrid": _make_sendgrid,
    "mailgun": _make_mailgun,
    "postmark": _make_postmark,
    "ses": _make_ses,
    "smtp": dict,
}
