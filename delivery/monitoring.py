"""How sending is doing right now: for operators, health checks and the API."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.core.cache import cache
from django.db import connection
from django.db.models import Avg, Count, DurationField, ExpressionWrapper, F, Min, Q, Sum
from redis.exceptions import RedisError

from delivery import overseeing
from delivery.models import CampaignStat, Handoff, Message, ProviderAccount
from delivery.reports import COUNTERS, Totals

HEALTH_WINDOW = timedelta(hours=1)
FRESH_S = 5
_SLOW_AFTER_S = 300.0


def status(now: datetime) -> dict[str, Any]:
    """Return what is queued, in doubt and late, and each provider's health over the last hour."""
    queue = _queue(now)
    oldest_s = (now - queue["oldest"]).total_seconds() if queue["oldest"] else None
    providers = [_plain(account, health_of(account, now)) for account in _accounts()]
    is_degraded = (oldest_s or 0) > _SLOW_AFTER_S or any(each["cooling"] for each in providers)
    return {
        "status": "degraded" if is_degraded else "ok",
        "queued": queue["queued"],
        "in_doubt": queue["in_doubt"],
        "oldest_due_s": oldest_s,
        "redis_away": overseeing.is_redis_away(),
        "providers": providers,
    }


def _queue(now: datetime) -> dict[str, Any]:
    """Return what counts all queued messages, at most FRESH_S old; without Redis, counted now."""
    try:
        known: dict[str, Any] | None = cache.get("status:queue")
        if known is None:
            known = _count_queue(now)
            cache.set("status:queue", known, FRESH_S)
    except RedisError:
        return _count_queue(now)
    return known


def _count_queue(now: datetime) -> dict[str, Any]:
    queued = Message.objects.filter(status=Message.Status.QUEUED, campaign__status="sending")
    return {
        "queued": queued.count(),
        "oldest": queued.filter(due_at__lte=now).aggregate(oldest=Min("due_at"))["oldest"],
        "in_doubt": Message.objects.filter(status=Message.Status.UNKNOWN).count(),
    }


def health_of(account: ProviderAccount, now: datetime) -> dict[str, Any]:
    """Return an account's last hour: calls, messages accepted, refused and doubtful calls, latency.

    `latency_s` is the mean time of a call that was answered, None without one. What our own dead
    workers left is neither the provider's refusal nor its slowness.
    """
    status = Handoff.Status
    took = ExpressionWrapper(F("finished_at") - F("in_flight_at"), output_field=DurationField())
    recent = Handoff.objects.filter(provider=account, started_at__gt=now - HEALTH_WINDOW)
    row = recent.aggregate(
        calls=Count("pk"),
        accepted=Sum("accepted"),
        refused=Count("pk", filter=Q(status=status.REFUSED, in_flight_at__isnull=False)),
        in_doubt=Count("pk", filter=Q(status=status.UNKNOWN)),
        took=Avg(took, filter=~Q(status=status.UNKNOWN)),
    )
    latency = row.pop("took")
    return {
        **row,
        "accepted": row["accepted"] or 0,
        "latency_s": latency.total_seconds() if latency else None,
        "cooling": account.is_broken,
    }


def volumes(since: datetime) -> dict[int, Totals]:
    """Return account -> what became of the mail it has carried since then."""
    rows = CampaignStat.objects.filter(hour__gte=since).order_by().values("provider_id")
    sums = {f"sum_{name}": Sum(name) for name in COUNTERS}
    return {
        row["provider_id"]: Totals(**{name: row[f"sum_{name}"] or 0 for name in COUNTERS})
        for row in map(dict[str, Any], rows.annotate(**sums))
    }


def is_ready() -> bool:
    """Say whether the database answers."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        return bool(cursor.fetchone() == (1,))


def _accounts() -> list[ProviderAccount]:
    return list(ProviderAccount.objects.defer("secrets"))


def _plain(account: ProviderAccount, health: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": account.pk,
        "name": account.name,
        "kind": account.kind,
        "status": account.status,
        "last_error": account.last_error,
        "circuit": account.circuit,
        "circuit_since": account.circuit_since,
        "circuit_reason": account.circuit_reason,
        "tried_again_at": account.cooling_until if account.is_broken else None,
        **health,
    }
