"""Which calls go wrong, and how: by rates, by a queue, or as ordered while the sandbox runs.

| fault | is the mail accepted? | what the caller hears |
|---|---|---|
| 429, 500 | no | that status; over SMTP 421 and 451 after the data |
| hang | yes | nothing, for `Options.hang` seconds; then the connection is cut |
| reset | yes | the connection is cut at once |
| broken | yes | 500; over SMTP, where a 451 is a refusal, the connection is cut |
| lost | no | the connection is cut at once: to the caller it looks like `reset` |
"""

from collections import Counter, OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from delivery.sandbox.calls import Call
from delivery.sandbox.config import FAULTS, Account, ConfigError, Options
from delivery.sandbox.outcomes import draws

REMEMBERED = 10_000
"""Calls whose attempts are counted, so that a call repeated may meet another fault."""


@dataclass(slots=True)
class Order:
    """The next `calls` calls meet the fault, and of all others a share of 0.0 to 1.0."""

    calls: int = 0
    share: float = 0.0


class Faults:
    """What was ordered, and what calls have met."""

    def __init__(self) -> None:
        self.met: Counter[tuple[str, str]] = Counter()
        """How many calls met a fault, by (account, fault)."""
        self._orders: dict[tuple[str, str], Order] = {}
        self._attempts: OrderedDict[str, int] = OrderedDict()

    def order(self, data: Mapping[str, Any], known: set[str]) -> None:
        """Take `{"fault": "hang", "calls": 3, "share": 0.2, "account": "sg"}`.

        It replaces what was ordered of this fault for this account, or for all of them where none
        is named; `known` are the accounts there are. Raises ConfigError.
        """
        unknown = set(data) - {"fault", "calls", "share", "account"}
        if unknown:
            raise ConfigError(f"An order of faults has no {', '.join(sorted(unknown))}.")
        account, fault = str(data.get("account") or ""), str(data.get("fault") or "")
        if fault not in FAULTS:
            raise ConfigError(f"The fault is one of {', '.join(FAULTS)}.")
        if account and account not in known:
            raise ConfigError(f"There is no account {account}.")
        self._orders[account, fault] = Order(_calls(data), _share(data))

    def clear(self) -> None:
        """Forget what was ordered, and what was met."""
        self._orders.clear()
        self.met.clear()

    def as_json(self) -> list[dict[str, Any]]:
        """Return what is still ordered and what was met, one entry per account and fault."""
        entries = []
        for account, fault in sorted({*self._orders, *self.met}):
            order = self._orders.get((account, fault), Order())
            told = {"calls": order.calls, "share": order.share, "met": self.met[account, fault]}
            entries.append({"account": account, "fault": fault, **told})
        return entries

    def of(self, account: Account, call: Call, options: Options) -> str:
        """Return the fault this call meets, one of FAULTS, or an empty string.

        Shares depend on seed, account, first recipient and how often the same call was made, so a
        call repeated after a fault may get through.
        """
        fault = self._next(account.name) or self._drawn(account.name, call, options)
        if fault:
            self.met[account.name, fault] += 1
        return fault

    def _next(self, account: str) -> str:
        """Take one of the calls that were ordered to fail."""
        for (whose, fault), order in self._orders.items():
            if whose in ("", account) and order.calls:
                order.calls -= 1
                return fault
        return ""

    def _drawn(self, account: str, call: Call, options: Options) -> str:
        rates = {name: self._rate(account, name, options) for name in FAULTS}
        if not any(rates.values()):
            return ""
        first = call.letters[0] if call.letters else None
        key = f"{account}/{first.recipient}/{first.message_id}" if first else account
        draw = draws(options.seed, "fault", key, self._count(key))[0]
        for name, rate in rates.items():
            if draw < rate:
                return name
            draw -= rate
        return ""

    def _rate(self, account: str, fault: str, options: Options) -> float:
        orders = [self._orders.get((whose, fault)) for whose in ("", account)]
        rate: float = getattr(options, f"fault_{fault}")
        return rate + sum(order.share for order in orders if order)

    def _count(self, key: str) -> int:
        """Return how often this call was counted before."""
        count = self._attempts.pop(key, 0)
        self._attempts[key] = count + 1
        if len(self._attempts) > REMEMBERED:
            self._attempts.popitem(last=False)
        return count


def _calls(data: Mapping[str, Any]) -> int:
    calls = data.get("calls", 0)
    if isinstance(calls, bool) or not isinstance(calls, int) or calls < 0:
        raise ConfigError("calls is a whole number, 0 or more.")
    return calls


def _share(data: Mapping[str, Any]) -> float:
    share = data.get("share", 0.0)
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share <= 1:
        raise ConfigError("share is a number from 0 to 1.")
    return float(share)
