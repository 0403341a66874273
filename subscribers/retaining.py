"""How long each kind of data is kept, and what ends it. Each app adds its own kinds.

Everything goes in bounded pieces, each its own transaction; to run it again changes nothing more.
Counters of campaigns live in tables of their own and stay what they were.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from time import monotonic

from django.conf import settings
from django.contrib.admin.models import LogEntry
from django.db import models

from emailplatform.models import AuditEntry
from subscribers import holding
from subscribers.models import Import, RefusedRow, RetentionRun, Suppression

PIECE = 10_000
"""Rows per transaction."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of data that ages."""

    name: str
    label: str
    days: Callable[[], int]
    """How long it is kept; 0: for ever."""
    count: Callable[[datetime], int]
    """How many rows are older than a moment."""
    end: Callable[[datetime, int], int]
    """End up to so many of them; return how many. 0: none is left."""

    def before(self, now: datetime) -> datetime | None:
        """Return what is older than what is kept; None: everything is kept."""
        days = self.days()
        return now - timedelta(days=days) if days else None


KINDS: list[Kind] = []


def register(*kinds: Kind) -> None:
    known = {each.name for each in KINDS}
    KINDS.extend(each for each in kinds if each.name not in known)


def due(now: datetime) -> list[tuple[Kind, int]]:
    """Return every kind with how many of its rows are too old; change nothing."""
    return [(kind, kind.count(at) if (at := kind.before(now)) else 0) for kind in KINDS]


def run(now: datetime, seconds: float) -> dict[str, int]:
    """End what is too old, for about so long; return kind -> how many rows."""
    stop_at = monotonic() + seconds
    ended = {}
    for kind in KINDS:
        before = kind.before(now)
        if before is None:
            continue
        RetentionRun.objects.begin(kind.name, now, before)
        ended[kind.name] = number = _end(kind, before, stop_at)
        is_over = monotonic() < stop_at
        RetentionRun.objects.note(kind.name, now, number, before if is_over else None)
        if not is_over:
            break
    return ended


def _end(kind: Kind, before: datetime, stop_at: float) -> int:
    total = 0
    while number := kind.end(before, PIECE):
        total += number
        if monotonic() >= stop_at:
            break
    return total


def end_rows(rows: models.QuerySet[models.Model], limit: int) -> int:
    """Delete the first `limit` of these rows by key, whatever hangs on them too."""
    chosen = list(rows.order_by("pk").values_list("pk", flat=True)[:limit])
    rows.model._base_manager.filter(pk__in=chosen).delete()
    return len(chosen)


def _end_uploads(before: datetime, limit: int) -> int:
    """Throw away uploads that nobody confirmed: their files hold addresses."""
    waiting = list(_uploads(before)[:100])
    for import_ in waiting:
        import_.discard()
    return len(waiting)


def _uploads(before: datetime) -> models.QuerySet[Import]:
    return Import.objects.filter(status=Import.Status.MAPPING, created_at__lt=before)


def _refused(before: datetime) -> models.QuerySet[RefusedRow]:
    return RefusedRow.objects.filter(source__finished_at__lt=before)


register(
    Kind(
        "suppressions",
        "Suppressions that are over",
        lambda: 1,
        lambda before: Suppression.objects.filter(expires_at__lte=before).count(),
        Suppression.objects.end_expired,
    ),
    Kind(
        "uploads",
        "Uploads nobody confirmed",
        lambda: settings.KEEP_UPLOADS_DAYS,
        lambda before: _uploads(before).count(),
        _end_uploads,
    ),
    Kind(
        "held_lists",
        "Suppression lists nobody confirmed",
        lambda: settings.KEEP_UPLOADS_DAYS,
        lambda before: len(holding.forgotten(before)),
        holding.end,
    ),
    Kind(
        "refused_rows",
        "Refused rows of imports",
        lambda: settings.KEEP_REFUSED_ROWS_DAYS,
        lambda before: _refused(before).count(),
        lambda before, limit: end_rows(_refused(before), limit),
    ),
    Kind(
        "audit",
        "Who changed what through the API",
        lambda: settings.KEEP_AUDIT_DAYS,
        lambda before: AuditEntry.objects.filter(at__lt=before).count(),
        lambda before, limit: end_rows(AuditEntry.objects.filter(at__lt=before), limit),
    ),
    Kind(
        "admin_log",
        "Who changed what in the admin",
        lambda: settings.KEEP_AUDIT_DAYS,
        lambda before: LogEntry.objects.filter(action_time__lt=before).count(),
        lambda before, limit: end_rows(LogEntry.objects.filter(action_time__lt=before), limit),
    ),
)
