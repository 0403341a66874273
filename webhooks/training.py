"""Who will do nothing for 90 days: a model fitted to our own past, tried on a later time.

People are looked at as of two days: 180 days ago to learn from, 90 days ago to be tested on. Those
who got mail in the 90 days after each day count; it happened to those who neither opened, clicked,
replied nor bought in them. The held-out 90 days lie after everything the model has seen.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.db import connection

from subscribers import fitting
from subscribers.fitting import Metrics
from subscribers.models import ChurnModel
from subscribers.score_statements import FEATURES

AHEAD = timedelta(days=90)
SAMPLE = 20_000
"""People looked at per day: seconds, and enough for seven numbers."""
LEAST_EACH = 100
"""So many to whom it happened, and so many others, are needed on both days."""
LEAST_AUC = 0.65

_KNOWN_BY = """
WITH chosen AS (
    SELECT e.subscriber_id FROM subscribers_engagement e
    WHERE e.first_received_at < %(now)s
    ORDER BY hashint8(e.subscriber_id) LIMIT %(sample)s
)
SELECT {features}, (after.signs = 0)::integer
FROM chosen
CROSS JOIN LATERAL (
    SELECT count(*) FILTER (WHERE m.delivered_at < %(now)s) AS received,
        count(*) FILTER (WHERE m.opened_at < %(now)s) AS opened,
        count(*) FILTER (WHERE m.clicked_at < %(now)s) AS clicked,
        min(m.delivered_at) FILTER (WHERE m.delivered_at < %(now)s) AS first_received_at,
        count(*) FILTER (WHERE m.delivered_at >= %(now)s AND m.delivered_at < %(until)s) AS coming
    FROM delivery_message m WHERE m.subscriber_id = chosen.subscriber_id
) AS mail
CROSS JOIN LATERAL (
    SELECT max(v.occurred_at) FILTER (WHERE v.occurred_at < %(now)s) AS sign_at,
        count(*) FILTER (WHERE v.occurred_at >= %(now)s AND v.occurred_at < %(until)s) AS signs
    FROM webhooks_event v
    WHERE v.subscriber_id = chosen.subscriber_id AND (
        v.type IN ('replied', 'converted')
        OR (v.type IN ('opened', 'clicked') AND v.is_machine IS NOT TRUE))
) AS after
WHERE mail.received > 0 AND mail.coming > 0
"""


def train(now: datetime) -> ChurnModel:
    """Fit the model, measure it on held-out people, and keep it; vouch for it or say why not."""
    rows, labels = _people(now - 2 * AHEAD)
    held_rows, held_labels = _people(now - AHEAD)
    short = _too_few(labels, "the time to learn from") or _too_few(held_labels, "the time to test")
    if short:
        return ChurnModel.objects.create(trained_at=now, why_not=short)
    weights = fitting.fit(rows, labels)
    chances = [fitting.probability(weights, (1.0, *row)) for row in held_rows]
    metrics = fitting.measure(chances, held_labels, rate=sum(labels) / len(labels))
    why_not = _doubts(metrics)
    return ChurnModel.objects.create(
        trained_at=now,
        coefficients=dict(zip(["constant", *FEATURES], weights, strict=True)),
        metrics={**metrics.as_json(), "learned_from": len(rows)},
        is_vouched=not why_not,
        why_not=why_not,
    )


def _people(day: datetime) -> tuple[list[fitting.Row], list[int]]:
    """Return what was known of a sample of people on that day, and to whom it happened after."""
    given: dict[str, Any] = {"now": day, "until": day + AHEAD, "sample": SAMPLE}
    with connection.cursor() as cursor:
        cursor.execute(_KNOWN_BY.format(features=", ".join(FEATURES.values())), given)
        found = cursor.fetchall()
    return [tuple(map(float, row[:-1])) for row in found], [row[-1] for row in found]


def _too_few(labels: list[int], when: str) -> str:
    yes = sum(labels)
    no = len(labels) - yes
    if min(yes, no) >= LEAST_EACH:
        return ""
    return (
        f"Too little history: of {when}, {yes:,} people fell silent and {no:,} did not;"
        f" at least {LEAST_EACH} of each are needed."
    )


def _doubts(metrics: Metrics) -> str:
    if metrics.auc < LEAST_AUC:
        return f"It hardly tells people apart: AUC {metrics.auc:.2f}, asked is {LEAST_AUC}."
    if metrics.brier >= metrics.brier_of_rate:
        return "Its probabilities are no better than giving everybody the usual share."
    return ""
