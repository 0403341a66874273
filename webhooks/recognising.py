"""Known machines: by the user agent they send, by the network they come from.

The list is `known.toml`; MACHINE_NETWORKS_FILE adds to it and goes first. Networks are flattened
into ranges that do not overlap, so that an address costs one bisection however many there are.
"""

from __future__ import annotations

import logging
import re
import tomllib
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv6Address, ip_address, ip_network
from pathlib import Path
from typing import Any

from django.conf import settings

logger = logging.getLogger(__name__)

SHIPPED = Path(__file__).with_name("known.toml")
REMEMBERED = 20_000
TYPES = frozenset({"opened", "clicked"})
_KEYS = frozenset({"name", "is_machine", "of", "agents", "networks", "file", "source", "as_of"})
_MAPPED = int(IPv6Address("::ffff:0:0"))
"""An IPv4 address stands among the IPv6 ones where RFC 4291 maps it."""


class BadList(ValueError):
    """A file of known machines cannot be used; the words say where and why."""


@dataclass(frozen=True, slots=True)
class Known:
    """Somebody who opens or follows links."""

    name: str
    is_machine: bool
    of: frozenset[str]
    """Types of events it is known for."""


class Register:
    """All that are known, ready to be asked."""

    def __init__(self, entries: Iterable[tuple[Known, Sequence[str], Sequence[str]]]) -> None:
        spans = []
        self._agents: list[tuple[Known, re.Pattern[str]]] = []
        for rank, (known, agents, networks) in enumerate(entries):
            if agents:
                pattern = re.compile("|".join(f"(?:{each})" for each in agents), re.IGNORECASE)
                self._agents.append((known, pattern))
            spans += [(*_span(each), -rank, known) for each in networks]
        self._starts, self._owners = _flatten(spans)

    def by_agent(self, user_agent: str, event_type: str) -> Known | None:
        """Return who sends this user agent, if it is anybody known."""
        for known, pattern in self._agents:
            if event_type in known.of and pattern.search(user_agent):
                return known
        return None

    def by_network(self, ip: str, event_type: str) -> Known | None:
        """Return whose address it is, if it is anybody's known."""
        try:
            place = bisect_right(self._starts, _number(ip)) - 1
        except ValueError:
            return None
        found = self._owners[place] if place >= 0 else None
        return found if found and event_type in found.of else None


def _number(ip: str) -> int:
    address = ip_address(ip)
    return int(address) + (_MAPPED if address.version == 4 else 0)


def _span(network: str) -> tuple[int, int]:
    parsed = ip_network(network.strip())
    first = _number(str(parsed.network_address))
    return first, first + parsed.num_addresses - 1


def _flatten(spans: list[tuple[int, int, int, Known]]) -> tuple[list[int], list[Known | None]]:
    """Return ranges that do not overlap, each up to the next start; the smallest network wins.

    Of two that are equal the earlier in the list does.
    """
    starts: list[int] = []
    owners: list[Known | None] = []
    open_: list[tuple[int, Known]] = []

    def put(at: int, owner: Known | None) -> None:
        if starts and starts[-1] == at:
            owners[-1] = owner
        else:
            starts.append(at)
            owners.append(owner)

    def close() -> None:
        end, _ = open_.pop()
        put(end + 1, open_[-1][1] if open_ else None)

    for first, last, _, known in sorted(spans, key=lambda span: (span[0], -span[1], span[2])):
        while open_ and open_[-1][0] < first:
            close()
        put(first, known)
        open_.append((last, known))
    while open_:
        close()
    return starts, owners


# --- Files -------------------------------------------------------------------------------


def load(path: Path) -> list[tuple[Known, Sequence[str], Sequence[str]]]:
    """Read a list; raises BadList, in words."""
    try:
        given = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadList(f"{path} cannot be read: {error}") from error
    entries = given.get("known")
    if not isinstance(entries, list) or not entries:
        raise BadList(f"{path} has no entries: begin each with [[known]].")
    return [_entry(path, number, each) for number, each in enumerate(entries, 1)]


def _entry(path: Path, number: int, given: Any) -> tuple[Known, Sequence[str], Sequence[str]]:
    where = f"{path}, entry {number}"
    if not isinstance(given, dict) or not _is_whole(given):
        raise BadList(
            f"{where}: it needs a name, is_machine (true or false), source, as_of, and agents, "
            f"networks or file; of is a list out of opened and clicked. Nothing else."
        )
    agents, networks = list(given.get("agents", [])), list(given.get("networks", []))
    if "file" in given:
        networks += _column(path.parent / given["file"])
    known = Known(given["name"], given["is_machine"], frozenset(given.get("of", TYPES)))
    try:
        Register([(known, agents, networks)])
    except (re.error, ValueError, TypeError) as error:
        raise BadList(f"{where} ({known.name}): {error}") from error
    return known, agents, networks


def _is_whole(given: dict[str, Any]) -> bool:
    texts = (given.get("name"), given.get("source"), given.get("as_of"))
    return (
        all(isinstance(each, str) and each for each in texts)
        and isinstance(given.get("is_machine"), bool)
        and given.keys() <= _KEYS
        and set(given.get("of", TYPES)) <= TYPES
        and any(given.get(key) for key in ("agents", "networks", "file"))
    )


def _column(path: Path) -> Iterator[str]:
    """Yield the first column of a CSV file, as Apple publishes its relays: one network a line."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise BadList(f"{path} cannot be read: {error}") from error
    return (line.split(",")[0].strip() for line in lines if line.strip()[:1] not in ("", "#"))


@lru_cache(maxsize=1)
def _register(own: str) -> Register:
    """Read the lists once. One of the operator's that cannot be used is said once, then left."""
    entries = load(SHIPPED)
    if own:
        try:
            entries = [*load(Path(own)), *entries]
        except BadList as error:
            logger.error("known_machines_unreadable", extra={"problem": str(error)})
    return Register(entries)


@lru_cache(maxsize=REMEMBERED)
def by_agent(user_agent: str, event_type: str) -> Known | None:
    """Return who sends this user agent, if it is anybody known."""
    return _register(settings.MACHINE_NETWORKS_FILE).by_agent(user_agent, event_type)


@lru_cache(maxsize=REMEMBERED)
def by_network(ip: str, event_type: str) -> Known | None:
    """Return whose address it is, if it is anybody's known."""
    return _register(settings.MACHINE_NETWORKS_FILE).by_network(ip, event_type)


def forget() -> None:
    """Read the lists again the next time somebody is asked for."""
    for each in (_register, by_agent, by_network):
        each.cache_clear()
