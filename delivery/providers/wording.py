"""Why a call failed, in words fit to be stored and shown: short, plain, without secrets.

Texts of exceptions are never used: they hold URLs and, further in, whole requests.
"""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import requests
import urllib3.exceptions as u3
from botocore import exceptions as bx

MAX_REASON = 300


def clip(text: str) -> str:
    """Return a reason fit to be stored: one line, short, no local part of any address.

    >>> clip("refused: ana.lee@example.com")
    'refused: …@example.com'
    """
    line = " ".join("".join(c if c.isprintable() else " " for c in text[:2000]).split())
    line = re.sub(r"[^\s<>\"'=:;,()]+@(?=[\w.-])", "…@", line)
    return line if len(line) <= MAX_REASON else line[: MAX_REASON - 1] + "…"


def explain(body: Any) -> str:
    """Return what the provider says in an error's body: SendGrid's, Mailgun's, Postmark's, SES's.

    >>> explain({"errors": [{"message": "Bad name.", "field": "from.name"}]})
    'from.name: Bad name.'
    >>> explain({"ErrorCode": 405, "Message": "Out of credits."})
    'Out of credits. (405)'
    """
    if not isinstance(body, dict):
        return ""
    errors = body.get("errors")
    if isinstance(errors, list):
        return "; ".join(_sendgrid_error(one) for one in errors[:3] if isinstance(one, dict))
    message = body.get("Message") or body.get("message") or body.get("error") or ""
    code = body.get("ErrorCode")
    return f"{message} ({code})" if code else str(message)


def _sendgrid_error(error: Mapping[str, Any]) -> str:
    field, message = error.get("field"), error.get("message")
    return f"{field}: {message}" if field else str(message)


def configuration(fault: BaseException) -> str:
    """Return what is wrong with an account's settings."""
    return _CONFIGURATION_WORDS.get(type(fault).__name__, "its settings are not complete")


_CONFIGURATION_WORDS: Mapping[str, str] = MappingProxyType(
    {
        "InvalidURL": "the address of the API is not valid",
        "MissingSchema": "the address of the API is not valid",
        "InvalidSchema": "the address of the API is not valid",
        "InvalidHeader": "the key contains a character that no key has",
        "TooManyRedirects": "the address of the API leads elsewhere (a redirect)",
        "NoCredentialsError": "it has no access key, and this machine has no role of its own",
        "PartialCredentialsError": "of access key and secret one is missing",
        "NoRegionError": "it has no region",
        "InvalidRegionError": "its region is not a region",
    }
)


def network(chain: Sequence[BaseException]) -> str:
    """Return what happened on the network in our own words; texts of exceptions hold URLs."""
    for kinds, words in _NETWORK_WORDS:
        if any(isinstance(error, kinds) for error in chain):
            return words
    return f"the connection failed ({type(chain[0]).__name__})"


_NETWORK_WORDS: tuple[tuple[tuple[type[BaseException], ...], str], ...] = (
    ((u3.NameResolutionError, socket.gaierror), "its name was not found (DNS)"),
    ((ConnectionRefusedError,), "connection refused"),
    (
        (requests.ConnectTimeout, u3.ConnectTimeoutError, bx.ConnectTimeoutError),
        "time-out while connecting",
    ),
    ((ssl.SSLCertVerificationError,), "its certificate is not valid"),
    ((ssl.SSLError, u3.SSLError), "TLS failed"),
    (
        (requests.ReadTimeout, u3.ReadTimeoutError, bx.ReadTimeoutError, TimeoutError),
        "time-out while waiting for the answer",
    ),
    (
        (
            ConnectionError,
            u3.ProtocolError,
            requests.exceptions.ChunkedEncodingError,
            bx.ConnectionClosedError,
        ),
        "the connection was closed",
    ),
)
