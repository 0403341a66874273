"""The curve of an account's reputation, as an SVG line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from delivery import reputing
from delivery.scoring import Traffic

WIDTH, SMALL, LARGE = 300, 40, 100


@dataclass(frozen=True, slots=True)
class Curve:
    """The last reputation, and the way to it."""

    score: float
    first: float
    lowest: float
    small: str
    """Points of a line of SMALL height; the higher the better."""
    large: str
    traffic: Traffic


def curves(now: datetime) -> dict[int, Curve]:
    """Return account -> its curve, of those that have one."""
    traffic = reputing.traffic(now)
    return {
        pk: _curve(points, traffic.get(pk, Traffic()), now)
        for pk, points in reputing.curves(now).items()
    }


def _curve(points: Sequence[tuple[datetime, float]], traffic: Traffic, now: datetime) -> Curve:
    scores = [score for _, score in points]
    return Curve(
        score=scores[-1],
        first=scores[0],
        lowest=min(scores),
        small=line(points, SMALL, now),
        large=line(points, LARGE, now),
        traffic=traffic,
    )


def line(points: Sequence[tuple[datetime, float]], height: int, now: datetime) -> str:
    """Return the points of a polyline; what was known last goes on until now.

    >>> now = datetime(2026, 11, 24)
    >>> line([(now - reputing.WINDOW, 100.0), (now, 50.0)], 100, now)
    '0.0,1.0 300.0,50.0 300.0,50.0'
    """
    shown = [*points, (now, points[-1][1])]
    began = now - reputing.WINDOW
    places = (
        (max(0.0, (at - began) / reputing.WINDOW) * WIDTH, 1 + (height - 2) * (1 - score / 100))
        for at, score in shown
    )
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
