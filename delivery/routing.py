"""Which provider gets the next hand-off, and why (design 4.4, docs/adr/0010).

Of the accounts that may carry it: those a rule names, in their order; else the one with the best
score, and of scores that are nearly equal the one furthest below its share. The decision is
stored in its hand-off with every number and everybody who was left out.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.conf import settings

from delivery import breaking, limiting, ruling, screening
from delivery.journaling import lease_of
from delivery.lanes import Lane
from delivery.models import CampaignStat, ProviderAccount, RoutingRule, Stream
from delivery.providers import registry
from delivery.providers.base import Unavailable
from delivery.querysets import PREPARE_LEASE
from delivery.scoring import MARGIN
from delivery.screening import Candidate
from emailplatform.errors import DomainError
from emailplatform.secrets import CannotDecrypt

_MOST_CAMPAIGNS = 1000
"""So many counters of shares are kept in memory at most."""
_shares: dict[int, tuple[float, Counter[int]]] = {}
"""Campaign -> when its counters were read; what each account has got, this process's calls since
then included."""

forget = screening.forget
senders_matter = screening.senders_matter


class NoProvider(DomainError):
    """No account can take mail of this stream now; `str()` says what is with each."""

    code = "no_provider"


@dataclass(frozen=True, slots=True)
class Route:
    """The account chosen, and the decision as it was taken."""

    account: ProviderAccount
    reason: dict[str, Any]
    is_probe: bool = False
    """The one call that tries an account whose breaker had opened: it must be small."""


def choose(lane: Lane, now: datetime, sender: str = "") -> Route:
    """Return the account for a lane's next hand-off. Raises NoProvider, limiting.Full.

    `sender` is the domain of the From address: an account never carries one it does not list.
    Full: those who may carry it are known to have no room now.
    """
    accounts = screening.known_accounts()
    rule = _rule_of(lane)
    obstacles = _obstacles(accounts, rule, lane, sender, now)
    may = [each for each in accounts if not obstacles[each.pk]]
    limiting.check(may, lane, now)
    able = _with_room(screening.scored(may, lane, now), obstacles)
    sent = _sent(lane)
    for chosen, how in _in_order(rule, able, sent, lane):
        if why := _take(chosen.account, now):
            obstacles[chosen.account.pk] = why
            continue
        _count(lane, chosen.account)
        reason = _reason(chosen, how, able, sent) | _of_rule(rule) | _left_out(accounts, obstacles)
        return Route(chosen.account, reason, chosen.account.is_broken)
    raise NoProvider(screening.explain(accounts, obstacles))


def let_go(route: Route) -> None:
    """Say that nothing was handed over: if it was to try an account, somebody else may."""
    if route.is_probe:
        breaking.give_back(route.account)


def has_room(lane: Lane, now: datetime, sender: str = "") -> bool:
    """Say whether an account that may carry this is not known to be full."""
    accounts = screening.known_accounts()
    obstacles = _obstacles(accounts, _rule_of(lane), lane, sender, now)
    may = (each for each in accounts if not obstacles[each.pk])
    return any(limiting.free_share(each, lane, now) for each in may)


def explain_none(stream: str, now: datetime, sender: str = "") -> str:
    """Return why no provider can take mail, account by account, in words."""
    accounts = list(ProviderAccount.objects.defer("secrets"))
    lane = Lane(stream, "other")
    obstacles = {each.pk: screening.obstacle(each, lane, sender, now) for each in accounts}
    return screening.explain(accounts, obstacles)


def explain_if_stuck(stream: str, now: datetime) -> str:
    """Return why no account may carry a stream's mail now; "" if one may."""
    lane = Lane(stream, "other")
    accounts = screening.known_accounts()
    if all(screening.obstacle(each, lane, "", now) for each in accounts):
        return explain_none(stream, now)
    return ""


def domain_of(address: str) -> str:
    """Return what stands behind the @, in small letters.

    >>> domain_of("News@Example.COM")
    'example.com'
    """
    return address.rpartition("@")[2].lower()


# --- In which order -------------------------------------------------------------------------


def _rule_of(lane: Lane) -> RoutingRule | None:
    return ruling.active().get(lane.route) if lane.route > 0 else None


def _obstacles(
    accounts: Sequence[ProviderAccount],
    rule: RoutingRule | None,
    lane: Lane,
    sender: str,
    now: datetime,
) -> dict[int, str]:
    """Return account -> why it may not have the mail, "" if it may."""
    found = {each.pk: screening.obstacle(each, lane, sender, now) for each in accounts}
    if rule and rule.is_strict:
        unlisted = f"is not on the list of the rule “{rule.name}”"
        found |= {pk: why or unlisted for pk, why in found.items() if pk not in rule.providers}
    return found


def _with_room(able: Sequence[Candidate], obstacles: dict[int, str]) -> list[Candidate]:
    """Return who has room, and write down of the others that they have none."""
    full = {each.account.pk for each in able if each.score.free <= 0}
    obstacles |= dict.fromkeys(full, screening.USED_UP)
    return [each for each in able if each.account.pk not in full]


def _in_order(
    rule: RoutingRule | None, able: Sequence[Candidate], sent: Mapping[int, int], lane: Lane
) -> Iterator[tuple[Candidate, str]]:
    """Yield who is to be asked and on what ground; the first one that can be had gets it.

    Those that a rule names come first, in its order. An account whose breaker waits for its probe
    comes before the healthy ones, else nothing would ever close it; but no password reset is to
    try it while others work.
    """
    named = {pk: at for at, pk in enumerate(rule.providers)} if rule else {}
    listed = [each for each in able if each.account.pk in named]
    listed.sort(key=lambda each: named[each.account.pk])
    others = [each for each in able if each.account.pk not in named]
    is_urgent = lane.stream == Stream.CRITICAL
    waiting = [each for each in able if each.account.is_broken]
    for each in listed:
        if not (is_urgent and each.account.is_broken):
            yield each, "the first of its rule that can take it"
    if not (listed or is_urgent):
        for each in waiting:
            yield each, "to see whether it works again"
    yield from _by_score([each for each in others if not each.account.is_broken], sent, len(able))
    for each in waiting:
        yield each, "to see whether it works again, since no other can"


def _by_score(
    healthy: list[Candidate], sent: Mapping[int, int], able: int
) -> Iterator[tuple[Candidate, str]]:
    """Yield the best score first; of those that are nearly equal, the furthest below its share."""
    while healthy:
        best = max(each.score.total for each in healthy)
        equals = [each for each in healthy if best - each.score.total <= MARGIN]
        chosen = _next_of(equals, sent)
        if able == 1:
            yield chosen, "the only one that can take it"
        else:
            yield chosen, "furthest below its share" if len(equals) > 1 else "the best score"
        healthy = [each for each in healthy if each is not chosen]


def _next_of(equals: Sequence[Candidate], sent: Mapping[int, int]) -> Candidate:
    """Return who is furthest below its share; without counters, one at random by weight."""
    weights = [max(each.account.weight, 1) for each in equals]
    if not sent:
        return random.choices(equals, weights)[0]  # noqa: S311
    standings = [
        sent.get(each.account.pk, 0) / weight for each, weight in zip(equals, weights, strict=True)
    ]
    lowest = min(standings)
    level = [each for each, at in zip(equals, standings, strict=True) if at == lowest]
    return random.choice(level)  # noqa: S311


def _take(account: ProviderAccount, now: datetime) -> str:
    """Get hold of an account: its probe, if its breaker waits for one, and its secrets.

    Returns why it cannot be had, "" if it can.
    """
    is_probe = account.is_broken
    if is_probe:
        forget()
        lease = lease_of(registry.KINDS[account.kind]) + PREPARE_LEASE
        if not breaking.take_probe(account, lease, now):
            return screening.IS_TRIED
    try:
        _ = account.secrets
    except CannotDecrypt as error:
        forget()
        fault = Unavailable(str(error), is_account_fault=True)
        breaking.failed(account, fault, now, is_probe=is_probe)
        return f"cannot be used: {error}"
    return ""


# --- Shares ---------------------------------------------------------------------------------


def _sent(lane: Lane) -> Counter[int]:
    """Return what each account has got of the campaign; at most ROUTING_FRESH_S old."""
    if lane.campaign is None:
        return Counter()
    known = _shares.get(lane.campaign)
    if known is None or time.monotonic() - known[0] >= settings.ROUTING_FRESH_S:
        if len(_shares) >= _MOST_CAMPAIGNS:
            _shares.clear()
        sent = Counter(CampaignStat.objects.sent_by_provider(lane.campaign))
        known = _shares[lane.campaign] = (time.monotonic(), sent)
    return known[1]


def _count(lane: Lane, account: ProviderAccount) -> None:
    """Count a call that is about to be made, until the counters are read again."""
    if known := _shares.get(lane.campaign or 0):
        known[1][account.pk] += account.call_size


# --- Why ------------------------------------------------------------------------------------


def _reason(
    chosen: Candidate, how: str, able: Sequence[Candidate], sent: Mapping[int, int]
) -> dict[str, Any]:
    """Return the decision as it is stored: by name, since accounts may go."""
    reason: dict[str, Any] = {
        "how": how,
        "chosen": chosen.account.name,
        "candidates": [
            {
                "name": each.account.name,
                **each.score.rounded(),
                "weight": each.account.weight,
                "sent": sent.get(each.account.pk, 0),
            }
            for each in sorted(able, key=lambda each: -each.score.total)
        ],
    }
    return reason | ({"probe": True} if chosen.account.is_broken else {})


def _of_rule(rule: RoutingRule | None) -> dict[str, Any]:
    return {"rule": {"id": rule.pk, "name": rule.name}} if rule else {}


def _left_out(accounts: Sequence[ProviderAccount], obstacles: Mapping[int, str]) -> dict[str, Any]:
    left_out = [
        {"name": each.name, "why": obstacles[each.pk]} for each in accounts if obstacles[each.pk]
    ]
    return {"left_out": left_out} if left_out else {}
