"""Settings from the environment: typed, loud at start, secrets also from files.

`NAME_FILE=/run/secrets/name` stands in for `NAME` everywhere.
"""

from __future__ import annotations

import math
import os
import re
from dataclasses import dataclass, field
from datetime import timedelta
from ipaddress import ip_address, ip_network
from pathlib import Path
from urllib.parse import unquote, urlsplit

from django.core.exceptions import ImproperlyConfigured

_TRUE = {"1", "true", "yes", "on"}
_FALSE = {"0", "false", "no", "off", ""}


def text(name: str, default: str | None = None) -> str:
    """Return the variable, or what the file in NAME_FILE holds. Without default it is required."""
    path = os.environ.get(f"{name}_FILE")
    if path:
        return Path(path).read_text(encoding="utf-8").strip()
    value = os.environ.get(name, default)
    if value is None:
        raise ImproperlyConfigured(f"Set {name} (or {name}_FILE) in the environment.")
    return value


def flag(name: str, *, default: bool) -> bool:
    """Return the variable as a bool: 1/true/yes/on or 0/false/no/off."""
    value = text(name, str(default)).lower()
    if value not in _TRUE | _FALSE:
        raise ImproperlyConfigured(f"{name} is {value!r}; use true or false.")
    return value in _TRUE


def choice(name: str, *choices: str) -> str:
    """Return the variable, which is one of `choices`; the first where it is not set."""
    value = text(name, choices[0])
    if value not in choices:
        raise ImproperlyConfigured(f"{name} is {value!r}; write one of {', '.join(choices)}.")
    return value


def whole(name: str, default: int) -> int:
    """Return the variable as a whole number."""
    value = text(name, str(default))
    try:
        return int(value)
    except ValueError as error:
        raise ImproperlyConfigured(f"{name} is {value!r}; use a whole number.") from error


def rising(name: str, default: str, of: int) -> list[int]:
    """Return the variable if it is `of` whole numbers from 1 up, each more than the one before."""
    given = words(name, default)
    numbers = [int(each) for each in given if each.isdecimal()]
    if len(numbers) != of or len(given) != of or numbers[0] < 1 or numbers != sorted(set(numbers)):
        raise ImproperlyConfigured(
            f"{name} is {' '.join(given)!r}; write {of} rising numbers, such as {default}."
        )
    return numbers


def seconds(name: str, default: float) -> float:
    """Return the variable as a number of seconds above zero."""
    value = text(name, str(default))
    try:
        number = float(value)
    except ValueError:
        number = 0.0
    if not 0 < number < math.inf:
        raise ImproperlyConfigured(f"{name} is {value!r}; use seconds, such as 30 or 2.5.")
    return number


def words(name: str, default: str = "") -> list[str]:
    """Return the variable split at commas and spaces."""
    return text(name, default).replace(",", " ").split()


def ports(name: str, default: str) -> list[int]:
    """Return the variable as port numbers; empty: none are named."""
    values = words(name, default)
    if not all(value.isdecimal() and 0 < int(value) < 65_536 for value in values):
        raise ImproperlyConfigured(
            f"{name} is {' '.join(values)!r}; write ports, such as 443 8443."
        )
    return [int(value) for value in values]


def networks(name: str, default: str) -> list[str]:
    """Return the variable as networks: 10.1.2.0/24."""
    values = words(name, default)
    try:
        return [str(ip_network(value)) for value in values]
    except ValueError as error:
        raise ImproperlyConfigured(
            f"{name}: {error}. Write networks, such as 10.1.2.0/24."
        ) from error


def rate(name: str, default: str) -> str:
    """Return the variable if it says so many per sec, min, hour or day: 600/min."""
    value = text(name, default)
    if not re.fullmatch(r"[1-9]\d*/(sec|min|hour|day)", value):
        raise ImproperlyConfigured(f"{name} is {value!r}; write it like 600/min.")
    return value


def rate_or_none(name: str, default: str = "") -> str:
    """Return the variable as `rate` does; empty: there is no limit."""
    return rate(name, default) if text(name, default) else ""


@dataclass(frozen=True, slots=True)
class Retries:
    """How a mailbox that refuses for now is tried again."""

    first: timedelta
    """The wait before the second try; it doubles."""
    longest: timedelta
    tries: int
    """After so many it is given up."""


def retries(name: str, default: str) -> Retries:
    """Return the variable if it is “first wait s, longest wait s, tries”: 60,14400,25."""
    value = text(name, default)
    found = re.fullmatch(r"([1-9]\d*),([1-9]\d*),([1-9]\d*)", value.replace(" ", ""))
    if not found:
        raise ImproperlyConfigured(
            f"{name} is {value!r}; write first wait, longest wait (seconds) and tries: 60,14400,25."
        )
    first, longest, tries = map(int, found.groups())
    return Retries(timedelta(seconds=first), timedelta(seconds=longest), tries)


def shares(name: str, default: str, of: int) -> tuple[float, ...]:
    """Return the variable if it is `of` numbers from 0 up, as shares that add up to 1."""
    value = text(name, default)
    try:
        numbers = [float(each) for each in value.split(",")]
    except ValueError:
        numbers = []
    total = sum(numbers)
    if len(numbers) != of or min(numbers) < 0 or not 0 < total < math.inf:
        raise ImproperlyConfigured(
            f"{name} is {value!r}; write {of} numbers from 0 up, not all 0, such as {default}."
        )
    return tuple(number / total for number in numbers)


def resolvers(name: str) -> list[tuple[str, int]] | None:
    """Return the variable as DNS resolvers, (address, port): “10.0.0.2, 127.0.0.1:5353, [::1]:53”.

    Empty: those of this machine, an empty list. “off”: None.
    """
    given = words(name)
    return None if given == ["off"] else [_resolver(name, each) for each in given]


_SERVER = re.compile(r"(?:\[(?P<v6>[^]]+)\]|(?P<v4>[\d.]+))(?::(?P<port>\d{1,5}))?")


def _resolver(name: str, value: str) -> tuple[str, int]:
    match = _SERVER.fullmatch(value)
    host = (match["v6"] or match["v4"]) if match else value
    try:
        ip_address(host)
    except ValueError as error:
        raise ImproperlyConfigured(
            f"{name} has {value!r} in it; use addresses like 10.0.0.2 or [::1]:5353, or “off”."
        ) from error
    return host, int((match and match["port"]) or 53)


@dataclass(frozen=True, slots=True)
class Mailbox:
    """A folder on an IMAP server."""

    host: str
    port: int
    security: str
    """tls (from the start), starttls, or none."""
    user: str
    password: str = field(repr=False)
    folder: str


_IMAP = {
    "imaps": ("tls", 993),
    "imap+starttls": ("starttls", 143),
    "imap": ("none", 143),
    "imap+plain": ("none", 143),
}
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}


def mailbox(name: str) -> Mailbox | None:
    """Return the variable if it is imaps://user:password@host/folder; None if it is empty."""
    given = text(name, "")
    if not given:
        return None
    parts = urlsplit(given)
    try:
        security, usual_port = _IMAP[parts.scheme]
        port = parts.port or usual_port
    except (KeyError, ValueError) as error:
        raise ImproperlyConfigured(
            f"{name} cannot be read; write imaps://user:password@host/INBOX,"
            " with % signs for what is special in user and password."
        ) from error
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    folder = unquote(parts.path.strip("/")) or "INBOX"
    whole_text = user + password + folder
    if not (parts.hostname and user and password) or not folder.isascii() or "\n" in whole_text:
        raise ImproperlyConfigured(
            f"{name} needs a host, a user and a password, and no line breaks."
        )
    if parts.scheme == "imap" and parts.hostname not in _LOOPBACK:
        raise ImproperlyConfigured(
            f"{name} would send its password in the clear: write imaps:// or imap+starttls://"
            " (or imap+plain://, if the way to it is safe)."
        )
    return Mailbox(parts.hostname, port, security, user, password, folder)
