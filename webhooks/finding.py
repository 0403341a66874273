"""Finds messages that a provider accepted and then never spoke of: a webhook that went missing.

Counted by the hour in which they were sent, account, stream and mailbox, a few hours later; told
to operators where it is more than chance.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from django.conf import settings
from django.db.models import Sum
from django.urls import reverse

from delivery import alerting
from delivery.models import ProviderAccount
from webhooks.models import Silence

KIND = "silence"
LOOKED_AT_AGAIN = timedelta(hours=6)
"""Hours are counted anew for so long: what was told late, or asked for, is no longer missing."""
FEWEST = 50
WORST_SHARE = 0.2
"""Of what was accepted in those hours: mail to some mailboxes is never reported on."""


class Gap(NamedTuple):
    """What one account did not tell of one lane, over the hours that were counted last."""

    account: ProviderAccount
    stream: str
    mailbox: str
    sent: int
    silent: int

    @property
    def share(self) -> float:
        return self.silent / self.sent if self.sent else 0.0

    @property
    def is_bad(self) -> bool:
        return self.silent >= FEWEST and self.share >= WORST_SHARE

    @property
    def subject(self) -> str:
        return f"{self.account.name}, {self.stream} mail to {self.mailbox}"


def find_silence(now: datetime) -> int:
    """Count what was not reported on, and tell operators; return how many lanes are bad."""
    until = _hour(now - timedelta(hours=settings.SILENCE_AFTER_H))
    Silence.objects.count_hours(until - LOOKED_AT_AGAIN, until)
    bad = [gap for gap in gaps(now) if gap.is_bad]
    for gap in bad:
        alerting.raise_alert(KIND, gap.subject, _sentence(gap), _payload(gap), now, times=0)
    alerting.resolve_others(KIND, [gap.subject for gap in bad], now)
    return len(bad)


def gaps(now: datetime) -> list[Gap]:
    """Return every lane of which something is missing, the worst first."""
    until = _hour(now - timedelta(hours=settings.SILENCE_AFTER_H))
    rows = Silence.objects.filter(hour__gte=until - LOOKED_AT_AGAIN, hour__lt=until).order_by()
    lanes = rows.values_list("account", "stream", "mailbox")
    summed = lanes.annotate(all_sent=Sum("sent"), all_silent=Sum("silent")).filter(all_silent__gt=0)
    by_account: dict[int, list[Any]] = defaultdict(list)
    for account, *lane in summed:
        by_account[account].append(lane)
    found = [
        Gap(account, *lane) for account in _who_tells(by_account) for lane in by_account[account.pk]
    ]
    return sorted(found, key=lambda gap: (gap.is_bad, gap.silent), reverse=True)


def _who_tells(accounts: Iterable[int]) -> list[ProviderAccount]:
    """Leave out SMTP servers that nobody taught to tell: their silence says nothing."""
    rows = ProviderAccount.objects.filter(pk__in=accounts)
    return [each for each in rows if each.kind != "smtp" or each.has_webhook_secret]


def _sentence(gap: Gap) -> str:
    heard = gap.account.last_heard_at
    last = f"Last heard from it: {heard:%Y-%m-%d %H:%M} UTC." if heard else "It was never heard."
    return (
        f"{gap.account.name} took {gap.sent} messages to {gap.mailbox} and told nothing of"
        f" {gap.silent}, {settings.SILENCE_AFTER_H} hours later. {last} See that its webhook"
        " address and secret are right; then ask for what is missing with manage.py"
        " backfill_events, where the provider can be asked."
    )


def _payload(gap: Gap) -> dict[str, Any]:
    return {
        "account": gap.account.name,
        "stream": gap.stream,
        "mailbox": gap.mailbox,
        "sent": gap.sent,
        "silent": gap.silent,
        "url": reverse("admin:delivery_provideraccount_change", args=[gap.account.pk]),
    }


def _hour(moment: datetime) -> datetime:
    return moment.replace(minute=0, second=0, microsecond=0)
