"""Counts and rates of campaigns and providers, for the admin, the API and the terminal.

People, not events: a person who opens ten times is one. Machines are counted apart.
Cheap at any size: sums of hourly counters, and partial indexes for what went wrong.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Count, F, Sum

from campaigns.models import Campaign
from delivery import resending
from delivery.models import CampaignStat, Expansion, Handoff, Message

RATE_WINDOW = timedelta(seconds=20)
"""Over how long the current speed is measured."""


@dataclass(frozen=True, slots=True)
class Totals:
    """What became of sent messages: people per outcome.

    `opened` are all that were not certainly a machine's alone, `person_opened` those of them that
    a person certainly did; between the two it is unsure. Likewise for clicks.
    """

    sent: int = 0
    delivered: int = 0
    deferred: int = 0
    bounced: int = 0
    soft_bounced: int = 0
    dropped: int = 0
    opened: int = 0
    person_opened: int = 0
    machine_opened: int = 0
    clicked: int = 0
    person_clicked: int = 0
    machine_clicked: int = 0
    unsubscribed: int = 0
    complained: int = 0

    @property
    def untold(self) -> int:
        """Sent, and nobody has told yet what became of them: the rest, so that the sum is right."""
        told = self.delivered + self.bounced + self.soft_bounced + self.dropped
        return max(self.sent - told, 0)

    @property
    def unsure_opened(self) -> int:
        """Opened by somebody of whom cannot be told whether it was a person."""
        return max(self.opened - self.person_opened, 0)

    @property
    def unsure_clicked(self) -> int:
        return max(self.clicked - self.person_clicked, 0)

    def rate(self, name: str) -> float | None:
        """Return a count as a share of what it can be a share of; None of nothing.

        Delivered and bounced are shares of sent, the rest of delivered.
        """
        is_of_sent = name in {"delivered", "deferred", "bounced", "soft_bounced", "dropped"}
        whole = self.sent if is_of_sent else self.delivered
        count: int = getattr(self, name)
        return count / whole if whole else None


COUNTERS = tuple(each.name for each in fields(Totals))


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a campaign has got, in messages."""

    total: int
    is_complete: bool
    """Everybody in the audience has a message; before, `total` still grows."""
    sent: int
    failed: int
    unknown: int
    """In doubt, whether for a minute or for good."""
    unconfirmed: int
    """Of those, for so long that no evidence is expected any more."""
    left_out: int
    """At the last moment."""
    mailed_often: int
    held_out: int
    """Left out at the start, by a cap or by chance; no part of `total`."""
    expired: int
    recoverable: int
    """Failed or expired, and may arrive if they are tried again."""
    queued: int
    """Waiting, or being handed over."""
    per_second: float
    seconds_left: float | None
    reasons: dict[str, int] = field(default_factory=dict)
    """Why messages failed, were left out or are in doubt -> how many."""

    @property
    def decided(self) -> int:
        return self.total - self.queued

    @property
    def in_doubt(self) -> int:
        """May still be settled by what a provider tells."""
        return self.unknown - self.unconfirmed

    @property
    def share(self) -> float:
        return self.decided / self.total if self.total else 0.0


def totals(campaign: Campaign) -> Totals:
    """Return what became of a campaign's messages."""
    return _totals(CampaignStat.objects.filter(campaign=campaign).aggregate(**_sums()))


def totals_by(campaign: Campaign, column: str) -> dict[str, Totals]:
    """Return the totals per `provider__name`, `mailbox` or `hour`: largest first, hours in turn."""
    rows = CampaignStat.objects.filter(campaign=campaign).order_by().values(column)
    grouped = {str(row.pop(column)): _totals(row) for row in rows.annotate(**_sums())}
    if column == "hour":
        return dict(sorted(grouped.items()))
    return dict(sorted(grouped.items(), key=lambda item: -item[1].sent))


def progress(campaign: Campaign, now: datetime) -> Progress:
    """Return how far a campaign has got, how fast it goes, and when it will be done."""
    expansion = Expansion.objects.filter(campaign=campaign).first()
    total = expansion.queued if expansion else 0
    sent = totals(campaign).sent
    problems, reasons, recoverable = _problems(campaign)
    status = Message.Status
    unknown = problems.get(status.UNKNOWN, 0)
    often, held_out = (expansion.mailed_often, expansion.held_out) if expansion else (0, 0)
    decided = sent + sum(problems.values()) - often - held_out
    is_over = campaign.status == Campaign.Status.CANCELLED
    queued = 0 if is_over else max(0, total - decided)
    speed = speed_of(campaign, now)
    return Progress(
        total=total,
        is_complete=bool(expansion and expansion.done_at),
        sent=sent,
        failed=problems.get(status.FAILED, 0),
        unknown=unknown,
        unconfirmed=min(unknown, _unconfirmed(campaign, now)) if unknown else 0,
        left_out=max(0, problems.get(status.SKIPPED, 0) - often - held_out),
        mailed_often=often,
        held_out=held_out,
        expired=problems.get(status.EXPIRED, 0),
        recoverable=recoverable,
        queued=queued,
        per_second=speed,
        seconds_left=queued / speed if speed else None,
        reasons=reasons,
    )


def speed_of(campaign: Campaign, now: datetime) -> float:
    """Return messages accepted per second, over the last RATE_WINDOW or since the start."""
    if campaign.status != Campaign.Status.SENDING or campaign.launched_at is None:
        return 0.0
    since = max(now - RATE_WINDOW, campaign.launched_at)
    recent = Handoff.objects.filter(campaign=campaign, finished_at__gt=since)
    accepted: int = recent.aggregate(sum=Sum("accepted"))["sum"] or 0
    return accepted / max((now - since).total_seconds(), 1.0)


def usual_speed() -> float | None:
    """Return messages per second of the campaign finished last, None before the first."""
    last = Campaign.objects.over().order_by("-finished_at").first()
    if last is None or last.launched_at is None or last.finished_at is None:
        return None
    took = (last.finished_at - last.launched_at).total_seconds()
    return totals(last).sent / max(took, 1.0) or None


def totals_of(campaigns: Collection[int]) -> dict[int, Totals]:
    """Return campaign -> totals, in one statement; those without numbers have zeros."""
    rows = CampaignStat.objects.filter(campaign__in=campaigns).order_by().values("campaign_id")
    counted = {row["campaign_id"]: _totals({**row}) for row in rows.annotate(**_sums())}
    return {pk: counted.get(pk, Totals()) for pk in campaigns}


def totals_by_hour(since: datetime) -> dict[datetime, Totals]:
    """Return the totals of all mail per hour from `since` on, in order."""
    rows = CampaignStat.objects.filter(hour__gte=since).order_by("hour").values("hour")
    return {row["hour"]: _totals({**row}) for row in rows.annotate(**_sums())}


def in_flight(campaign: Campaign) -> int:
    """Return how many calls to providers are under way."""
    status = Handoff.Status
    rows = Handoff.objects.filter(
        campaign=campaign, status__in=[status.PREPARING, status.IN_FLIGHT]
    )
    return rows.count()


def _problems(campaign: Campaign) -> tuple[dict[str, int], dict[str, int], int]:
    """Return messages per status that is not sent, per reason, and how many are recoverable."""
    status = Message.Status
    troubled = [status.FAILED, status.UNKNOWN, status.SKIPPED, status.EXPIRED]
    rows = Message.objects.filter(campaign=campaign, status__in=troubled).order_by()
    by_status: dict[str, int] = {}
    by_reason: dict[str, int] = {}
    recoverable = 0
    groups = rows.values_list("status", "error", "fault").annotate(count=Count("pk"))
    for each, reason, fault, count in groups:
        by_status[each] = by_status.get(each, 0) + count
        by_reason[reason] = by_reason.get(reason, 0) + count
        is_dead = each in {status.FAILED, status.EXPIRED}
        recoverable += count if is_dead and fault != Message.Fault.ADDRESS else 0
    most = dict(sorted(by_reason.items(), key=lambda item: -item[1])[:20])
    return by_status, most, recoverable


def _unconfirmed(campaign: Campaign, now: datetime) -> int:
    return resending.unconfirmed(campaign, now).count()


def _sums() -> dict[str, Sum]:
    return {f"total_{name}": Sum(F(name)) for name in COUNTERS}


def _totals(row: dict[str, Any]) -> Totals:
    return Totals(**{name: row[f"total_{name}"] or 0 for name in COUNTERS})


def add(parts: Iterable[Totals]) -> Totals:
    """Return the sum of several totals."""
    columns = list(parts)
    return Totals(**{name: sum(getattr(each, name) for each in columns) for name in COUNTERS})
