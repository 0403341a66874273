"""Who had enough campaigns lately: `delivery.apps` tells campaigns, which know nothing of mail."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Count, QuerySet

from campaigns import targeting
from campaigns.models import Campaign
from delivery.models import Expansion, Message

HOLDOUT = "holdout"
"""What a message says of somebody who is held out by chance."""


def often_mailed(cap: Mapping[str, int], at: datetime) -> QuerySet[Any, Any]:
    """Return the keys of people who had `cap["mails"]` campaigns in the days before `at`."""
    rows = Message.objects.of_campaigns_since(at - timedelta(days=cap["days"]))
    counted = rows.order_by().values("subscriber").annotate(times=Count("pk"))
    return counted.filter(times__gte=cap["mails"]).values("subscriber")


def set_aside(campaign: Campaign, expansion: Expansion, span: tuple[int, int]) -> None:
    """Write down for a range of people (after, up to) who gets nothing, and add it up.

    Each has a message that says why; the audience then passes them over, since a person has one
    message per campaign. Whoever is there already, from a try before, stays what they were.
    """
    choice = campaign.audience
    people = targeting.reachable(choice).filter(pk__gt=span[0], pk__lte=span[1])
    if "cap" in choice:
        at = datetime.fromisoformat(choice["frozen_at"])
        expansion.mailed_often += Message.objects.set_aside_often(
            campaign, people, span, choice["cap"], at
        )
    if "holdout" in choice:
        people = targeting.held_out(choice).filter(pk__gt=span[0], pk__lte=span[1])
        expansion.held_out += Message.objects.set_aside(campaign, people, HOLDOUT)
