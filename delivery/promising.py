"""What is promised of mail by type, whether it was kept, and who is told when it was not.

A mail is late if no provider took it within its type's deadline, from when it was wanted. Each is
looked at once, when its deadline is over. A campaign takes its time; it breaks the promise of the
type “marketing” if nothing of a lane moves for that long, and then counts once, as a whole.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from django.db.models import Count
from django.urls import reverse

from campaigns.models import Campaign
from delivery import alerting
from delivery.models import MessageType, SlaBreach, SlaMark, SlaStat
from delivery.querysets import Stuck, Waiting
from delivery.sla_statements import FINEST_S, STEPS
from emailplatform.formats import number, span
from subscribers.mailboxes import Mailbox

MARKETING = "marketing"
"""The type whose deadline is the campaigns'."""
DAY, WEEK = timedelta(days=1), timedelta(days=7)


class Found(NamedTuple):
    """What one look found."""

    examined: int
    late: int
    stuck: int


@dataclass(frozen=True, slots=True)
class Compliance:
    """How well the promise of a type was kept, of mail wanted in some time."""

    mails: int = 0
    late: int = 0
    p50: timedelta | None = None
    """From when a mail was wanted until a provider had it, of mail that was taken."""
    p95: timedelta | None = None
    p99: timedelta | None = None

    @property
    def in_time(self) -> int:
        return self.mails - self.late


def check(now: datetime) -> Found:
    """Look at all mail whose deadline is over, and raise or resolve the alerts of late mail."""
    _mark_types(now)
    examined, late = SlaBreach.objects.examine(now)
    SlaBreach.objects.settle(now)
    stuck = _check_campaigns(now)
    subjects = [_raise_late(each, now) for each in SlaBreach.objects.alert(now)]
    subjects += [_raise_stuck(each, now) for each in stuck]
    alerting.resolve_others(alerting.SLA, [each for each in subjects if each], now)
    return Found(examined, late, len(stuck))


def compliance(since: datetime) -> dict[int, Compliance]:
    """Return type -> how mail of it did that was wanted since then; by the hour, so cheap."""
    by_type: dict[int, dict[int, tuple[int, int]]] = {}
    for kind, bucket, mails, late in SlaStat.objects.histogram(since):
        by_type.setdefault(kind, {})[bucket] = (mails, late)
    return {kind: _compliance(buckets) for kind, buckets in by_type.items()}


def campaigns_since(since: datetime) -> Compliance:
    """Return how many campaigns were launched since then, and how many stood still."""
    launched = Campaign.objects.filter(launched_at__gte=since)
    late = launched.filter(slabreach__isnull=False).count()
    return Compliance(mails=launched.count(), late=late)


def open_breaches() -> dict[int, int]:
    """Return type -> how many late mails still wait."""
    rows = SlaBreach.objects.filter(closed_at=None).order_by().values_list("type")
    return dict(rows.annotate(Count("pk")))


def _mark_types(now: datetime) -> None:
    """Begin to look at the mail of new types: from now on."""
    new = MessageType.objects.filter(slamark=None)
    marks = [SlaMark(type=kind, examined_until=now - kind.deadline) for kind in new]
    SlaMark.objects.bulk_create(marks, ignore_conflicts=True)


def _check_campaigns(now: datetime) -> list[Stuck]:
    """Write down the campaigns that stand still, each once; return them."""
    kind = MessageType.objects.filter(name=MARKETING).first()
    if kind is None:
        return []
    stuck = SlaBreach.objects.stuck(now - kind.deadline, Mailbox.values)
    open_ones = SlaBreach.objects.filter(campaign__isnull=False, closed_at=None)
    open_ones.exclude(campaign__in=[each.campaign for each in stuck]).update(
        closed_at=now, accepted_at=now
    )
    for each in stuck:
        SlaBreach.objects.get_or_create(
            campaign_id=each.campaign,
            defaults={
                "type": kind,
                "deadline": kind.deadline,
                "wanted_at": each.since,
                "breached_at": each.since + kind.deadline,
            },
        )
    SlaBreach.objects.filter(campaign__in=[each.campaign for each in stuck]).update(
        closed_at=None, accepted_at=None
    )
    return stuck


def _raise_late(waiting: Waiting, now: datetime) -> str:
    """Raise the alert of a type with mail that waits too long; return its subject, "" for none."""
    if not waiting.mails and not waiting.fresh:
        return ""
    limit = span(waiting.alert_after)
    if waiting.mails and waiting.oldest:
        mails = "1 mail waits" if waiting.mails == 1 else f"{number(waiting.mails)} mails wait"
        text = (
            f"{mails} for longer than {limit} until a provider is known to have it, the oldest for"
            f" {span(now - waiting.oldest)}."
        )
    else:
        mails = "1 mail" if waiting.fresh == 1 else f"{number(waiting.fresh)} mails"
        text = f"{mails} had to wait for longer than {limit} until a provider took it."
    payload = {
        "type": waiting.name,
        "waiting": waiting.mails,
        "late": waiting.fresh,
        "url": reverse("admin:delivery_messagetype_changelist"),
    }
    alerting.raise_alert(alerting.SLA, waiting.label, text, payload, now, times=waiting.fresh)
    return waiting.label


def _raise_stuck(stuck: Stuck, now: datetime) -> str:
    lanes = ", ".join(str(Mailbox(each).label) for each in stuck.mailboxes)
    subject = f"{stuck.name} (campaign {stuck.campaign})"
    text = (
        f"No provider has taken mail to {lanes} since {span(now - stuck.since)}, although it is"
        " due. The campaign’s page says why."
    )
    url = reverse("admin:campaigns_campaign_change", args=[stuck.campaign])
    payload = {"campaign": stuck.campaign, "mailboxes": stuck.mailboxes, "url": url}
    alerting.raise_alert(alerting.SLA, subject, text, payload, now, times=0)
    return subject


def _compliance(buckets: Mapping[int, tuple[int, int]]) -> Compliance:
    taken = [(bucket, mails) for bucket, (mails, _late) in sorted(buckets.items()) if bucket]
    return Compliance(
        mails=sum(mails for mails, _late in buckets.values()),
        late=sum(late for _mails, late in buckets.values()),
        **{f"p{share}": _percentile(taken, share / 100) for share in (50, 95, 99)},
    )


def _percentile(taken: list[tuple[int, int]], share: float) -> timedelta | None:
    """Return the time within which this share was taken: the middle of its bucket."""
    rank = share * sum(mails for _bucket, mails in taken)
    for bucket, mails in taken:
        rank -= mails
        if rank <= 0 and mails:
            return timedelta(seconds=FINEST_S * 2 ** ((bucket - 0.5) / STEPS))
    return None
