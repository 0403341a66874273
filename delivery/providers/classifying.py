"""What went wrong in a call to an HTTP provider, as one of three verdicts.

| failure | verdict |
|---|---|
| connection refused, DNS, connect time-out, TLS handshake or certificate | Unavailable |
| no credentials, wrong region or address of the API, a redirect | Unavailable, account's fault |
| 401 402 403 404 405 407 | Unavailable, account's fault |
| the From address refused: 400 403 422, SES's unverified identity | Unavailable, sender's fault |
| 429, SES throttling, Postmark's code 429 | Unavailable, a throttle, with Retry-After |
| 408 425 503, Postmark's maintenance | Unavailable, with Retry-After |
| 400 413 422 and any other 4xx | Rejected (of a whole batch: the caller bisects); `blaming` |
| 500 502 504 and any other 5xx | OutcomeUnknown |
| read time-out, reset or end of connection after sending | OutcomeUnknown |
| 2xx that is cut off or cannot be read | OutcomeUnknown |
| refused before sending: address, header, value | Rejected |
| anything else | OutcomeUnknown |

500 is not loosened for anybody: SendGrid's and Postmark's pages promise nothing about it, and
users of Mailgun report 5xx answers to mails that were delivered. 503 is documented as "not
available" by SendGrid, SES and Postmark, and is what their proxies say before they pass a call on.

An exception of a client library holds the request with its credentials. So nothing of it leaves
here: the verdict carries a sentence built from the status and the provider's own error text.
"""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

import requests
import urllib3.exceptions as u3
from anymail import exceptions as ax
from botocore import exceptions as bx

from delivery.providers import wording
from delivery.providers.base import Fault, OutcomeUnknown, ProviderError, Rejected, Unavailable
from delivery.providers.blaming import fault_of_answer

MAX_RETRY_AFTER = timedelta(hours=24)

_ACCOUNT_STATUS = frozenset({401, 402, 403, 404, 405, 407})
_WAIT_STATUS = frozenset({408, 425, 429, 503})
_TOO_FAST = 429
"""A status, and a code of Postmark's."""

_NOT_CONNECTED = (
    requests.ConnectTimeout,
    u3.NewConnectionError,
    u3.ConnectTimeoutError,
    bx.EndpointConnectionError,
    bx.ConnectTimeoutError,
    bx.ProxyConnectionError,
    ConnectionRefusedError,
    socket.gaierror,
    ssl.SSLCertVerificationError,
)
_MISCONFIGURED = (
    ax.AnymailConfigurationError,
    requests.exceptions.InvalidURL,
    requests.exceptions.MissingSchema,
    requests.exceptions.InvalidSchema,
    requests.exceptions.InvalidHeader,
    requests.TooManyRedirects,
    bx.NoCredentialsError,
    bx.PartialCredentialsError,
    bx.CredentialRetrievalError,
    bx.NoRegionError,
    bx.InvalidRegionError,
    bx.UnknownEndpointError,
    u3.LocationValueError,
)
_HANDSHAKE = re.compile(
    r"HANDSHAKE|WRONG_VERSION|UNSUPPORTED_PROTOCOL|PROTOCOL_VERSION|UNKNOWN_CA|HTTP_REQUEST|CIPHER"
)
"""Reasons of an ssl.SSLError that only a handshake can have; others may come after sending."""

SES_TOO_FAST = frozenset(
    {
        *("TooManyRequestsException", "ThrottlingException", "Throttling", "RequestLimitExceeded"),
        "SlowDown",
    }
)
SES_WAIT = SES_TOO_FAST | {"ServiceUnavailable", "ServiceUnavailableException"}
SES_ACCOUNT = frozenset(
    {
        *("LimitExceededException", "AccountSuspendedException", "SendingPausedException"),
        *("MessageRejected", "AccessDenied"),
        *("AccessDeniedException", "InvalidClientTokenId", "UnrecognizedClientException"),
        *("SignatureDoesNotMatch", "InvalidSignatureException", "ExpiredTokenException"),
        *("ExpiredToken", "IncompleteSignature", "MissingAuthenticationToken", "OptInRequired"),
        *("RequestExpired", "NotFoundException"),
    }
)
"""MessageRejected also says that an identity is not verified; that is asked first."""
SES_SENDER = frozenset({"MailFromDomainNotVerifiedException"})

POSTMARK_ACCOUNT = frozenset({10, 405, 412, 413, 1221, 1226, 1235})
POSTMARK_SENDER = frozenset({400, 401})
"""No sender signature for the From address, or one that is not confirmed."""
POSTMARK_WAIT = frozenset({100, 429})


def classify(error: BaseException, *, was_posted: bool) -> ProviderError:
    """Return the verdict on an exception that a call raised. Total: it never raises.

    `was_posted`: the request may have left; errors in our own code no longer prove that it did not.
    """
    chain = list(_chain(error))
    answered = _classify_answer(error, chain)
    if answered:
        return answered
    if isinstance(error, (ax.AnymailInvalidAddress, ax.AnymailRecipientsRefused)):
        return Rejected("The address is not valid.", kind=Fault.ADDRESS)
    fault = _first(chain, _MISCONFIGURED)
    if fault:
        return _misconfigured(fault)
    if _first(chain, _NOT_CONNECTED) or any(map(_is_handshake, chain)):
        return Unavailable(f"No connection to the provider: {wording.network(chain)}.")
    if isinstance(error, (ax.AnymailUnsupportedFeature, ax.AnymailSerializationError)):
        return Rejected("The provider's API cannot carry this message.", kind=Fault.CONTENT)
    if _first(chain, (bx.ParamValidationError,)):
        words = "The provider's API does not take a value of this message."
        return Rejected(words, kind=Fault.CONTENT)
    if not was_posted:
        return Rejected(f"The message could not be built ({type(error).__name__}).")
    return OutcomeUnknown(f"No answer after sending: {wording.network(chain)}.")


def refusal(status: int, body: Any, headers: Mapping[str, str]) -> ProviderError:
    """Return the verdict on an answer with an error status.

    `body` is the decoded JSON of the answer, or its text.
    """
    said = wording.explain(body)
    reason = _sentence(status, said)
    code = body.get("ErrorCode") if isinstance(body, dict) else None
    if status in _WAIT_STATUS or code in POSTMARK_WAIT:
        is_throttle = _TOO_FAST in (status, code)
        return Unavailable(reason, retry_after=retry_after(headers), is_throttle=is_throttle)
    if code in POSTMARK_SENDER or _blames_sender(body):
        return Unavailable(reason, is_sender_fault=True)
    if status in _ACCOUNT_STATUS or code in POSTMARK_ACCOUNT:
        return Unavailable(reason, is_account_fault=True)
    if 400 <= status < 500:
        return Rejected(reason, kind=fault_of_answer(status, said))
    if 300 <= status < 400:
        return Unavailable(f"{reason} The address of the API is wrong.", is_account_fault=True)
    return OutcomeUnknown(reason)


def retry_after(headers: Mapping[str, str]) -> timedelta | None:
    """Return how long the provider asks to wait: seconds, a date, or SendGrid's time of reset."""
    now = datetime.now(UTC)
    wish = headers.get("Retry-After", "").strip()
    reset = headers.get("X-RateLimit-Reset", "").strip()
    try:
        if wish.isdecimal():
            wait = timedelta(seconds=int(wish))
        elif wish:
            wait = parsedate_to_datetime(wish) - now
        elif reset.isdecimal():
            wait = datetime.fromtimestamp(int(reset), UTC) - now
        else:
            return None
    except (ValueError, TypeError, OverflowError, OSError):
        return None
    return min(max(wait, timedelta(0)), MAX_RETRY_AFTER)


# --- Inside ----------------------------------------------------------------------------


def _classify_answer(error: BaseException, chain: list[BaseException]) -> ProviderError | None:
    """Return the verdict if the provider answered; None if no answer came."""
    client_error = _first(chain, (bx.ClientError,))
    if isinstance(client_error, bx.ClientError):
        return _classify_ses(client_error.response)
    response = getattr(error, "response", None)
    if not isinstance(response, requests.Response):
        return None
    if 200 <= response.status_code < 300:
        return OutcomeUnknown("The provider accepted the call, but its answer cannot be read.")
    return refusal(response.status_code, read_body(response), response.headers)


def read_body(response: requests.Response) -> Any:
    """Return the JSON of an answer, or its text."""
    try:
        return response.json()
    except ValueError:
        return response.text


def _classify_ses(response: Mapping[str, Any]) -> ProviderError:
    fault = response.get("Error", {})
    about = response.get("ResponseMetadata", {})
    status = about.get("HTTPStatusCode", 0)
    code, text = str(fault.get("Code", "")), str(fault.get("Message", ""))
    headers = {"Retry-After": str(about.get("HTTPHeaders", {}).get("retry-after", ""))}
    if code in SES_WAIT:
        wait, is_throttle = retry_after(headers), code in SES_TOO_FAST
        words = _sentence(status, f"{code}: {text}")
        return Unavailable(words, retry_after=wait, is_throttle=is_throttle)
    if code in SES_SENDER or is_unverified(text):
        return Unavailable(_sentence(status, f"{code}: {text}"), is_sender_fault=True)
    if code in SES_ACCOUNT:
        return Unavailable(_sentence(status, f"{code}: {text}"), is_account_fault=True)
    return refusal(status, {"message": f"{code}: {text}"}, headers)


def is_unverified(text: str) -> bool:
    """Say whether SES refuses the From address: it has not been verified.

    In SES's own sandbox recipients must be verified as well: the words are the same, and so is
    what to do.
    """
    return "not verified" in text


def _blames_sender(body: Any) -> bool:
    """Whether an answer is about the From address, not about a recipient or the content."""
    if not isinstance(body, dict):
        return False
    errors = body.get("errors")
    if isinstance(errors, list):
        fields = [str(one.get("field")) for one in errors if isinstance(one, dict)]
        return bool(fields) and all(field.split(".")[0] == "from" for field in fields)
    text = str(body.get("Message") or body.get("message") or "")
    return bool(re.match(r"('from' parameter|(Invalid|Error parsing) 'From')", text, re.IGNORECASE))


def _sentence(status: int, said: str) -> str:
    return wording.clip(f"The provider answered {status}" + (f": {said}" if said else "."))


def _misconfigured(fault: BaseException) -> Unavailable:
    words = wording.configuration(fault)
    return Unavailable(f"The account cannot be used: {words}.", is_account_fault=True)


def _is_handshake(error: BaseException) -> bool:
    reason = getattr(error, "reason", None)
    return isinstance(error, ssl.SSLError) and bool(_HANDSHAKE.search(str(reason or "").upper()))


def _first(
    chain: list[BaseException], kinds: tuple[type[BaseException], ...]
) -> BaseException | None:
    return next((error for error in chain if isinstance(error, kinds)), None)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an exception and those inside it: causes, contexts, and arguments that are errors.

    requests and urllib3 wrap the error that says what happened in an argument or a `reason`.
    """
    waiting, seen = [error], set[int]()
    while waiting and len(seen) < 20:
        one = waiting.pop(0)
        if id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        inner = (*one.args, getattr(one, "reason", None), one.__cause__, one.__context__)
        waiting += [other for other in inner if isinstance(other, BaseException)]
