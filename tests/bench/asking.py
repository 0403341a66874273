"""Counts of segments of five conditions, over everybody there is, as the builder asks for them."""

from __future__ import annotations

import time
from statistics import median
from typing import Any

from django.db import connection
from django.utils import timezone

from campaigns.models import Campaign
from subscribers import segmenting
from subscribers.models import Engagement, MailingList
from tests.bench.table import Table
from webhooks import feeling

BUDGET_MS = 300
ROUNDS = 7
"""Counts that count, after two that warm up."""
_TABLES = ("subscriber", "subscription", "suppression", "engagement")


def measure(table: Table) -> None:
    """Bring the sums per person up to date, then count; the middle of the times counts."""
    if not Engagement.objects.exists():
        for _ in feeling.rebuild(timezone.now(), is_check=False):
            pass
    with connection.cursor() as cursor:
        for name in _TABLES:
            cursor.execute(f"VACUUM ANALYZE subscribers_{name}")
    for name, rules in _segments().items():
        found = [_count(rules) for _ in range(ROUNDS + 2)][2:]
        times = [spent for spent, _people in found]
        note = f"{found[0][1]:,} people; worst {max(times):.0f}; budget {BUDGET_MS}"
        table.add(f"segment_ms_{name}", median(times), "ms", note)


def _count(rules: dict[str, Any]) -> tuple[float, int]:
    started = time.perf_counter()
    count = segmenting.count(rules)
    return (time.perf_counter() - started) * 1000, count


def _segments() -> dict[str, dict[str, Any]]:
    newsletter = MailingList.objects.get(name="Newsletter").pk
    launched = Campaign.objects.filter(launched_at__isnull=False)
    campaign = launched.latest("launched_at").pk
    lately = _rule("opened", "in_last_days", 30)
    return {
        "engaged": _all(
            lately,
            _rule("clicked", "not_in_last_days", 30),
            _rule("score", ">", 30),
            _rule("stage", "is", "active"),
            _rule("country", "is_not", "DE"),
        ),
        "mixed": _all(
            _rule("language", "is", "de"),
            _rule("attributes.plan", "is", "pro"),
            _rule("opened", "in_last_days", 90),
            _rule("score", ">=", 20),
            _rule("list", "is", newsletter),
        ),
        "lapsed": _all(
            _rule("received", "in_last_days", 90),
            _rule("opened", "not_in_last_days", 180),
            _rule("list", "is", newsletter),
            _rule("created", "not_in_last_days", 365),
            _rule("mailbox", "is_not", "apple"),
        ),
        "any_of": _all(
            _rule("list", "is", newsletter),
            {
                "match": "any",
                "rules": [lately, _rule("tag", "has", "vip"), _rule("clicked", "in_last_days", 90)],
            },
            _rule("mailbox", "is", "gmail"),
        ),
        "of_a_campaign": _all(
            _rule("campaign", "received", campaign),
            _rule("campaign", "not_opened", campaign),
            _rule("language", "is_one_of", ["de", "en"]),
            _rule("opened", "in_last_days", 90),
            _rule("attributes.points", ">", 500),
        ),
    }


def _rule(field: str, op: str, value: Any) -> dict[str, Any]:
    return {"field": field, "op": op, "value": value}


def _all(*rules: dict[str, Any]) -> dict[str, Any]:
    return {"match": "all", "rules": list(rules)}
