"""POST a signed JSON body to somebody's address, as Standard Webhooks 1.0.0 says.

Redirects are not followed: who moves an address says so here, and a signed body is not carried on.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import urlsplit

import requests

from emailplatform.errors import InvalidInput

PREFIX = "whsec_"
CONNECT_S = 3.05
ANSWER_S = 15
"""How long the other side may be silent."""
_KEY_BYTES = range(24, 65)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where to post, and the secret both sides know (`whsec_` and base64)."""

    url: str
    secret: str

    def key(self) -> bytes:
        """Return the secret as bytes. Raises InvalidInput for what is none."""
        if not self.secret.startswith(PREFIX):
            raise InvalidInput(f"The secret must begin with {PREFIX}.", param="secret")
        try:
            key = base64.b64decode(self.secret.removeprefix(PREFIX), validate=True)
        except binascii.Error:
            key = b""
        if len(key) not in _KEY_BYTES:
            words = f"The secret must be {PREFIX} and 24 to 64 bytes in base64."
            raise InvalidInput(words, param="secret")
        return key

    def check(self, *, is_http_allowed: bool) -> None:
        """Raise InvalidInput unless signed bodies may be posted there."""
        parts = urlsplit(self.url)
        schemes = {"https", "http"} if is_http_allowed else {"https"}
        if parts.scheme not in schemes or not parts.hostname:
            raise InvalidInput("The address must begin with https://.", param="url")
        if parts.username or parts.password:
            raise InvalidInput("The address must not carry a password.", param="url")
        self.key()


def make_secret() -> str:
    """Return a new secret."""
    return PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def make_id() -> str:
    """Return an id for one body; repeated with every try, so that the receiver can tell."""
    return f"msg_{secrets.token_urlsafe(18)}"


def signed(endpoint: Endpoint, uid: str, body: bytes, now: datetime) -> dict[str, str]:
    """Return the headers that prove the body is ours and fresh."""
    timestamp = str(int(now.timestamp()))
    content = b".".join((uid.encode(), timestamp.encode(), body))
    digest = hmac.new(endpoint.key(), content, hashlib.sha256).digest()
    return {
        "webhook-id": uid,
        "webhook-timestamp": timestamp,
        "webhook-signature": f"v1,{base64.b64encode(digest).decode()}",
    }


def post(endpoint: Endpoint, uid: str, body: bytes, now: datetime) -> str:
    """Post a body; return "" if it was taken (2xx), else in one sentence why not."""
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "emailplatform",
        **signed(endpoint, uid, body, now),
    }
    try:
        # Streamed: what is answered beyond the status is nobody's business, and may be endless.
        with requests.post(
            endpoint.url,
            data=body,
            headers=headers,
            timeout=(CONNECT_S, ANSWER_S),
            allow_redirects=False,
            stream=True,
        ) as answer:
            return "" if answer.ok and not answer.is_redirect else _refusal(answer)
    except requests.Timeout:
        return f"No answer within {ANSWER_S} s."
    except requests.RequestException as error:
        return f"Not reached: {type(error).__name__}."


def _refusal(answer: requests.Response) -> str:
    if 300 <= answer.status_code < 400:
        return f"It answered {answer.status_code}: redirects are not followed."
    return f"It answered {answer.status_code}."
