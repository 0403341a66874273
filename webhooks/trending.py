"""How mail and audience went over time: per hour, day or week of somebody's own time zone.

Sums of the hourly counters of campaigns (a row per campaign, account, mailbox and hour, however
many events there are), and people by the index of when they came. In zones that are not whole hours
from UTC an hour belongs to the day it begins in.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from django.db.models import Count, F, Q, QuerySet, Sum
from django.db.models.functions import Trunc

from campaigns.models import Campaign
from delivery.models import CampaignStat
from delivery.reports import COUNTERS
from emailplatform.errors import InvalidInput
from subscribers.models import Subscriber, Subscription
from webhooks.models import Tracked

PERIODS = {"hour": timedelta(hours=1), "day": timedelta(days=1), "week": timedelta(weeks=1)}
MOST = 1_000
"""Points of one answer."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What is asked: [since, until), of all mail or part of it."""

    since: datetime
    until: datetime
    period: str
    zone: ZoneInfo
    campaign: int | None = None
    list: int | None = None
    mailbox: str = ""


def trends(wish: Wish) -> list[dict[str, Any]]:
    """Return a point per period, in order, none left out: {"start", counter: number, …}.

    `added` and `left` are people; with a campaign they are None, since nobody belongs to one.
    Raises InvalidInput for more than MOST points.
    """
    starts = _starts(wish)
    mail, converted = _mail(wish), _converted(wish)
    added, left = ({}, {}) if wish.campaign else (_added(wish), _left(wish))
    none = dict.fromkeys(COUNTERS, 0)
    return [
        {
            "start": start,
            **mail.get(key, none),
            "converted": converted.get(key, 0),
            "added": None if wish.campaign else added.get(key, 0),
            "left": None if wish.campaign else left.get(key, 0),
        }
        for start in starts
        for key in [start.astimezone(UTC)]  # equal times of one zone may be two moments
    ]


def _starts(wish: Wish) -> list[datetime]:
    if wish.until <= wish.since:
        raise InvalidInput("“until” must be later than “since”.", param="until")
    if (wish.until - wish.since) / PERIODS[wish.period] > MOST:
        raise InvalidInput(
            f"These are more than {MOST} points: ask for a longer period or less time.",
            param="period",
        )
    return list(_counted_off(wish))


def _counted_off(wish: Wish) -> Iterator[datetime]:
    """Yield the beginnings of the periods. Days are as long as clocks there make them."""
    if wish.period == "hour":
        moment = wish.since.replace(minute=0, second=0, microsecond=0)
        while moment < wish.until:
            yield moment.astimezone(wish.zone)
            moment += PERIODS["hour"]
        return
    day = wish.since.astimezone(wish.zone).date()
    if wish.period == "week":
        day -= timedelta(days=day.weekday())
    start = datetime.combine(day, time(), tzinfo=wish.zone)
    while start < wish.until:
        yield start
        day += PERIODS[wish.period]
        start = datetime.combine(day, time(), tzinfo=wish.zone)


def _truncated(column: str, wish: Wish) -> Trunc:
    # Counters have whole hours of UTC; and where clocks are put back an hour comes twice.
    return Trunc(column, wish.period, tzinfo=UTC if wish.period == "hour" else wish.zone)


def _mail(wish: Wish) -> dict[datetime, dict[str, int]]:
    rows = CampaignStat.objects.filter(hour__gte=_first(wish), hour__lt=wish.until)
    if wish.campaign:
        rows = rows.filter(campaign=wish.campaign)
    if wish.list:
        rows = rows.filter(campaign__in=_campaigns_of(wish.list))
    if wish.mailbox:
        rows = rows.filter(mailbox=wish.mailbox)
    grouped = rows.order_by().annotate(start=_truncated("hour", wish)).values("start")
    sums: Iterable[Any] = grouped.annotate(**{f"total_{name}": Sum(F(name)) for name in COUNTERS})
    return {
        row["start"].astimezone(UTC): {name: row[f"total_{name}"] or 0 for name in COUNTERS}
        for row in sums
    }


def _first(wish: Wish) -> datetime:
    """Return the beginning of the first period: points are whole."""
    return next(_counted_off(wish))


def _campaigns_of(mailing_list: int) -> QuerySet[Any]:
    """Return the campaigns that go, or went, to a list."""
    frozen = Q(audience__lists__contains=[mailing_list])
    return Campaign.objects.filter(frozen | Q(lists=mailing_list)).values("pk")


def _converted(wish: Wish) -> dict[datetime, int]:
    rows: QuerySet[Any] = Tracked.objects.converted_at(_first(wish), wish.until)
    if wish.campaign:
        rows = rows.filter(campaign_id=wish.campaign)
    if wish.list:
        rows = rows.filter(campaign_id__in=_campaigns_of(wish.list))
    return _counts(rows, "occurred_at", wish)


def _added(wish: Wish) -> dict[datetime, int]:
    """Count who came: to the list, or at all."""
    if wish.list:
        rows: QuerySet[Any] = Subscription.objects.filter(list=wish.list)
        return _counts(_of_mailbox(rows, "subscriber__", wish), "created_at", wish)
    return _counts(_of_mailbox(Subscriber.objects.all(), "", wish), "created_at", wish)


def _left(wish: Wish) -> dict[datetime, int]:
    """Count who left: the list, or everything, whatever the reason. Who came back did not leave."""
    if wish.list:
        gone: QuerySet[Any] = Subscription.objects.filter(
            list=wish.list, status=Subscription.Status.UNSUBSCRIBED
        )
        return _counts(_of_mailbox(gone, "subscriber__", wish), "changed_at", wish)
    status = Subscriber.Status
    closed = Subscriber.objects.exclude(status=status.ACTIVE).exclude(status=status.PENDING)
    return _counts(_of_mailbox(closed, "", wish), "status_changed_at", wish)


def _of_mailbox(rows: QuerySet[Any], path: str, wish: Wish) -> QuerySet[Any]:
    return rows.filter(**{f"{path}mailbox": wish.mailbox}) if wish.mailbox else rows


def _counts(rows: QuerySet[Any], column: str, wish: Wish) -> dict[datetime, int]:
    within = {f"{column}__gte": _first(wish), f"{column}__lt": wish.until}
    rows = rows.filter(**within).order_by().annotate(start=_truncated(column, wish))
    grouped = rows.values("start").annotate(count=Count("pk")).values_list("start", "count")
    return {start.astimezone(UTC): count for start, count in grouped}
