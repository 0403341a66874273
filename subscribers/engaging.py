"""How engaged people are: of one, with the curve that led there, and of all, over time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import NamedTuple

from subscribers.models import ChurnModel, Engagement, ScoreDay, ScoreRun, Subscriber

MONTH = timedelta(days=30)
SHOWN = timedelta(days=180)
WIDTH, HEIGHT = 300, 60
STAGES = tuple(Engagement.Stage)
TONES = {
    Engagement.Stage.NEW: "info",
    Engagement.Stage.ACTIVE: "ok",
    Engagement.Stage.COOLING: "warn",
    Engagement.Stage.DORMANT: "warn",
    Engagement.Stage.LOST: "quiet",
}
"""How a stage is coloured."""


class Stretch(NamedTuple):
    """A time in one stage, as a bar under the curve: from and to in the curve's units."""

    stage: str
    label: str
    left: float
    width: float


@dataclass(frozen=True, slots=True)
class Standing:
    """What a person's page shows."""

    row: Engagement
    tone: str
    points: str
    """Of a polyline, WIDTH by HEIGHT, over the last SHOWN days; the higher the better."""
    stretches: list[Stretch]
    trend: int | None
    signs: int
    """Opens and clicks whose hour is known."""
    usual_hour: int | None
    """Everybody's best hour, where the person has none of their own."""


def of(person: Subscriber, now: datetime) -> Standing | None:
    """Return a person's engagement; None of whom nothing was ever sent to."""
    row = Engagement.objects.filter(pk=person.pk).first()
    if row is None:
        return None
    history = list(ScoreDay.objects.filter(subscriber=person).order_by("-day")[:200])[::-1]
    spots = [(each.day, each.score, each.stage) for each in history]
    spots.append((now.date(), row.score, row.stage))
    own = row.best_hour is not None
    return Standing(
        row=row,
        tone=TONES[Engagement.Stage(row.stage)],
        points=line([(day, score) for day, score, _ in spots], now.date()),
        stretches=list(_stretches([(day, stage) for day, _, stage in spots], now.date())),
        trend=None if row.score_before is None else row.score - row.score_before,
        signs=sum(row.hours or []),
        usual_hour=None if own else usual_hour(now),
    )


def line(points: Sequence[tuple[date, int]], today: date) -> str:
    """Return the points of a polyline of scores; what was before the window is at its edge.

    >>> line([(date(2026, 5, 1), 100), (date(2026, 10, 28), 50)], date(2026, 10, 28))
    '0.0,1.0 300.0,30.0'
    """
    return " ".join(
        f"{_place(day, today):.1f},{1 + (HEIGHT - 2) * (1 - score / 100):.1f}"
        for day, score in points
    )


def _place(day: date, today: date) -> float:
    return max(0.0, 1 - (today - day) / SHOWN) * WIDTH


def _stretches(points: Sequence[tuple[date, str]], today: date) -> Iterator[Stretch]:
    """Yield the stages one after the other, each from its first point to the next one's."""
    began = 0
    for index in range(1, len(points) + 1):
        if index < len(points) and points[index][1] == points[began][1]:
            continue
        left = _place(points[began][0], today)
        right = _place(points[index][0] if index < len(points) else today, today)
        if right > left:
            stage = Engagement.Stage(points[began][1])
            yield Stretch(stage.value, str(stage.label), left, right - left)
        began = index


def usual_hour(now: datetime) -> int | None:
    """Return the hour in which most people have their best one, by their own clocks; or None.

    As of the last scoring: what one person's page needs must not read everybody's rows.
    """
    run = ScoreRun.objects.filter(at__lte=now + timedelta(days=1)).order_by("-at").first()
    return run.best_hour if run else None


# --- Everybody ---------------------------------------------------------------------------


class Day(NamedTuple):
    """How many were in each stage, in the order of STAGES, with their shares in per cent."""

    at: datetime
    people: int
    parts: list[tuple[str, int, float]]


class Flow(NamedTuple):
    before: str
    after: str
    people: int
    is_good: bool


@dataclass(frozen=True, slots=True)
class Health:
    last: ScoreRun | None
    days: list[Day]
    flows: list[Flow]
    model: ChurnModel | None


def health(now: datetime) -> Health:
    """Return everybody's stages over time, and who went where in the last 30 days."""
    runs = list(ScoreRun.objects.filter(at__gte=now - SHOWN).order_by("at"))
    moves: Counter[tuple[str, str]] = Counter()
    for run in runs:
        if run.at >= now - MONTH:
            moves.update({(before, after): number for before, after, number in run.moves})
    return Health(
        last=runs[-1] if runs else None,
        days=[_day(run) for run in _spread(runs)],
        flows=[_flow(way, number) for way, number in moves.most_common()],
        model=ChurnModel.objects.order_by("-trained_at").first(),
    )


def _spread(runs: Sequence[ScoreRun], most: int = 30) -> list[ScoreRun]:
    """Return at most so many, evenly spread, the last among them; of one day the last."""
    by_day = list({run.at.date(): run for run in runs}.values())
    step = max(1, -(-len(by_day) // most))
    return by_day[::-1][::step][::-1]


def _day(run: ScoreRun) -> Day:
    parts = [(stage.value, run.stages.get(stage.value, 0)) for stage in STAGES]
    whole = max(1, run.people)
    return Day(run.at, run.people, [(name, n, round(100 * n / whole, 2)) for name, n in parts])


def _flow(way: tuple[str, str], number: int) -> Flow:
    before, after = (Engagement.Stage(each) for each in way)
    order = [*STAGES[1:]]
    is_good = after == Engagement.Stage.ACTIVE or (
        before in order and after in order and order.index(after) < order.index(before)
    )
    return Flow(str(before.label), str(after.label), number, is_good)
