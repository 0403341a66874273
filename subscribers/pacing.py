"""How fast an import is just now, and how long it will take: what its page shows."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from django.core.cache import cache

from subscribers.models import Import

WINDOW_S = 10.0
"""The rate is that of the last so many seconds: a pause an hour ago says nothing about now."""


class Pace(NamedTuple):
    """Rows a second, and seconds left; None while nobody can tell."""

    rows_per_s: float | None
    seconds_left: float | None


class _Sample(NamedTuple):
    time: float
    rows: int
    offset: int


def pace(import_: Import, now: datetime) -> Pace:
    """Return the pace since this was last asked for, or since the import started."""
    sample = _Sample(now.timestamp(), import_.rows, import_.offset)
    samples = _remember(import_, sample)
    started = import_.started_at or now
    first = samples[0] if len(samples) > 1 else _Sample(started.timestamp(), 0, 0)
    seconds = sample.time - first.time
    rows, size = sample.rows - first.rows, sample.offset - first.offset
    if seconds < 0.5 or rows <= 0 or size <= 0:
        return Pace(None, None)
    return Pace(rows / seconds, (import_.size - import_.offset) * seconds / size)


def _remember(import_: Import, sample: _Sample) -> list[_Sample]:
    """Keep this sample with those of the window; return them all, oldest first."""
    key = f"pace:{import_.pk}"
    known: list[_Sample] = cache.get(key, [])
    recent = [each for each in known if sample.time - each.time <= WINDOW_S]
    samples = [*recent, sample]
    cache.set(key, samples, timeout=round(WINDOW_S * 2))
    return samples
