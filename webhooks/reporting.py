"""What events say about a campaign: which links, which bounces. Read by the campaigns' index."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from django.conf import settings
from django.core.cache import cache
from django.db.models import Case, Count, F, Q, Sum, TextField, Value, When

from campaigns.models import Campaign
from delivery.providers.base import EventType
from webhooks.models import Event, RawRequest, WebhookCount

MOST = 10
UNSUBSCRIBE = "The unsubscribe link"
FRESH_S = 15


class Link(NamedTuple):
    url: str
    people: int
    machines: int


class Bounce(NamedTuple):
    bounce_class: str
    reason: str
    people: int


def top_links(campaign: Campaign) -> list[Link]:
    """Return the links most people clicked, at most FRESH_S old; machines are counted apart."""
    key = f"links:{campaign.pk}"
    known: list[Link] | None = cache.get(key)
    if known is None:
        known = _top_links(campaign.pk)
        cache.set(key, known, FRESH_S)
    return known


def _top_links(campaign: int) -> list[Link]:
    clicks = Event.objects.filter(campaign_id=campaign, type=EventType.CLICKED).exclude(url="")
    # Everybody's unsubscribe link is another: together they are one.
    leaving = When(url__startswith=f"{settings.PUBLIC_URL}/u/", then=Value(UNSUBSCRIBE))
    rows = clicks.order_by().values(link=Case(leaving, default=F("url"), output_field=TextField()))
    by_machine = Q(is_machine=True)
    counted = rows.annotate(
        people=Count("message_id", distinct=True, filter=~by_machine | Q(is_machine=None)),
        machines=Count("message_id", distinct=True, filter=by_machine),
    )
    best = counted.order_by("-people", "-machines", "link")[:MOST]
    return [Link(row["link"], row["people"], row["machines"]) for row in best]


def bounce_reasons(campaign: Campaign) -> list[Bounce]:
    """Return why mails bounced, as providers said it, the most frequent first."""
    bounced = Event.objects.filter(campaign_id=campaign.pk, type=EventType.BOUNCED)
    rows = bounced.order_by().values("bounce_class", "reason")
    counted = rows.annotate(people=Count("message_id", distinct=True))
    return [Bounce(**row) for row in counted.order_by("-people", "reason")[:MOST]]


def requests_since(hour: datetime) -> dict[int | None, dict[str, int]]:
    """Return account -> outcome -> how many requests came since then; None: no account's URL."""
    rows = WebhookCount.objects.filter(hour__gte=hour).order_by()
    counted: dict[int | None, dict[str, int]] = {}
    for account, outcome, total in rows.values_list("account", "outcome").annotate(
        total=Sum("requests")
    ):
        counted.setdefault(account, {})[outcome] = total
    return counted


def waiting() -> int:
    """Return how many stored requests wait to be applied."""
    return RawRequest.objects.filter(status=RawRequest.Status.PENDING).count()
