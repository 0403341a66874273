"""How mailboxes and calls have treated an account lately: its reputation, 0 to 100."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db import connection
from django.db.models import Sum

from delivery import routing_statements, scoring
from delivery.models import ProviderReputation
from delivery.scoring import Traffic

WINDOW = timedelta(days=7)
"""What a reputation looks back on."""
COUNTED_ANEW = timedelta(hours=48)
"""What came back late, a bounce or a complaint, is found within this time."""
CALLS_END_WITHIN = timedelta(hours=2)
KEPT_FOR = timedelta(days=90)
_COUNTERS = ("sent", "bounced", "complained", "deferred", "calls", "failed_calls")


def rate_accounts(now: datetime) -> dict[int, float]:
    """Count the last days, and write each account's reputation for this hour; return them."""
    hour = now.replace(minute=0, second=0, microsecond=0)
    rows = ProviderReputation.objects.all()
    rows.filter(hour__lt=hour - KEPT_FOR).delete()
    is_first = not rows.exists()
    facts = {
        "since": hour - (WINDOW if is_first else COUNTED_ANEW),
        "calls_since": hour - (WINDOW if is_first else CALLS_END_WITHIN),
    }
    with connection.cursor() as cursor:
        cursor.execute(routing_statements.REPUTATION, facts)
    scores = {pk: scoring.reputation(each) for pk, each in traffic(now).items()}
    ProviderReputation.objects.bulk_create(
        [ProviderReputation(provider_id=pk, hour=hour, score=each) for pk, each in scores.items()],
        update_conflicts=True,
        update_fields=["score"],
        unique_fields=["provider", "hour"],
    )
    return scores


def traffic(now: datetime) -> dict[int, Traffic]:
    """Return account -> what it did within WINDOW, of those that did anything."""
    rows = ProviderReputation.objects.filter(hour__gt=now - WINDOW).order_by()
    sums = rows.values_list("provider").annotate(*(Sum(name) for name in _COUNTERS))
    return {pk: Traffic(**dict(zip(_COUNTERS, numbers, strict=True))) for pk, *numbers in sums}


def latest(now: datetime) -> dict[int, float]:
    """Return account -> its last known reputation; one that has sent nothing has none."""
    rows = ProviderReputation.objects.filter(hour__gt=now - WINDOW, score__isnull=False)
    newest = rows.order_by("provider", "-hour").distinct("provider")
    return {pk: score or 0.0 for pk, score in newest.values_list("provider", "score")}


def curves(now: datetime) -> dict[int, list[tuple[datetime, float]]]:
    """Return account -> (hour, reputation) over WINDOW, oldest first."""
    rows = ProviderReputation.objects.filter(hour__gt=now - WINDOW, score__isnull=False)
    found: dict[int, list[tuple[datetime, float]]] = {}
    for pk, hour, score in rows.order_by("hour").values_list("provider", "hour", "score"):
        found.setdefault(pk, []).append((hour, score or 0.0))
    return found
