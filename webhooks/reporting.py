"""What events say about a campaign: which links, which bounces. Read by the campaigns' index."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from django.core.cache import cache
from django.db.models import Count, F, Q, Sum
from redis.exceptions import RedisError

from campaigns.models import Campaign
from delivery.models import ProviderAccount
from delivery.providers.base import EventType
from webhooks import finding
from webhooks.models import AnonymousCount, Event, RawRequest, WebhookCount
from webhooks.querysets import Lag

MOST = 10
FRESH_S = 15


class Link(NamedTuple):
    url: str
    people: int
    """At least; `unsure` are those of whom nobody can tell."""
    unsure: int
    machines: int


class Bounce(NamedTuple):
    bounce_class: str
    reason: str
    people: int


class Nameless(NamedTuple):
    """What is known of a campaign that tells nobody apart: how often, not by how many."""

    opens: int
    opens_by_machine: int
    clicks: int
    clicks_by_machine: int


def nameless(campaign: Campaign) -> Nameless:
    """Return how often an anonymous campaign was opened and clicked."""
    rows = AnonymousCount.objects.filter(campaign_id=campaign.pk).order_by()
    is_open = Q(number=AnonymousCount.OPENS)
    found = rows.aggregate(
        opens=Sum("people", filter=is_open),
        opens_by_machine=Sum("machines", filter=is_open),
        clicks=Sum("people", filter=~is_open),
        clicks_by_machine=Sum("machines", filter=~is_open),
    )
    return Nameless(**{name: value or 0 for name, value in found.items()})


def nameless_links(campaign: Campaign) -> list[Link]:
    """Return the links of an anonymous campaign by clicks: times, not people."""
    rows = AnonymousCount.objects.filter(campaign_id=campaign.pk, number__gt=0).order_by()
    counted = rows.values("number").annotate(all=Sum("people"), mechanical=Sum("machines"))
    best = counted.order_by("-all", "-mechanical", "number")[:MOST]
    urls = dict(campaign.links.values_list("number", "url"))
    return [Link(urls.get(row["number"], ""), row["all"], 0, row["mechanical"]) for row in best]


def top_links(campaign: Campaign) -> list[Link]:
    """Return the links most people clicked, at most FRESH_S old; machines are counted apart."""
    key = f"links-by-whom:{campaign.pk}"
    known: list[Link] | None = cache.get(key)
    if known is None:
        known = _top_links(campaign.pk)
        cache.set(key, known, FRESH_S)
    return known


def _top_links(campaign: int) -> list[Link]:
    clicks = Event.objects.filter(campaign_id=campaign, type=EventType.CLICKED).exclude(url="")
    rows = clicks.order_by().values(link=F("url"))
    counted = rows.annotate(
        people=_messages(Q(is_machine=False)),
        both=_messages(Q(is_machine=False) | Q(is_machine=None)),
        machines=_messages(Q(is_machine=True)),
    )
    best = counted.order_by("-people", "-both", "-machines", "link")[:MOST]
    return [
        Link(row["link"], row["people"], row["both"] - row["people"], row["machines"])
        for row in best
    ]


def _messages(of: Q) -> Count:
    return Count("message_id", distinct=True, filter=of)


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


LAG_OF = 10_000
"""Requests, the last, whose lag is told."""
SLOW_AFTER = timedelta(seconds=60)


def stats(now: datetime, span: timedelta) -> dict[str, Any]:
    """Return what came in the last `span`, by account, and how late it was applied."""
    counted = requests_since(now - span)
    lags = {lag.account: lag for lag in RawRequest.objects.lags(now - span, LAG_OF)}
    accounts = ProviderAccount.objects.defer("secrets", "config").order_by("pk")
    rows = [
        {"account": each.name, "kind": each.kind, **_counts(counted.get(each.pk, {}))}
        | _lag(lags.get(each.pk), each.last_heard_at)
        for each in accounts
    ]
    return {"waiting": waiting(), "accounts": rows, "silent": _silent(now)}


def _silent(now: datetime) -> list[dict[str, Any]]:
    """Return what was accepted and never reported on, lane by lane, the worst first."""
    return [
        {
            "account": gap.account.name,
            "stream": gap.stream,
            "mailbox": gap.mailbox,
            "sent": gap.sent,
            "silent": gap.silent,
        }
        for gap in finding.gaps(now)
    ]


def _counts(by_outcome: Mapping[str, int]) -> dict[str, int]:
    kinds = WebhookCount.Outcome
    told, new = by_outcome.get(kinds.EVENTS, 0), by_outcome.get(kinds.NEW, 0)
    late = by_outcome.get(kinds.LATE, 0)
    return {
        "received": by_outcome.get(kinds.STORED, 0) + late,
        "applied": by_outcome.get(kinds.APPLIED, 0),
        "late": late,
        "forged": by_outcome.get(kinds.FORGED, 0),
        "repeated": by_outcome.get(kinds.REPEATED, 0),
        "unparsable": by_outcome.get(kinds.UNPARSABLE, 0),
        "failed": by_outcome.get(kinds.FAILED, 0),
        "events": told,
        "events_applied": new,
        "events_duplicate": told - new,
    }


def _lag(lag: Lag | None, heard_at: datetime | None) -> dict[str, Any]:
    return {
        "lag_p50_s": round(lag.p50_s, 3) if lag else None,
        "lag_max_s": round(lag.max_s, 3) if lag else None,
        "last_heard_at": heard_at.isoformat() if heard_at else None,
    }


def health(now: datetime) -> dict[str, Any]:
    """Return how applying is doing, at most FRESH_S old; without Redis, counted now."""
    try:
        known: dict[str, Any] | None = cache.get("webhooks:health")
        if known is None:
            known = _health(now)
            cache.set("webhooks:health", known, FRESH_S)
    except RedisError:
        return _health(now)
    return known


def _health(now: datetime) -> dict[str, Any]:
    queue = RawRequest.objects.queue(now)
    lag = now - queue.oldest_due if queue.oldest_due else timedelta(0)
    day = WebhookCount.objects.filter(hour__gt=now - timedelta(hours=24), account__isnull=False)
    kinds = WebhookCount.Outcome
    ended = dict(day.order_by().values_list("outcome").annotate(total=Sum("requests")))
    return {
        "status": "degraded" if lag > SLOW_AFTER else "ok",
        "lag_s": round(lag.total_seconds(), 1),
        "queue": {
            "waiting": max(0, queue.waiting - queue.active),
            "active": queue.active,
            "completed": ended.get(kinds.APPLIED, 0),
            "failed": ended.get(kinds.FAILED, 0) + ended.get(kinds.UNPARSABLE, 0),
        },
    }


def waiting() -> int:
    """Return how many stored requests wait to be applied."""
    return RawRequest.objects.filter(status=RawRequest.Status.PENDING).count()
