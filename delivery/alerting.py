"""Telling operators that something is wrong: once, with a count, and that it is over.

`raise_alert` only writes a row, so it may be called from anywhere at any time. `delivery.telling`
carries it out of the house.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django.urls import reverse

from delivery.models import Alert, Notice
from emailplatform.posting import make_id

SLA = "sla"
PROVIDER = "provider"
BREAKER = "breaker"
DEAD_LETTERS = "dead_letters"
CAMPAIGN = "campaign"
REDIS = "redis"
SIGNUPS = "signups"
LABELS = {
    "silence": "A provider does not tell",
    "endpoint": "A webhook endpoint is switched off",
    "bounce_mailbox": "Bounces cannot be fetched",
    SLA: "Mail is late",
    PROVIDER: "A provider needs you",
    BREAKER: "A provider is not used",
    DEAD_LETTERS: "Dead letters pile up",
    CAMPAIGN: "A campaign stopped",
    REDIS: "Redis is away",
    SIGNUPS: "Sign-ups are held",
}
"""Kind -> what it is called. A kind that is not here is shown by its own name."""
LONGEST = timedelta(days=1)
"""Between two reminders of what goes on and on."""


def raise_alert(
    kind: str,
    subject: str,
    text: str,
    payload: Mapping[str, Any],
    now: datetime,
    *,
    times: int = 1,
) -> int:
    """Write down that something is wrong; return the alert's id.

    Raised again while it is open, it is the same alert with a higher count (`times` = 0: it only
    goes on). `subject` says what it is about, in words that stay the same; `text` is one or two
    sentences that say what to do; `payload` is for programs, and "url" in it leads to a page.
    """
    return Alert.objects.raise_one(kind, subject, text, payload, now, times)


def resolve(kind: str, subject: str, now: datetime) -> bool:
    """Say that it is over; False: nobody said that it was there."""
    return bool(Alert.objects.filter(subject=subject[:200]).resolve(kind, now))


def resolve_others(kind: str, subjects: Collection[str], now: datetime) -> int:
    """Say that everything of a kind is over but what is about these subjects; return how many."""
    return Alert.objects.resolve(kind, now, keep=subjects)


def label_of(kind: str) -> str:
    return LABELS.get(kind, kind.replace("_", " ").capitalize())


# --- From alerts to notices --------------------------------------------------------------


def queue_notices(now: datetime) -> int:
    """Put what operators should be told now into the outbox; return how many notices.

    At most one per alert and ALERT_EVERY_MIN; what goes on is repeated after once, twice, four
    times as long, and then daily. With no channel set up nothing is told, and nothing is lost:
    the alerts are shown in the admin.
    """
    channels = _channels()
    if not channels:
        return 0
    every = timedelta(minutes=settings.ALERT_EVERY_MIN)
    with transaction.atomic():
        notices = [
            _notice(alert, channel, event, now)
            for alert in Alert.objects.to_tell(now, every)
            if (event := _event(alert, now, every))
            for channel in channels
        ]
        Notice.objects.bulk_create(notices)
        for alert in {notice.alert for notice in notices}:
            _mark(alert, now)
    return len(notices)


def _channels() -> list[str]:
    """Return the channels that are set up."""
    channels = []
    if settings.OPERATORS and settings.ALERT_FROM:
        channels.append(Notice.Channel.EMAIL.value)
    if settings.ALERT_WEBHOOK_URL and settings.ALERT_WEBHOOK_SECRET:
        channels.append(Notice.Channel.WEBHOOK.value)
    return channels


def _event(alert: Alert, now: datetime, every: timedelta) -> str:
    """Return what is to be told of an alert; "" while it is too early to repeat it."""
    if alert.resolved_at:
        return "alert.resolved"
    if alert.told_at is None:
        return "alert.raised"
    wait = min(every * 2 ** min(alert.tellings - 1, 10), max(LONGEST, every))
    return "alert.repeated" if alert.told_at <= now - wait else ""


def _mark(alert: Alert, now: datetime) -> None:
    if alert.resolved_at:
        alert.is_settled = True
    else:
        alert.told_at, alert.tellings = now, alert.tellings + 1
    alert.save(update_fields=["is_settled", "told_at", "tellings"])


def _notice(alert: Alert, channel: str, event: str, now: datetime) -> Notice:
    return Notice(
        alert=alert,
        channel=channel,
        uid=make_id(),
        due_at=now,
        body={"type": event, "timestamp": now.isoformat(), "data": facts_of(alert)},
    )


def facts_of(alert: Alert) -> dict[str, Any]:
    """Return an alert as programs are told of it."""
    path = alert.payload.get("url") or reverse("admin:delivery_alert_changelist")
    return {
        "id": alert.pk,
        "kind": alert.kind,
        "label": label_of(alert.kind),
        "subject": alert.subject,
        "text": alert.text,
        "count": alert.count,
        "raised_at": alert.raised_at.isoformat(),
        "last_at": alert.last_at.isoformat(),
        "resolved_at": alert.resolved_at.isoformat() if alert.resolved_at else None,
        "payload": alert.payload,
        "url": settings.PUBLIC_URL + path,
    }
