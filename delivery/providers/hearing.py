"""What all providers' webhooks share: safe reading of JSON, replay windows, dedupe keys.

A webhook body is input from outside, signed or not. What is read here can be stored: no NUL, no
lone surrogate, no NaN, no endless nesting reaches PostgreSQL, and no text is longer than its limit.
"""

import hashlib
import json
import math
import re
import socket
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from ipaddress import ip_address
from typing import Any

from django.conf import settings

from delivery.providers.base import Account, Event, EventType, Forged, Heard, TooOld, Unparsable

SHORTEST_SECRET = 16
"""Of a secret that we sign with ourselves (generic_events)."""

LONGEST_WINDOW = timedelta(days=7)

ALWAYS_HEARD = frozenset(
    {
        *(EventType.BOUNCED, EventType.DROPPED, EventType.COMPLAINED),
        *(EventType.SPAM_REPORT, EventType.UNSUBSCRIBED),
    }
)
"""What may end a person's mail: an account cannot be told to ignore it."""

CLOCK_SKEW = timedelta(minutes=5)
"""How far the provider's clock may be ahead of ours."""

MAX_PROBLEMS = 20
"""How many problems of one request are told apart; a broken batch of 1,000 says the same thing."""

MAX_REASON = 500
MAX_URL = 2000
MAX_NAME = 320
MAX_USER_AGENT = 500
MAX_COMPLAINT_TYPE = 20
MAX_NESTING = 32


# --- JSON --------------------------------------------------------------------------------


def load(body: bytes | str) -> Any:
    """Return the JSON value of a body, fit to be stored. Raises Unparsable."""
    try:
        text = body if isinstance(body, str) else body.decode("utf-8-sig")
        value = _JSON.decode(text)
    except RecursionError:
        raise Unparsable("The body is JSON nested without end.") from None
    except ValueError as error:
        raise Unparsable(f"The body is not JSON: {str(error)[:200]}.") from None
    if _nests_deeper(value, MAX_NESTING):
        raise Unparsable(f"The body is JSON nested more than {MAX_NESTING} levels deep.")
    return _storable(value) if _UNSTORABLE.search(text) else value


_UNSTORABLE = re.compile(r"\\u(?:0000|[dD][89a-fA-F])|[\ud800-\udfff]")
"""What may decode to text PostgreSQL refuses. Surrogates in pairs are fine: told apart later."""


def _finite(number: str) -> float | None:
    """Return the number, or None for one that JSON cannot carry on (1e999)."""
    value = float(number)
    return value if math.isfinite(value) else None


def _no_number(_name: str) -> None:
    """Return None for NaN and Infinity, which Python reads and PostgreSQL does not."""


_JSON = json.JSONDecoder(parse_float=_finite, parse_constant=_no_number)
"""Made once: `json.loads` with words of its own makes one for each call."""


def _nests_deeper(value: Any, levels: int) -> bool:
    children = value.values() if type(value) is dict else value if type(value) is list else ()
    for child in children:
        kind = type(child)
        if (kind is dict or kind is list) and (levels == 1 or _nests_deeper(child, levels - 1)):
            return True
    return False


def _storable(value: Any) -> Any:
    """Return the value without NUL and lone surrogates in its texts and keys."""
    if isinstance(value, str):
        return value.replace("\0", "").encode("utf-8", "replace").decode()
    if isinstance(value, list):
        return [_storable(item) for item in value]
    if isinstance(value, dict):
        return {_storable(key): _storable(item) for key, item in value.items()}
    return value


def mapping(value: Any) -> Mapping[str, Any]:
    """Return the value if it is a JSON object, else an empty one (Mailgun sends [] for none)."""
    return value if isinstance(value, dict) else {}


def items(value: Any) -> list[Any]:
    """Return the value if it is a JSON array, else an empty one."""
    return value if isinstance(value, list) else []


def text(value: Any, limit: int = MAX_NAME) -> str:
    """Return a JSON text or number as a clipped text; anything else is empty."""
    if type(value) is str:
        return (value if len(value) <= limit else value[:limit]).strip()
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)[:limit]
    return ""


# --- Values of an event ------------------------------------------------------------------


_ADDR_SPEC = re.compile(r"<([^<>\s]+)>\s*\Z")


def address(value: Any) -> str:
    """Return an e-mail address as given; of 'Name <address>' only the address."""
    given = text(value, 2 * MAX_NAME)
    named = _ADDR_SPEC.search(given) if "<" in given else None
    return (named[1] if named else given)[:MAX_NAME]


@lru_cache(maxsize=4096)
def _ip(given: str) -> str:
    try:
        return socket.inet_ntop(socket.AF_INET, socket.inet_pton(socket.AF_INET, given))
    except (OSError, ValueError):  # No IPv4: that was the quick way for the most of them.
        pass
    try:
        return "" if "%" in given else str(ip_address(given))
    except ValueError:
        return ""


def ip(value: Any) -> str:
    """Return an IP address, or '' if the value is none. A scope (fe80::1%eth0) is not stored."""
    return _ip(value) if isinstance(value, str) else ""


def country(value: Any) -> str:
    """Return an ISO code of two letters, or ''."""
    given = text(value, 3).upper()
    return given if len(given) == 2 and given.isalpha() and given.isascii() else ""


def moment(value: Any, received_at: datetime) -> datetime:
    """Return the aware time of an event given as epoch seconds or ISO 8601.

    `received_at` stands in for a time that is missing, unreadable, in the future or before 2000:
    that somebody complained matters more than when.
    """
    try:
        when = _read_moment(value)
    except (ValueError, OverflowError, OSError):
        return received_at
    return when if EARLIEST <= when <= received_at + timedelta(days=1) else received_at


EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
_FRACTION = re.compile(r"(?<=\.\d{6})\d+")


def _read_moment(value: Any) -> datetime:
    if type(value) is int:
        return datetime.fromtimestamp(value, tz=UTC)
    if isinstance(value, str) and "T" in value:
        # Postmark gives seven digits of a second; Python 3.11 reads six.
        when = datetime.fromisoformat(_FRACTION.sub("", value))
        return (when if when.tzinfo else when.replace(tzinfo=UTC)).astimezone(UTC)
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError("not a time")
    return datetime.fromtimestamp(float(value), tz=UTC)


def fingerprint(*parts: object) -> str:
    """Return a dedupe key of what makes an event the same event: 64 hexadecimal digits.

    Hashed, so that no address is left in a key when a person is erased.
    """
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


# --- Requests ----------------------------------------------------------------------------


def check_age(account: Account, kind: str, signed_at: datetime, received_at: datetime) -> None:
    """Raise TooOld unless a validly signed request is inside the window of its provider."""
    age = received_at - signed_at
    if age > window_of(account, kind):
        raise TooOld(f"The signature is valid but {age.total_seconds():.0f} seconds old.")
    if age < -CLOCK_SKEW:
        raise TooOld("The signature is valid but from the future; check this machine's clock.")


def windows() -> Mapping[str, int]:
    """Return the windows of the settings, in minutes, by what an address calls the provider."""
    known: Mapping[str, int] = settings.WEBHOOK_WINDOWS
    return known


def window_of(account: Account, kind: str) -> timedelta:
    """Return how old a signed request may be: the account's own minutes, or the setting."""
    own = account["webhook_window_min"]
    minutes = int(own) if own.isdecimal() and own.isascii() else windows()[kind]
    return min(timedelta(minutes=int(minutes)), LONGEST_WINDOW)


def types_of(account: Account) -> frozenset[str]:
    """Return the types of event that an account is listened to about."""
    named = account["webhook_types"].replace(",", " ").lower().split()
    return frozenset(named) | ALWAYS_HEARD if named else frozenset(EventType)


def problems_of(values: Mapping[str, str]) -> dict[str, str]:
    """Return what is wrong with an account's settings of hearing, by name."""
    problems = {}
    minutes = values.get("webhook_window_min", "")
    most = LONGEST_WINDOW // timedelta(minutes=1)
    if minutes and not (minutes.isascii() and minutes.isdecimal() and 0 < int(minutes) <= most):
        problems["webhook_window_min"] = f"Give minutes, 1 to {most}, or leave it empty."
    named = values.get("webhook_types", "").replace(",", " ").lower().split()
    if unknown := sorted(set(named) - set(EventType)):
        known = ", ".join(EventType)
        problems["webhook_types"] = f"There is no event “{unknown[0]}”. There are: {known}."
    if any(len(each) < SHORTEST_SECRET for each in values.get("webhook_secrets", "").split()):
        problems["webhook_secrets"] = f"A secret needs {SHORTEST_SECRET} characters or more."
    return problems


def epoch(given: str) -> datetime:
    """Return the time of a signed timestamp: exactly ten digits. Raises Forged.

    Exactly ten, since Mailgun signs timestamp and token without anything between them: with the
    length fixed, nobody can move a digit across and call it another token.
    """
    if not re.fullmatch(r"[0-9]{10}", given):
        raise Forged("The timestamp is not a number of seconds.")
    return datetime.fromtimestamp(int(given), tz=UTC)


def collect(heard: Iterator[Event | str]) -> Heard:
    """Return events and problems of a stream of both; equal problems once, with their count."""
    events: list[Event] = []
    problems: dict[str, int] = {}
    for one in heard:
        if isinstance(one, Event):
            events.append(one)
        elif one in problems or len(problems) < MAX_PROBLEMS:
            problems[one] = problems.get(one, 0) + 1
    return events, [f"{p} ({n} times)" if n > 1 else p for p, n in problems.items()]


def only_events(heard: Heard) -> list[Event]:
    """Return the events, ignoring problems beside them. Raises Unparsable if only problems are."""
    events, problems = heard
    if problems and not events:
        raise Unparsable("; ".join(problems)[:MAX_REASON])
    return events
