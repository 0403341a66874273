"""Which provider gets the next hand-off, and why.

Of the accounts that may be used now, the one furthest below its share of the campaign; each
decision is stored in its hand-off.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from delivery import limiting
from delivery.lanes import Lane
from delivery.models import CampaignStat, ProviderAccount
from emailplatform.errors import DomainError
from emailplatform.secrets import CannotDecrypt


class NoProvider(DomainError):
    """No account can take mail of this stream now; `str()` says what is with each."""

    code = "no_provider"


@dataclass(frozen=True, slots=True)
class Route:
    """The account chosen, and the decision as it was taken."""

    account: ProviderAccount
    reason: dict[str, Any]


def choose(lane: Lane, now: datetime) -> Route:
    """Return the account for a lane's next hand-off. Raises NoProvider, limiting.Full."""
    usable = _usable(lane, now)
    limiting.check(usable, lane, now)
    candidates = [each for each in usable if limiting.free_share(each, lane, now)]
    sent = CampaignStat.objects.sent_by_provider(lane.campaign) if lane.campaign else {}
    random.shuffle(candidates)  # equals take turns
    candidates.sort(key=lambda account: sent.get(account.pk, 0) / account.weight)
    chosen = next((account for account in candidates if _opens(account, now)), None)
    if chosen is None:
        raise NoProvider(explain_none(lane.stream, now))
    reason = {
        "rule": "furthest below its share",
        "chosen": chosen.name,
        "candidates": {
            account.name: {"weight": account.weight, "sent": sent.get(account.pk, 0)}
            for account in candidates
        },
    }
    return Route(chosen, reason)


def has_room(lane: Lane, now: datetime) -> bool:
    """Say whether an account that may be used now is not known to be full."""
    return any(limiting.free_share(account, lane, now) for account in _usable(lane, now))


def _usable(lane: Lane, now: datetime) -> list[ProviderAccount]:
    accounts = list(ProviderAccount.objects.usable(lane.stream, now))
    if lane.only_account:
        return [account for account in accounts if account.pk == lane.only_account]
    return accounts


def explain_none(stream: str, now: datetime) -> str:
    """Return why no provider can take mail, account by account, in words."""
    accounts = list(ProviderAccount.objects.defer("secrets"))
    if not accounts:
        return "There is no provider yet: add one under Delivery, Providers."
    return "No provider can take mail now. " + " ".join(
        _obstacle(account, stream, now) for account in accounts
    )


def _opens(account: ProviderAccount, now: datetime) -> bool:
    """Say whether the account's secrets can be read; one that cannot must not stop the others."""
    try:
        return account.secrets is not None
    except CannotDecrypt as error:
        account.cool(str(error), now)
        return False


def _obstacle(account: ProviderAccount, stream: str, now: datetime) -> str:
    if account.status != ProviderAccount.Status.ACTIVE:
        return f"{account.name} is paused."
    if stream not in account.streams:
        return f"{account.name} does not carry {stream} mail."
    if account.cooling_until and account.cooling_until > now:
        seconds = max(1, round((account.cooling_until - now).total_seconds()))
        return f"{account.name} is tried again in {seconds} s: {account.last_error}"
    return f"{account.name} is ready."
