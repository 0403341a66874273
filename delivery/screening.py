"""Which accounts may carry a lane's mail now, why others may not, and how well each would do."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from django.conf import settings
from django.utils import timezone

from delivery import limiting, reputing, scoring
from delivery.lanes import Lane
from delivery.models import Handoff, ProviderAccount, SenderRefusal
from delivery.scoring import Score

HEALTH_FRESH_S = 5.0
"""How old the health of accounts may be when it is scored."""
USED_UP = "has used up what it may send for now"
IS_TRIED = "is being tried by another call"

Status, Circuit = ProviderAccount.Status, ProviderAccount.Circuit


@dataclass(frozen=True, slots=True)
class Candidate:
    """An account that may take a hand-off, and its score."""

    account: ProviderAccount
    score: Score


@dataclass(slots=True)
class _Known:
    """What a process knows of the accounts; older than it may be, it is read anew."""

    accounts: list[ProviderAccount] = field(default_factory=list)
    read_at: float = float("-inf")
    refused: dict[tuple[int, str], str] = field(default_factory=dict)
    """(account, From domain) -> why the account does not take it."""
    health: dict[int, float] = field(default_factory=dict)
    health_at: float = float("-inf")


_known = _Known()


def forget() -> None:
    """Read accounts anew at the next choice: this process has just changed one."""
    _known.read_at = float("-inf")


def known_accounts() -> list[ProviderAccount]:
    """Return all accounts, at most ROUTING_FRESH_S old; secrets are decrypted when asked for."""
    clock = time.monotonic()
    if clock - _known.read_at >= settings.ROUTING_FRESH_S:
        _known.accounts = list(ProviderAccount.objects.defer("secrets"))
        rows = SenderRefusal.objects.filter(until__gt=timezone.now())
        _known.refused = {
            (pk, domain): error
            for pk, domain, error in rows.values_list("provider_id", "domain", "error")
        }
        _known.read_at = clock
    return _known.accounts


def senders_matter() -> bool:
    """Say whether it matters from which domain a mail comes: some account does not take all."""
    accounts = known_accounts()
    return bool(_known.refused) or any(each.sending_domains for each in accounts)


def obstacle(account: ProviderAccount, lane: Lane, sender: str, now: datetime) -> str:
    """Return why an account may not take a lane's mail, to be read after its name; "" if it may."""
    questions: tuple[tuple[bool, Callable[[], str]], ...] = (
        (account.status != Status.ACTIVE, lambda: "is paused"),
        (lane.stream not in account.streams, lambda: f"does not carry {lane.stream} mail"),
        (
            lane.only_account not in {None, account.pk},
            lambda: "may not have it: another account may have it already",
        ),
        (not account.carries(sender), lambda: f"may not send from {sender}"),
        (
            (account.pk, sender) in _known.refused,
            lambda: f"does not take mail from {sender}: {_known.refused[account.pk, sender]}",
        ),
        (_is_being_tried(account, now), lambda: IS_TRIED),
        (_rest(account, now) > 0, lambda: _until_then(account, now)),
    )
    return next((words() for is_so, words in questions if is_so), "")


def explain(accounts: Sequence[ProviderAccount], obstacles: Mapping[int, str]) -> str:
    """Return in sentences why none of the accounts can take mail."""
    if not accounts:
        return "There is no provider yet: add one under Delivery, Providers."
    sentences = (f"{each.name} {obstacles.get(each.pk) or 'is ready'}" for each in accounts)
    return "No provider can take mail now. " + " ".join(
        f"{each.rstrip('.')}." for each in sentences
    )


def scored(accounts: Sequence[ProviderAccount], lane: Lane, now: datetime) -> list[Candidate]:
    """Return the accounts with their scores, costs against each other."""
    if not accounts:
        return []
    health = _health(now)
    prices = {each.pk: price for each in accounts if (price := each.price) is not None}
    return [
        Candidate(
            each,
            scoring.score(
                health.get(each.pk, 1.0),
                limiting.free_share(each, lane, now),
                scoring.cost(prices.get(each.pk), list(prices.values())),
                scoring.region(each.region, settings.REGION),
                settings.ROUTING_WEIGHTS,
            ),
        )
        for each in accounts
    ]


def _rest(account: ProviderAccount, now: datetime) -> float:
    """Return for how many seconds more an account is left alone."""
    return (account.cooling_until - now).total_seconds() if account.cooling_until else 0.0


def _until_then(account: ProviderAccount, now: datetime) -> str:
    return f"is tried again in {max(1, round(_rest(account, now)))} s: {account.last_error}"


def _is_being_tried(account: ProviderAccount, now: datetime) -> bool:
    until = account.probe_until
    return account.circuit == Circuit.HALF_OPEN and until is not None and until > now


def _health(now: datetime) -> dict[int, float]:
    """Return account -> health, at most HEALTH_FRESH_S old."""
    clock = time.monotonic()
    if clock - _known.health_at >= HEALTH_FRESH_S * min(settings.ROUTING_FRESH_S, 1):
        reputations = reputing.latest(now)
        _known.health = {
            pk: scoring.health(calls, reputations.get(pk, 100.0))
            for pk, calls in Handoff.objects.health(now).items()
        }
        _known.health_at = clock
    return _known.health
