"""Every night: everybody's score, stage, probability of churn and best hour as of now."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import connection, transaction
from django.db.models import Max
from django.utils import timezone

from subscribers.models import ChurnModel, Engagement, ScoreDay, ScoreRun
from subscribers.score_statements import FEATURES

CHUNK = 50_000
"""Ids per transaction: about a second."""
TREND = timedelta(days=30)
"""How far back the score lies that today's is compared with."""
NIGHT_HOUR = 2
"""In TIME_ZONE."""
KEEP = timedelta(days=400)
_BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)


def no_progress(_done: int, _total: int) -> None:
    """Tell nobody."""


def is_due(now: datetime) -> bool:
    """Say whether it is night, or later, and nobody has scored since then."""
    night = timezone.localtime(now).replace(hour=NIGHT_HOUR, minute=0, second=0, microsecond=0)
    return now >= night and not ScoreRun.objects.filter(at__gte=night).exists()


def score_people(now: datetime, say: Callable[[int, int], None] = no_progress) -> ScoreRun:
    """Bring everybody up to date in chunks; safe to repeat and to break off."""
    started = time.monotonic()
    before = ScoreRun.objects.order_by("-at").first()
    about = terms(now, before.at if before else _BEGINNING)
    highest = Engagement.objects.aggregate(most=Max("pk"))["most"] or 0
    stages: Counter[str] = Counter()
    moves: Counter[tuple[str, str]] = Counter()
    written = 0
    for first in range(0, highest, CHUNK):
        with transaction.atomic():
            _be_modest()
            for change in Engagement.objects.bring_up(first, first + CHUNK, about):
                stages[change.after] += change.people
                written += change.written
                if change.before != change.after:
                    moves[change.before, change.after] += change.people
        say(min(first + CHUNK, highest), highest)
    _look_back(before, now)
    return ScoreRun.objects.create(
        at=now,
        half_life_days=settings.SCORE_HALF_LIFE / timedelta(days=1),
        people=sum(stages.values()),
        changed=written,
        took_ms=round((time.monotonic() - started) * 1000),
        stages=dict(stages),
        best_hour=Engagement.objects.usual_hour(),
        moves=[[*way, number] for way, number in sorted(moves.items())],
    )


def terms(now: datetime, since: datetime) -> dict[str, Any]:
    """Return what the statement of scoring needs besides a range of ids.

    `since`: when this was last done. Who did nothing since then has the best hour they had.
    """
    active, cooling, dormant = (timedelta(days=each) for each in settings.STAGE_DAYS)
    model = ChurnModel.objects.order_by("-trained_at").first()
    known = model.coefficients if model and model.is_vouched else {}
    return {
        "now": now,
        "day": now.date(),
        "since": since - timedelta(hours=1),
        "half_life": settings.SCORE_HALF_LIFE.total_seconds(),
        "new": timedelta(days=settings.NEW_DAYS),
        "active": active,
        "cooling": cooling,
        "dormant": dormant,
        "step": settings.SCORE_STEP,
        "vouched": bool(known),
        "constant": float(known.get("constant", 0.0)),
        **{name: float(known.get(name, 0.0)) for name in FEATURES},
    }


def _be_modest() -> None:
    """Do not wait for the disk: what is lost is done again tomorrow."""
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL synchronous_commit = off")


def _look_back(before: ScoreRun | None, now: datetime) -> None:
    """Move the score of 30 days ago on to today's 30 days ago; forget what is older than all."""
    until = now.date() - TREND
    after = before.at.date() - TREND if before else _BEGINNING.date()
    Engagement.objects.remember(min(after, until - timedelta(days=1)), until)
    ScoreDay.objects.filter(day__lt=(now - KEEP).date()).delete()
    ScoreRun.objects.filter(at__lt=now - KEEP).delete()
