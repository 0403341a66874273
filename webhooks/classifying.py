"""People and machines: facts about opens and clicks in, verdicts out. Pure.

A verdict depends on what an event says of itself, and on the other events of its message that are
known: not on the order in which they came. So whoever judges all of a message again after every
event ends at the same verdicts, and may revise earlier ones.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import NamedTuple

from delivery.providers.base import EventType
from webhooks import looking, recognising
from webhooks.marks import HIDDEN_LINK

RULES = 1
"""Goes up with every change of the rules: `manage.py reclassify` then judges history again."""

LOOKS = (EventType.OPENED, EventType.CLICKED)

MANY = 3
MANY_WITHIN = timedelta(seconds=2)
"""So many different links within that time: nobody reads as fast as that."""
CLICK_TOO_FAST = timedelta(seconds=3)
"""A click sooner after the delivery is a gateway's: a person has yet to see that there is mail."""
CLICK_FAST = timedelta(seconds=10)
"""Up to here it is unsure: somebody who waits for a code may be as fast."""
OPEN_FAST = timedelta(seconds=2)
"""An open sooner than that is unsure: a gateway's, or a program that shows mail as it comes."""
BEFORE_DELIVERY = timedelta(seconds=60)
"""Gateways follow links before they take a mail. Earlier still, it is clocks that differ."""
VISIT = timedelta(seconds=60)
"""How far from a caught click the same visitor (address and user agent) is the same machine."""
CROWD = 20
CROWD_WITHIN = timedelta(seconds=10)
"""Clicks in so many mails from one address, this long before or after."""


class Reason(NamedTuple):
    """A code's words: what was seen, told in a sentence."""

    short: str
    words: str


REASONS: Mapping[str, Reason] = MappingProxyType(
    {
        "hidden_link": Reason("followed the hidden link", "It followed a link nobody can see."),
        "told": Reason("the provider says so", "The provider says that it was a machine."),
        "agent": Reason("known user agent", "Its user agent is that of a known machine."),
        "network": Reason("known network", "It came from the network of a known scanner."),
        "crawler": Reason("a crawler’s user agent", "Its user agent is a crawler’s."),
        "many_links": Reason(
            "many links at once", "It followed 3 or more links of one mail within 2 seconds."
        ),
        "too_fast": Reason(
            "too fast", "The click came within 3 seconds of the delivery, or just before it."
        ),
        "crowd": Reason(
            "one address, many mails", "One address clicked in 20 or more mails within seconds."
        ),
        "same_visit": Reason(
            "the same visit", "The same visitor followed hidden or many links within a minute."
        ),
        "fast": Reason(
            "very fast", "It came within seconds of the delivery: a gateway’s, or a quick person’s."
        ),
        "no_agent": Reason("no user agent", "Whoever it was did not say with what program."),
        "proxy": Reason(
            "an image proxy, as a person looked", "A proxy loaded the image as a person looked."
        ),
        "told_person": Reason("the provider says so", "The provider says that it was a person."),
        "ordinary": Reason("nothing odd", "An ordinary program, at an ordinary moment."),
    }
)


class Verdict(NamedTuple):
    """Whose an open or a click was."""

    is_machine: bool | None
    """None: unsure."""
    reason: str
    """A key of REASONS; empty for what is neither an open nor a click."""
    rules: int = RULES


class Seen(NamedTuple):
    """An open or a click of one message, and what is known of it."""

    type: str
    occurred_at: datetime
    url: str
    ip: str
    user_agent: str
    told: bool | None
    reason: str
    crowd: int = 0
    """In how many messages the same address clicked at about that time."""


Visits = Mapping[tuple[str, str], Sequence[datetime]]
"""Visitor (address, user agent) -> when it was caught."""

NOTHING = Verdict(None, "", 0)
_HIDDEN = Verdict(True, "hidden_link")
_TOLD = Verdict(True, "told")
_AGENT = Verdict(True, "agent")
_CRAWLER = Verdict(True, "crawler")
_NETWORK = Verdict(True, "network")
_MANY = Verdict(True, "many_links")
_TOO_FAST = Verdict(True, "too_fast")
_CROWD = Verdict(True, "crowd")
_SAME_VISIT = Verdict(True, "same_visit")
_FAST = Verdict(None, "fast")
_NO_AGENT = Verdict(None, "no_agent")
_PROXY = Verdict(False, "proxy")
_TOLD_PERSON = Verdict(False, "told_person")
_ORDINARY = Verdict(False, "ordinary")


def judge_alone(
    event_type: str, user_agent: str, ip: str, told: bool | None, reason: str
) -> Verdict:
    """Return whose an event was by what it says of itself.

    >>> judge_alone("clicked", "Barracuda Sentinel (EE)", "", None, "").reason
    'agent'
    """
    if event_type not in LOOKS:
        return NOTHING
    if reason == HIDDEN_LINK and event_type == EventType.CLICKED:
        return _HIDDEN
    agent = recognising.by_agent(user_agent, event_type) if user_agent else None
    if agent and agent.is_machine:
        return _AGENT
    if told:
        return _TOLD
    return _PROXY if agent else _by_place(event_type, user_agent, ip, told)


def _by_place(event_type: str, user_agent: str, ip: str, told: bool | None) -> Verdict:
    network = recognising.by_network(ip, event_type) if ip else None
    if network:
        return _NETWORK if network.is_machine else _PROXY
    if not user_agent:
        return _NO_AGENT if told is None else _TOLD_PERSON
    return _CRAWLER if looking.look_of(user_agent).device == "bot" else _ORDINARY


def judge_message(seen: Sequence[Seen], delivered_at: datetime | None) -> list[Verdict]:
    """Return whose the opens and clicks of one message were, each beside all others.

    `delivered_at`: the first time a provider said so, None if it has not.
    """
    alone = [
        judge_alone(each.type, each.user_agent, each.ip, each.told, each.reason) for each in seen
    ]
    clicks = [number for number, each in enumerate(seen) if each.type == EventType.CLICKED]
    many = _bursts(seen, clicks)
    caught = many | {number for number in clicks if alone[number] is _HIDDEN}
    visits = _visits(seen, caught)
    return [
        verdict
        if verdict.is_machine
        else _beside(each, verdict, number in many, visits, delivered_at)
        for number, (each, verdict) in enumerate(zip(seen, alone, strict=True))
    ]


def _beside(
    seen: Seen, alone: Verdict, in_burst: bool, visits: Visits, delivered_at: datetime | None
) -> Verdict:
    if in_burst:
        return _MANY
    if _is_of(seen, visits):
        return _SAME_VISIT
    if seen.crowd >= CROWD:
        return _CROWD
    return (_haste(seen, delivered_at) if delivered_at else None) or alone


def _haste(seen: Seen, delivered_at: datetime) -> Verdict | None:
    after = seen.occurred_at - delivered_at
    if after < -BEFORE_DELIVERY:
        return None
    if seen.type == EventType.OPENED:
        return _FAST if after < OPEN_FAST else None
    if after < CLICK_TOO_FAST:
        return _TOO_FAST
    return _FAST if after < CLICK_FAST else None


def _bursts(seen: Sequence[Seen], clicks: Sequence[int]) -> set[int]:
    """Return the clicks that stand in a span of MANY_WITHIN with MANY different links."""
    if len(clicks) < MANY:
        return set()
    turn = sorted(clicks, key=lambda number: seen[number].occurred_at)
    found: set[int] = set()
    links: Counter[tuple[str, str]] = Counter()
    start = done = 0
    for end, number in enumerate(turn):
        links[_link(seen[number])] += 1
        while seen[number].occurred_at - seen[turn[start]].occurred_at > MANY_WITHIN:
            links -= Counter([_link(seen[turn[start]])])
            start += 1
        if len(links) >= MANY:
            found.update(turn[max(start, done) : end + 1])
            done = end + 1
    return found


def _link(click: Seen) -> tuple[str, str]:
    """Return what tells one link from another; the hidden one has no address."""
    return click.url, click.reason


def _visits(seen: Sequence[Seen], caught: Iterable[int]) -> Visits:
    """Return visitor -> when it was caught. Without an address or a user agent it is nobody."""
    found: dict[tuple[str, str], list[datetime]] = {}
    for number in caught:
        each = seen[number]
        if each.ip and each.user_agent:
            found.setdefault((each.ip, each.user_agent), []).append(each.occurred_at)
    return found


def _is_of(seen: Seen, visits: Visits) -> bool:
    times = visits.get((seen.ip, seen.user_agent), ())
    return any(abs(seen.occurred_at - at) <= VISIT for at in times)
