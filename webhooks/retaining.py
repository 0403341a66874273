"""How long what providers told us is kept: raw requests, who looked from where, events."""

from __future__ import annotations

from datetime import datetime

from django.conf import settings
from django.db.models import Q, QuerySet

from subscribers import retaining
from subscribers.models import RetentionRun
from subscribers.retaining import Kind
from webhooks.models import Event, RawRequest


def _requests(before: datetime) -> QuerySet[RawRequest]:
    """Raw requests that are applied, or that nobody mended in all that time."""
    rows = RawRequest.objects.filter(received_at__lt=before)
    return rows.exclude(status=RawRequest.Status.PENDING)


def _looks(before: datetime) -> QuerySet[Event]:
    """Events that still say from where, of those no earlier run has seen to."""
    known = Q(ip__isnull=False) | ~Q(user_agent="")
    rows = Event.objects.filter(known, received_at__lt=before)
    done = RetentionRun.objects.filter(kind="looks").values_list("done_until", flat=True).first()
    return rows.filter(received_at__gte=done) if done else rows


def _end_looks(before: datetime, limit: int) -> int:
    chosen = list(_looks(before).values_list("pk", flat=True)[:limit])
    return Event.objects.filter(pk__in=chosen).update(ip=None, user_agent="")


def _events(before: datetime) -> QuerySet[Event]:
    return Event.objects.filter(received_at__lt=before)


KINDS = (
    Kind(
        "requests",
        "Webhooks as they came",
        lambda: settings.KEEP_WEBHOOK_BODIES_DAYS,
        lambda before: _requests(before).count(),
        lambda before, limit: retaining.end_rows(_requests(before), limit),
    ),
    Kind(
        "looks",
        "IP address and program of opens and clicks",
        lambda: settings.KEEP_IP_DAYS,
        lambda before: _looks(before).count(),
        _end_looks,
    ),
    Kind(
        "events",
        "Events of single people",
        lambda: settings.KEEP_EVENTS_DAYS,
        lambda before: _events(before).count(),
        lambda before, limit: retaining.end_rows(_events(before), limit),
    ),
)
