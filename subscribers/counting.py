"""How many people lists have, and how they grow. Counts are kept in the cache for a moment."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, cast

from django.core.cache import cache
from django.db.models import Count, Q, QuerySet
from django.db.models.functions import TruncDate
from django.utils import timezone

from subscribers.models import (
    Engagement,
    MailingList,
    Segment,
    Subscriber,
    Subscription,
    Suppression,
)

FRESH = timedelta(seconds=30)
GROWTH_FRESH = timedelta(minutes=10)
GROWTH_DAYS = 30


@dataclass(frozen=True, slots=True)
class Standing:
    """People of one list, by how they stand on it."""

    subscribed: int = 0
    pending: int = 0
    held: int = 0
    unsubscribed: int = 0

    @property
    def total(self) -> int:
        return self.subscribed + self.pending + self.held + self.unsubscribed


def standings(lists: Collection[int]) -> dict[int, Standing]:
    """Return list -> Standing, at most FRESH old; lists nobody is on have zeros."""
    keys = {f"standing:{pk}": pk for pk in lists}
    known: dict[str, Standing] = cache.get_many(keys)
    missing = {key: pk for key, pk in keys.items() if key not in known}
    if missing:
        counted = _count(missing.values())
        fresh = {key: counted.get(pk, Standing()) for key, pk in missing.items()}
        cache.set_many(fresh, timeout=round(FRESH.total_seconds()))
        known |= fresh
    return {pk: known[key] for key, pk in keys.items()}


def _count(lists: Collection[int]) -> dict[int, Standing]:
    """Count in one statement, out of the index alone."""
    status = Subscription.Status
    rows = (
        Subscription.objects.filter(list__in=lists)
        .values("list_id")
        .annotate(
            subscribed=Count("pk", filter=Q(status=status.ACTIVE)),
            pending=Count("pk", filter=Q(status=status.PENDING)),
            held=Count("pk", filter=Q(status=status.HELD)),
            unsubscribed=Count("pk", filter=Q(status=status.UNSUBSCRIBED)),
        )
    )
    return {
        row["list_id"]: Standing(
            row["subscribed"], row["pending"], row["held"], row["unsubscribed"]
        )
        for row in rows
    }


@dataclass(frozen=True, slots=True)
class Day:
    """One day of a list."""

    day: date
    joined: int
    left: int


def growth(source: MailingList, now: datetime) -> list[Day]:
    """Return the last GROWTH_DAYS days, oldest first, as the reader's zone has them.

    At most GROWTH_FRESH old. Who joined and left since counts as having left.
    """
    zone = timezone.get_current_timezone_name()
    key = f"growth:{source.pk}:{zone}"
    days = cast("list[Day] | None", cache.get(key))
    if days is None:
        days = _growth(source, timezone.localdate(now))
        cache.set(key, days, timeout=round(GROWTH_FRESH.total_seconds()))
    return days


def _growth(source: MailingList, today: date) -> list[Day]:
    first = today - timedelta(days=GROWTH_DAYS - 1)
    joined = _per_day(source, "created_at", first, Q())
    left = _per_day(source, "changed_at", first, Q(status=Subscription.Status.UNSUBSCRIBED))
    dates = [first + timedelta(days=number) for number in range(GROWTH_DAYS)]
    return [Day(each, joined.get(each, 0), left.get(each, 0)) for each in dates]


def _per_day(source: MailingList, moment: str, first: date, which: Q) -> dict[date, int]:
    rows = (
        source.subscriptions.filter(which, **{f"{moment}__date__gte": first})
        .annotate(day=TruncDate(moment))
        .values("day")
        .annotate(count=Count("pk"))
    )
    return {row["day"]: row["count"] for row in rows}


def audience(now: datetime) -> dict[str, Any]:
    """Return how many people there are, by status and stage, and how many came and went.

    At most FRESH old. People of whom no engagement is known count as new. Counted out of indexes
    and narrow tables: whoever is not active is few, the rest are active.
    """
    counts = cast("dict[str, Any] | None", cache.get("audience"))
    if counts is None:
        counts = _audience(now)
        cache.set("audience", counts, timeout=round(FRESH.total_seconds()))
    return counts


def _audience(now: datetime) -> dict[str, Any]:
    status, stage = Subscriber.Status, Engagement.Stage
    since = now - timedelta(days=GROWTH_DAYS)
    total = Subscriber.objects.count()
    closed = Subscriber.objects.exclude(status=status.ACTIVE)
    by_status = dict.fromkeys(status.values, 0) | _grouped(closed, "status")
    by_status[status.ACTIVE.value] = total - sum(by_status.values())
    by_stage = dict.fromkeys(stage.values, 0) | _grouped(Engagement.objects.all(), "stage")
    by_stage[stage.NEW.value] += max(0, total - sum(by_stage.values()))
    return {
        "total": total,
        "by_status": by_status,
        "by_stage": by_stage,
        "added_30d": Subscriber.objects.filter(created_at__gt=since).count(),
        "left_30d": closed.filter(status_changed_at__gt=since).count(),
        "lists": MailingList.objects.count(),
        "segments": Segment.objects.count(),
        "suppressions": Suppression.objects.count(),
        "counted_at": now.isoformat(),
    }


def _grouped(rows: QuerySet[Any], column: str) -> dict[str, int]:
    groups = rows.order_by().values(column).annotate(count=Count("pk"))
    return dict(groups.values_list(column, "count"))
