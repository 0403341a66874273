"""POST a signed JSON body to somebody's address, as Standard Webhooks 1.0.0 says.

Where it may go and how long it may take is `emailplatform.calling`'s business. Redirects are not
followed: who moves an address says so here, and a signed body is not carried on.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
from dataclasses import dataclass
from datetime import datetime

from emailplatform import calling, reaching
from emailplatform.calling import Answer
from emailplatform.errors import InvalidInput

PREFIX = "whsec_"
_KEY_BYTES = range(24, 65)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where to post, and the secret both sides know (`whsec_` and base64)."""

    url: str
    secret: str
    older: tuple[str, ...] = ()
    """Secrets that still sign along, so that the receiver can change over without a gap."""

    def check(self) -> None:
        """Raise InvalidInput unless signed bodies may be posted there, as far as can be seen here.

        The name is not looked up: that is done whenever something is posted.
        """
        reaching.place_of(self.url, reaching.rules())
        for secret in (self.secret, *self.older):
            key_of(secret)


def key_of(secret: str) -> bytes:
    """Return a secret as bytes. Raises InvalidInput for what is none."""
    if not secret.startswith(PREFIX):
        raise InvalidInput(f"The secret must begin with {PREFIX}.", param="secret")
    try:
        key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except binascii.Error:
        key = b""
    if len(key) not in _KEY_BYTES:
        words = f"The secret must be {PREFIX} and 24 to 64 bytes in base64."
        raise InvalidInput(words, param="secret")
    return key


def make_secret() -> str:
    """Return a new secret."""
    return PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def make_id() -> str:
    """Return an id for one body; repeated with every try, so that the receiver can tell."""
    return f"msg_{secrets.token_urlsafe(18)}"


def signed(endpoint: Endpoint, uid: str, body: bytes, now: datetime) -> dict[str, str]:
    """Return the headers that prove the body is ours and fresh: one signature per secret."""
    timestamp = str(int(now.timestamp()))
    content = b".".join((uid.encode(), timestamp.encode(), body))
    digests = [
        hmac.digest(key_of(secret), content, hashlib.sha256)
        for secret in (endpoint.secret, *endpoint.older)
    ]
    return {
        "webhook-id": uid,
        "webhook-timestamp": timestamp,
        "webhook-signature": " ".join(
            f"v1,{base64.b64encode(digest).decode()}" for digest in digests
        ),
    }


def deliver(endpoint: Endpoint, uid: str, body: bytes, now: datetime) -> Answer:
    """Post a body once; return how it went. Only 2xx means that it was taken."""
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "emailplatform",
        **signed(endpoint, uid, body, now),
    }
    return calling.post(endpoint.url, headers, body)


def post(endpoint: Endpoint, uid: str, body: bytes, now: datetime) -> str:
    """Post a body; return "" if it was taken (2xx), else in one sentence why not."""
    return refusal(deliver(endpoint, uid, body, now))


def refusal(answer: Answer) -> str:
    """Return in one sentence why a body was not taken; "" if it was."""
    if 200 <= answer.status < 300:
        return ""
    if 300 <= answer.status < 400:
        return f"It answered {answer.status}: redirects are not followed."
    return answer.error or f"It answered {answer.status}."
