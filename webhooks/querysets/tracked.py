"""Own events in sets."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple

from django.db import connection, models
from django.db.models import Count, Sum

if TYPE_CHECKING:
    from webhooks.models import Tracked

_KEEP = """
INSERT INTO webhooks_tracked
    (event_id, campaign_id, type, occurred_at, via, name, value, currency, properties)
SELECT e.id, e.campaign_id, e.type, e.occurred_at, t.via, t.name, t.value, t.currency, t.properties
FROM json_to_recordset(%s) AS t (
    dedupe_key text, via text, name text, value numeric, currency text, properties jsonb)
JOIN webhooks_event e ON e.account_id IS NULL AND e.dedupe_key = t.dedupe_key
JOIN webhooks_fresh f ON f.account_id IS NULL AND f.dedupe_key = t.dedupe_key
ON CONFLICT DO NOTHING
"""


class Carried(NamedTuple):
    """What an event carries. `value` in units of `currency`."""

    dedupe_key: str
    via: str
    name: str
    value: Decimal | None
    currency: str
    properties: dict[str, Any]


class TrackedQuerySet(models.QuerySet["Tracked"]):
    def keep(self, rows: Sequence[Carried]) -> None:
        """Store what those events carry that the batch under way has just brought in."""
        told = json.dumps([row._asdict() for row in rows], default=str)
        with connection.cursor() as cursor:
            cursor.execute(_KEEP, [told])

    def conversions(self, campaign: int) -> list[dict[str, Any]]:
        """Return [{"name", "currency", "count", "value"}] of a campaign, the most first."""
        rows = self.filter(type="converted", campaign_id=campaign).order_by()
        counted = rows.values("name", "currency").annotate(count=Count("pk"), value=Sum("value"))
        return [{**row} for row in counted.order_by("-count", "name", "currency")]

    def converted_at(self, since: datetime, until: datetime) -> models.QuerySet[Tracked]:
        """Conversions of a time."""
        return self.filter(type="converted", occurred_at__gte=since, occurred_at__lt=until)
