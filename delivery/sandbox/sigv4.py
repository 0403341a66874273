"""Verify AWS Signature Version 4, as the documentation "Signing AWS API requests" lays it down."""

import hashlib
import hmac
import re
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qsl, quote

from delivery.sandbox.calls import Incoming

MAX_SKEW = timedelta(minutes=5)
"""AWS refuses a request signed longer ago, or further ahead ("General reference: Time")."""

_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=([^/\s]+)/(\d{8})/([^/\s]+)/([^/\s]+)/aws4_request,\s*"
    r"SignedHeaders=([a-z0-9;-]+),\s*Signature=([0-9a-f]{64})"
)


class Unsigned(Exception):
    """The request carries no signature that can be read."""


class BadSignature(Exception):
    """The signature is not that of the secret, or out of date. `str()` is AWS's sentence."""


def access_key_id(incoming: Incoming) -> str:
    """Return the access key that the request claims to be signed with. Raises Unsigned."""
    return _read(incoming)[0]


def verify(incoming: Incoming, secret: str, service: str = "ses") -> None:
    """Raise BadSignature unless the request is signed with the secret for this service."""
    _, day, region, claimed_service, signed, signature = _read(incoming)
    stamp = incoming.headers.get("x-amz-date", "")
    _check_age(stamp)
    scope = f"{day}/{region}/{claimed_service}/aws4_request"
    canonical = hashlib.sha256(_canonical(incoming, signed).encode()).hexdigest()
    text = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{canonical}"
    key = f"AWS4{secret}".encode()
    for part in (day, region, claimed_service, "aws4_request"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    expected = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
    if not hmac.compare_digest(expected, signature) or claimed_service != service:
        raise BadSignature(
            "The request signature we calculated does not match the signature you provided. Check"
            " your AWS Secret Access Key and signing method. Consult the service documentation for"
            " details."
        )


def _read(incoming: Incoming) -> tuple[str, ...]:
    """Return access key, day, region, service, signed headers and signature."""
    match = _AUTHORIZATION.fullmatch(incoming.headers.get("authorization", ""))
    if not match:
        raise Unsigned
    return match.groups()


def _check_age(stamp: str) -> None:
    try:
        signed_at = datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError as error:
        raise BadSignature("The request has no readable X-Amz-Date.") from error
    now = datetime.now(UTC)
    if abs(now - signed_at) > MAX_SKEW:
        limit = (now - MAX_SKEW).strftime("%Y%m%dT%H%M%SZ")
        raise BadSignature(f"Signature expired: {stamp} is now earlier than {limit}.")


def _canonical(incoming: Incoming, signed: str) -> str:
    """Return the canonical request: what both sides hash."""
    headers = "".join(
        f"{name}:{' '.join(incoming.headers.get(name, '').split())}\n" for name in signed.split(";")
    )
    query = "&".join(
        f"{quote(name, safe='-_.~')}={quote(value, safe='-_.~')}"
        for name, value in sorted(parse_qsl(incoming.query, keep_blank_values=True))
    )
    payload = hashlib.sha256(incoming.body).hexdigest()
    path = quote(incoming.path, safe="/-_.~")
    return f"{incoming.method}\n{path}\n{query}\n{headers}\n{signed}\n{payload}"
