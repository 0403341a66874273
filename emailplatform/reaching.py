"""Where a request that somebody else asked for may go: public addresses, looked up by ourselves.

An address that a person or a program typed in must not lead into our own network (SSRF). The host
is resolved here, every address it has is judged, and whoever connects uses one of the addresses
that were returned: a name that changes its mind in between gains nothing.
"""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Collection, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any
from urllib.parse import SplitResult, urlsplit

from django.conf import settings

from emailplatform.errors import DomainError, InvalidInput

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
_Rows = list[tuple[Any, ...]]
"""What getaddrinfo answers."""

LONGEST_URL = 2000
LOOKUP_S = 5.0
_PORTS = {"https": 443, "http": 80}
_INSIDE = ("localhost", "local", "internal", "intranet", "lan", "home.arpa", "localdomain")
"""The last labels of names that are nobody's outside of a network."""
_HOST = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)(\.(?!-)[a-z0-9_-]{1,63}(?<!-))*", re.ASCII)
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*", re.ASCII)

_SPECIAL_4: tuple[Network, ...] = tuple(
    ip_network(each)
    for each in (
        *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16"),
        *("172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24"),
        *("192.88.99.0/24", "192.168.0.0/16", "192.175.48.0/24", "198.18.0.0/15"),
        *("198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4", "168.63.129.16/32"),
    )
)
"""IANA's registry of special addresses, multicast, and the one by which Azure tells its machines
about themselves; those of other clouds are link-local."""
_GLOBAL_6 = IPv6Network("2000::/3")
_SPECIAL_6: tuple[Network, ...] = tuple(
    ip_network(each) for each in ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")
)
"""Of what is global: Teredo and other protocols, examples, 6to4. Mapped, translated (NAT64),
local and multicast addresses are all outside of 2000::/3."""

LOOKUPS = 16
"""At a time. Nothing ends one that hangs, except the system's resolver."""
_lookups = ThreadPoolExecutor(LOOKUPS, thread_name_prefix="lookup")
_asked: dict[tuple[str, int], Future[_Rows]] = {}
"""Look-ups under way: a name is looked up once at a time, so one that hangs holds one thread."""
_lock = threading.Lock()


class Unreachable(DomainError):
    """The host has no address, or none was told in time: it may be tried again."""

    code = "unreachable"


class Busy(Unreachable):
    """Too many look-ups were under way to begin one: it says nothing of the host."""

    code = "busy"

    def __init__(self) -> None:
        super().__init__("Too many names are being looked up: try again in a few seconds.")


@dataclass(frozen=True, slots=True)
class Rules:
    """What is allowed beyond https to public addresses."""

    is_http_allowed: bool = False
    ports: Collection[int] = (443,)
    """Empty: any."""
    networks: tuple[Network, ...] = ()
    """Of our own, and reachable all the same."""


@dataclass(frozen=True, slots=True)
class Place:
    """A URL taken apart: where to connect, and what to ask for there."""

    scheme: str
    host: str
    """As it stands in the Host header and is looked for in the certificate; lower-case."""
    port: int
    target: str
    """Path and query."""

    @property
    def netloc(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"


def rules() -> Rules:
    """Return what the settings allow."""
    return Rules(
        is_http_allowed=settings.LOCAL,
        ports=tuple(settings.OUTGOING_PORTS),
        networks=_networks(tuple(settings.OUTGOING_NETWORKS)),
    )


@lru_cache(maxsize=8)
def _networks(names: tuple[str, ...]) -> tuple[Network, ...]:
    return tuple(ip_network(each) for each in names)


# --- URLs --------------------------------------------------------------------------------


def place_of(url: str, allowed: Rules) -> Place:
    """Return where a URL leads. Raises InvalidInput if it may not be called, without a look-up."""
    if len(url) > LONGEST_URL or re.search(r"[^!-~]|\\", url):
        raise _bad(
            "The address must be plain text without spaces, at most 2,000 characters; write a host"
            " with other letters in its xn-- form."
        )
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise _bad("This is no web address.") from error
    _check_scheme(parts, allowed)
    if "@" in parts.netloc:
        raise _bad("The address must not carry a password.")
    host = _host(parts.hostname or "", allowed)
    port = _PORTS[parts.scheme] if port is None else port
    if allowed.ports and port not in allowed.ports:
        named = " or ".join(str(each) for each in sorted(allowed.ports))
        raise _bad(f"The address must use port {named} (OUTGOING_PORTS), not {port}.")
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Place(parts.scheme, host, port, target)


def _check_scheme(parts: SplitResult, allowed: Rules) -> None:
    schemes = {"https", "http"} if allowed.is_http_allowed else {"https"}
    if parts.scheme not in schemes or not parts.hostname:
        raise _bad("The address must begin with https://.")


def _host(host: str, allowed: Rules) -> str:
    """Return the host in small letters. Raises InvalidInput for names of our own network."""
    literal = _literal(host)
    if literal is not None:
        _judge(host, [literal], allowed)
        return host
    name = host.rstrip(".")
    if not _HOST.fullmatch(name) or len(name) > 253:
        raise _bad(f"{host[:100]} is no name of a host.")
    last = name.rpartition(".")[2]
    if _NUMBER.fullmatch(last):
        raise _bad("Write a number for a host in the usual form, such as 192.0.2.1.")
    is_inside = any(name == each or name.endswith(f".{each}") for each in _INSIDE)
    if (is_inside or "." not in name) and not allowed.networks:
        raise _bad(f"{name} is a name inside of a network: give one that the internet knows.")
    return name


def _literal(host: str) -> Address | None:
    try:
        return ip_address(host)
    except ValueError:
        return None


# --- Addresses ---------------------------------------------------------------------------


def is_public(address: Address) -> bool:
    """Say whether an address is somebody's on the internet.

    >>> is_public(ip_address("93.184.216.34")), is_public(ip_address("::ffff:93.184.216.34"))
    (True, False)
    """
    if isinstance(address, IPv4Address):
        return not any(address in each for each in _SPECIAL_4)
    return (
        address.scope_id is None
        and address in _GLOBAL_6
        and not any(address in each for each in _SPECIAL_6)
    )


def addresses_of(place: Place, allowed: Rules) -> list[Address]:
    """Look a host up; return its addresses, to connect to one of them.

    Raises InvalidInput if a single one of them is not to be reached, Unreachable if it has none,
    Busy if it could not be asked for.
    """
    found = _looked_up(place)
    _judge(place.host, found, allowed)
    return found


def _looked_up(place: Place) -> list[Address]:
    asked = _ask(place.host, place.port)
    try:
        rows = asked.result(LOOKUP_S)
    except CancelledError as error:
        raise Busy from error
    except TimeoutError as error:
        if asked.cancel():
            raise Busy from error
        raise Unreachable(f"{place.host} was not found within {LOOKUP_S:.0f} s.") from error
    except (OSError, UnicodeError) as error:
        raise Unreachable(f"{place.host} was not found.") from error
    found = [ip_address(str(sockaddr[0])) for *_, sockaddr in rows]
    if not found:
        raise Unreachable(f"{place.host} has no address.")
    return list(dict.fromkeys(found))


def _ask(host: str, port: int) -> Future[_Rows]:
    """Begin a look-up, or return the one that is under way."""
    key = (host, port)
    with _lock:
        if asked := _asked.get(key):
            return asked
        how = {"type": socket.SOCK_STREAM, "proto": socket.IPPROTO_TCP}
        asked = _asked[key] = _lookups.submit(socket.getaddrinfo, host, port, **how)
    asked.add_done_callback(lambda _: _forget(key))
    return asked


def _forget(key: tuple[str, int]) -> None:
    with _lock:
        _asked.pop(key, None)


def _judge(host: str, found: Sequence[Address], allowed: Rules) -> None:
    """Raise InvalidInput unless all the addresses may be reached.

    One alone would do for an attacker: which one is used is chance.
    """
    for address in found:
        if not is_public(address) and not any(address in each for each in allowed.networks):
            raise _bad(
                f"{host} leads to {address}, which is not on the public internet. To allow it, add"
                " its network to OUTGOING_NETWORKS."
            )


def _bad(words: str) -> InvalidInput:
    return InvalidInput(words, param="url")
