"""How well an account suits a hand-off: four parts from 0 to 1, and their weighted sum (ADR 10).

Pure: numbers in, numbers out. More failures, longer calls, less room or higher cost never raise
a part, so nothing is gained by doing worse.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

MARGIN = 0.05
"""Scores so near to the best count as equal: these accounts share the mail by weight."""
CALLS_TAKEN_FOR_GOOD = 5
"""As if so many calls had gone well before: one failure of one call says little."""
FAST_S, SLOW_S = 2.0, 20.0
"""A call of up to FAST_S is fast; at SLOW_S and more it halves the health."""
UNKNOWN_REGION = 0.5
FEW = 200
"""Rates of fewer mails than this count as of this many: one complaint of three is no 33 %."""
FEW_CALLS = 20
"""The same for calls."""

Curve = Sequence[tuple[float, float]]
"""Points (rate, worth), the rates rising; straight between, level beyond."""

BOUNCES: Curve = ((0.0, 1.0), (0.05, 0.5), (0.10, 0.0))
"""Amazon SES puts an account under review at 5 % and may pause it at 10 %."""
COMPLAINTS: Curve = ((0.0, 1.0), (0.001, 0.5), (0.005, 0.0))
"""Amazon SES: under review at 0.1 %, paused at 0.5 %. Gmail wants less than 0.1 %, never 0.3 %."""
DEFERRALS: Curve = ((0.0, 1.0), (0.2, 0.75), (1.0, 0.5))
"""A mailbox that says “later” is a warning, not a verdict."""
FAILED_CALLS: Curve = ((0.0, 1.0), (0.5, 0.5), (1.0, 0.0))


@dataclass(frozen=True, slots=True)
class Traffic:
    """What an account did over some days."""

    sent: int = 0
    bounced: int = 0
    complained: int = 0
    deferred: int = 0
    calls: int = 0
    failed_calls: int = 0


@dataclass(frozen=True, slots=True)
class Calls:
    """An account's calls of the last hour; those of ten minutes ago count half, and so on."""

    calls: float = 0.0
    good: float = 0.0
    latency_s: float | None = None
    """Mean time of a call that was answered."""


@dataclass(frozen=True, slots=True)
class Score:
    """The parts, each from 0 to 1, and their sum by the weights."""

    health: float
    free: float
    cost: float
    region: float
    total: float

    def rounded(self) -> dict[str, float]:
        return {name: round(value, 3) for name, value in asdict(self).items()}


def score(
    health: float, free: float, cost: float, region: float, weights: Sequence[float]
) -> Score:
    """Return the score; `weights` add up to 1, in the order of the parts."""
    parts = (_part(health), _part(free), _part(cost), _part(region))
    total = sum(part * weight for part, weight in zip(parts, weights, strict=True))
    return Score(*parts, _part(total))


def health(calls: Calls, reputation: float) -> float:
    """Return how well an account works: the calls that go well, their pace, its reputation."""
    success = (calls.good + CALLS_TAKEN_FOR_GOOD) / (calls.calls + CALLS_TAKEN_FOR_GOOD)
    pace = _at(calls.latency_s or 0.0, ((FAST_S, 1.0), (SLOW_S, 0.5)))
    return _part(success * pace * reputation / 100)


def cost(own: float | None, all_known: Sequence[float]) -> float:
    """Return cheapest ÷ own: 1 for the cheapest, ½ for twice its price. Unknown: as the mean."""
    if not all_known:
        return 1.0
    price = sum(all_known) / len(all_known) if own is None else own
    cheapest = min(all_known)
    return 1.0 if price <= cheapest else cheapest / price


def region(own: str, here: str) -> float:
    """Return 1 if the account works where we are, 0 if elsewhere, ½ if either is not said."""
    if not (own and here):
        return UNKNOWN_REGION
    return float(own.casefold() == here.casefold())


def reputation(traffic: Traffic) -> float:
    """Return 0 to 100: the product of what bounces, complaints, deferrals and calls are worth."""
    mails = max(traffic.sent, FEW)
    calls = max(traffic.calls, FEW_CALLS)
    return 100 * (
        _at(traffic.bounced / mails, BOUNCES)
        * _at(traffic.complained / mails, COMPLAINTS)
        * _at(traffic.deferred / mails, DEFERRALS)
        * _at(traffic.failed_calls / calls, FAILED_CALLS)
    )


def _part(value: float) -> float:
    return min(max(value, 0.0), 1.0)


def _at(rate: float, curve: Curve) -> float:
    """Return the curve's worth at a rate.

    >>> _at(0.025, BOUNCES), _at(0.5, BOUNCES)
    (0.75, 0.0)
    """
    before = curve[0]
    for point in curve:
        if rate <= point[0]:
            width = point[0] - before[0]
            part = (rate - before[0]) / width if width else 1.0
            return before[1] + part * (point[1] - before[1]) if part > 0 else before[1]
        before = point
    return before[1]
