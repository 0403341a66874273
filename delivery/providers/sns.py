"""Amazon SNS messages: prove that one is Amazon's and about our topic, and confirm a subscription.

Source: "Verifying the signatures of Amazon SNS messages" and "ConfirmSubscription", docs of AWS.
"""

import base64
import binascii
import hmac
import logging
import re
import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import boto3
import requests
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from delivery.providers import hearing
from delivery.providers.base import (
    CONNECT_TIMEOUT_S,
    READ_TIMEOUT_S,
    Account,
    Forged,
    Unavailable,
    Unparsable,
    WebhookRequest,
)

logger = logging.getLogger(__name__)

_CONFIRMATION = ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type")
SIGNED_FIELDS: Mapping[str, tuple[str, ...]] = {
    "Notification": ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"),
    "SubscriptionConfirmation": _CONFIRMATION,
    "UnsubscribeConfirmation": _CONFIRMATION,
}
"""What is signed of each type of message, in order. Only Subject may be missing."""

CERTIFICATE_URL = re.compile(
    r"https://sns\.[a-z]{2,5}(?:-[a-z]+)+-[0-9]{1,2}\.amazonaws\.com(?:\.cn)?"
    r"/SimpleNotificationService-[0-9a-f]{32}\.pem"
)
"""The one kind of address a certificate is taken from: SNS's own host, no port, user or query."""

TOPIC_ARN = re.compile(r"arn:aws[a-z-]*:sns:(?P<region>[a-z0-9-]+):[0-9]{12}:[A-Za-z0-9_-]{1,256}")

MAX_CERTIFICATE_BYTES = 20_000
FETCH_WITHIN_S = 8.0
KEEP_CERTIFICATE_S = 24 * 3600
MAX_CERTIFICATES = 32


# --- Verify ------------------------------------------------------------------------------


def read(request: WebhookRequest) -> dict[str, Any]:
    """Return the SNS message of a request. Raises Unparsable."""
    message = hearing.load(request.body)
    if not isinstance(message, dict) or message.get("Type") not in SIGNED_FIELDS:
        raise Unparsable("The body is not an SNS message.")
    return message


def verify(account: Account, request: WebhookRequest) -> None:
    """Raise Forged unless Amazon signed the message for a topic of the account; TooOld if late.

    The topic is looked at first: without it nothing is fetched or computed for a stranger. Raises
    Unavailable if Amazon's certificate cannot be fetched now; answer 503 then, for SNS repeats
    after a 5xx and gives up after a 4xx.
    """
    topics = account["topic_arns"].split()
    if not topics:
        raise Forged("This account has no SNS topics; set the ARNs of those that may report to it.")
    try:
        message = read(request)
    except Unparsable as error:
        raise Forged(str(error)) from None
    if not _is_one_of(message.get("TopicArn"), topics):
        raise Forged(
            "The message is of another SNS topic; add its ARN to the account if it is yours."
        )
    _check_signature(account, message, request.received_at)
    hearing.check_age(account, "ses", _signed_at(message), request.received_at)


def _is_one_of(topic: Any, topics: list[str]) -> bool:
    given = topic.encode("utf-8", "replace") if isinstance(topic, str) else b""
    matches = [hmac.compare_digest(given, one.encode()) for one in topics]
    return any(matches)


def _check_signature(account: Account, message: dict[str, Any], now: datetime) -> None:
    version = hearing.text(message.get("SignatureVersion"))
    algorithms = {"1": hashes.SHA1, "2": hashes.SHA256}
    if version not in algorithms:
        raise Forged("The message has no signature of version 1 or 2.")
    signed, signature = _string_to_sign(message), _signature(message)
    key = _public_key(account, message, now)
    try:
        key.verify(signature, signed, padding.PKCS1v15(), algorithms[version]())
    except InvalidSignature:
        raise Forged("The signature is not that of Amazon SNS.") from None


def _string_to_sign(message: dict[str, Any]) -> bytes:
    lines = []
    for name in SIGNED_FIELDS[message["Type"]]:
        value = message.get(name)
        if isinstance(value, str):
            lines.append(f"{name}\n{value}\n")
        elif name != "Subject":
            raise Forged(f"The message has no {name}.")
    return "".join(lines).encode("utf-8", "replace")


def _signature(message: dict[str, Any]) -> bytes:
    try:
        return base64.b64decode(hearing.text(message.get("Signature"), 2000), validate=True)
    except (binascii.Error, ValueError):
        raise Forged("The signature is not base64.") from None


def _signed_at(message: dict[str, Any]) -> datetime:
    try:
        when = datetime.fromisoformat(message["Timestamp"])
    except ValueError:
        raise Forged("The message's Timestamp is not a time.") from None
    return when if when.tzinfo else when.replace(tzinfo=UTC)


# --- Certificates ------------------------------------------------------------------------


def _public_key(account: Account, message: dict[str, Any], now: datetime) -> rsa.RSAPublicKey:
    """Return the key of the account's pinned certificate, or else of the one the message names."""
    pinned = account["sns_certificate"].strip()
    pem = pinned.encode() if pinned else _certificate(message.get("SigningCertURL"))
    certificate = _read_certificate(pem)
    if not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc:
        raise Forged("The signing certificate is not valid at this time.")
    key = certificate.public_key()
    if not isinstance(key, rsa.RSAPublicKey):
        raise Forged("The signing certificate holds no RSA key.")
    return key


@lru_cache(maxsize=MAX_CERTIFICATES)
def _read_certificate(pem: bytes) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(pem)
    except ValueError:
        raise Forged("The signing certificate cannot be read.") from None


_certificates: dict[str, tuple[bytes, float]] = {}
"""PEM and the monotonic time it was fetched at, by URL."""
_fetching = threading.Lock()


def forget_certificates() -> None:
    """Empty the cache of fetched certificates."""
    _certificates.clear()


def _certificate(url: Any) -> bytes:
    """Return the PEM at an SNS certificate URL, fetched at most once a day, one at a time."""
    if not isinstance(url, str) or not CERTIFICATE_URL.fullmatch(url):
        raise Forged("SigningCertURL is not an address of Amazon SNS certificates.")
    if (pem := _cached(url)) is not None:
        return pem
    if not _fetching.acquire(timeout=FETCH_WITHIN_S):
        raise Unavailable("Another SNS certificate is being fetched; try again.")
    try:
        if (pem := _cached(url)) is None:
            pem = fetch_certificate(url)
            _read_certificate(pem)
            if len(_certificates) >= MAX_CERTIFICATES:
                _certificates.clear()
            _certificates[url] = (pem, time.monotonic())
        return pem
    finally:
        _fetching.release()


def _cached(url: str) -> bytes | None:
    pem, fetched_at = _certificates.get(url, (None, 0.0))
    return pem if time.monotonic() - fetched_at < KEEP_CERTIFICATE_S else None


def fetch_certificate(url: str) -> bytes:
    """Return the bytes at `url`, which the caller has matched against CERTIFICATE_URL.

    No redirects, no proxy or netrc of the environment, at most 20 kB and about 8 s. Raises Forged
    for a URL that holds none (4xx), Unavailable for anything that may pass.
    """
    stop_at = time.monotonic() + FETCH_WITHIN_S
    try:
        with requests.Session() as session:
            session.trust_env = False
            with session.get(
                url, timeout=(CONNECT_TIMEOUT_S, 5), allow_redirects=False, stream=True
            ) as response:
                return _read_limited(response, stop_at)
    except requests.RequestException as error:
        raise Unavailable(
            f"Amazon's SNS certificate could not be fetched ({type(error).__name__})."
        ) from None


def _read_limited(response: requests.Response, stop_at: float) -> bytes:
    if 300 <= response.status_code < 500 and response.status_code != 429:
        raise Forged(f"There is no certificate at SigningCertURL (HTTP {response.status_code}).")
    if response.status_code != 200:
        raise Unavailable(f"Amazon's SNS certificates answer HTTP {response.status_code}.")
    body = b""
    for chunk in response.iter_content(4096):
        body += chunk
        if len(body) > MAX_CERTIFICATE_BYTES:
            raise Forged("What is at SigningCertURL is too large for a certificate.")
        if time.monotonic() > stop_at:
            raise Unavailable("Amazon's SNS certificate came too slowly.")
    return body


# --- Subscriptions -----------------------------------------------------------------------


def confirm(account: Account, request: WebhookRequest) -> bool:
    """Answer a verified subscription message; True if it was one (also the end of one).

    SubscribeURL is never opened: ConfirmSubscription is called in the topic's own region (or at
    the account's own SNS), and so that only the topic's owner can unsubscribe us again.
    Raises Unavailable if Amazon does not take it; answer 503, SNS repeats its request.
    """
    message = read(request)
    if message["Type"] == "UnsubscribeConfirmation":
        logger.warning("An SNS topic has ended its subscription; no events will come from it.")
        return True
    if message["Type"] != "SubscriptionConfirmation":
        return False
    topic = TOPIC_ARN.fullmatch(message["TopicArn"])
    if topic is None or topic["region"] not in _regions():
        raise Forged("The message's TopicArn is not one of an AWS region.")
    _call_confirm(account, topic["region"], message)
    return True


@lru_cache(maxsize=1)
def _regions() -> frozenset[str]:
    """Return the regions the AWS SDK knows: a region becomes a host name, so it is looked up."""
    session = boto3.session.Session(region_name="us-east-1")
    partitions = session.get_available_partitions()
    return frozenset(r for p in partitions for r in session.get_available_regions("sns", p))


def _call_confirm(account: Account, region: str, message: dict[str, Any]) -> None:
    """Call ConfirmSubscription once. Its answer, the subscription's ARN, is of no use to us."""
    client = boto3.session.Session(
        aws_access_key_id=account["access_key_id"] or None,
        aws_secret_access_key=account["secret_access_key"] or None,
        region_name=region,
    ).client("sns", endpoint_url=_endpoint(account), config=_CONFIG)
    try:
        client.confirm_subscription(
            TopicArn=message["TopicArn"],
            Token=message["Token"],
            AuthenticateOnUnsubscribe="true",
        )
    except ClientError as error:
        code = hearing.text(error.response.get("Error", {}).get("Code"))
        raise Unavailable(
            f"Amazon SNS refused to confirm the subscription ({code}); "
            "check that the account's key may call sns:ConfirmSubscription."
        ) from None
    except BotoCoreError as error:
        raise Unavailable(
            f"Amazon SNS could not be reached to confirm ({type(error).__name__})."
        ) from None
    finally:
        client.close()


def _endpoint(account: Account) -> str | None:
    """Return where the SNS of the account is; None is AWS.

    `endpoint_url` is also set for a VPC endpoint of SES, which is not SNS: only an account with
    its own SNS certificate has its own SNS.
    """
    return account["endpoint_url"] or None if account["sns_certificate"].strip() else None


_CONFIG = Config(
    connect_timeout=CONNECT_TIMEOUT_S,
    read_timeout=READ_TIMEOUT_S,
    retries={"total_max_attempts": 1},
)
