"""Looks at the whole every few seconds, and raises or resolves the alerts of what it finds.

Each finding is a state in the database, so nothing is missed whoever was asleep, and what is over
is seen to be over.
"""

from __future__ import annotations

import logging
from datetime import datetime, timedelta

from django.conf import settings
from django.core.cache import cache
from django.db.models import Count, Q
from django.urls import reverse
from redis.exceptions import RedisError

from campaigns.models import Campaign
from delivery import alerting, promising, reviving
from delivery.models import ProviderAccount
from emailplatform.formats import number
from subscribers.models import Confirmation

logger = logging.getLogger(__name__)

MOST_CAMPAIGNS = 50
PATIENCE = timedelta(minutes=1)
"""How long a breaker may be open before somebody is told."""
_SUBJECT_REDIS = "Redis"
_SUBJECT_DEAD = "Dead letters"


def watch(now: datetime) -> None:
    """Look at everything that may be wrong."""
    promising.check(now)
    _watch_providers(now)
    _watch_breakers(now)
    _watch_campaigns(now)
    _watch_dead_letters(now)
    _watch_redis(now)
    _watch_signups(now)


def _watch_providers(now: datetime) -> None:
    """Accounts whose last failure is one that waiting cannot mend."""
    rows = ProviderAccount.objects.filter(
        needs_attention=True, status=ProviderAccount.Status.ACTIVE
    ).defer("secrets")
    subjects = []
    for account in rows:
        text = f"It refuses mail, and waiting will not mend it. {account.last_error}"
        url = reverse("admin:delivery_provideraccount_change", args=[account.pk])
        payload = {"provider": account.name, "kind": account.kind, "url": url}
        alerting.raise_alert(alerting.PROVIDER, account.name, text, payload, now, times=0)
        subjects.append(account.name)
    alerting.resolve_others(alerting.PROVIDER, subjects, now)


def _watch_breakers(now: datetime) -> None:
    """Accounts that have not been used for a while; a short rest mends itself."""
    rows = ProviderAccount.objects.filter(
        status=ProviderAccount.Status.ACTIVE,
        needs_attention=False,
        circuit_since__lt=now - PATIENCE,
    )
    subjects = []
    for account in rows.exclude(circuit=ProviderAccount.Circuit.CLOSED).defer("secrets"):
        text = f"It has not been used for a while. {account.circuit_reason} It is tried again."
        url = reverse("admin:delivery_provideraccount_change", args=[account.pk])
        payload = {"provider": account.name, "kind": account.kind, "url": url}
        alerting.raise_alert(alerting.BREAKER, account.name, text, payload, now, times=0)
        subjects.append(account.name)
    alerting.resolve_others(alerting.BREAKER, subjects, now)


def _watch_campaigns(now: datetime) -> None:
    """Campaigns that paused by themselves, or that finished with holds and wait for a person."""
    status = Campaign.Status
    stopped = Q(status=status.HELD) | Q(status=status.PAUSED) & ~Q(problem="")
    subjects = []
    for campaign in Campaign.objects.filter(stopped)[:MOST_CAMPAIGNS]:
        subject = f"{campaign.name} (campaign {campaign.pk})"
        url = reverse("admin:campaigns_campaign_change", args=[campaign.pk])
        payload = {"campaign": campaign.pk, "status": campaign.status, "url": url}
        alerting.raise_alert(alerting.CAMPAIGN, subject, campaign.problem, payload, now, times=0)
        subjects.append(subject)
    alerting.resolve_others(alerting.CAMPAIGN, subjects, now)


def _watch_dead_letters(now: datetime) -> None:
    limit = settings.DEAD_LETTERS_ALERT
    count = reviving.waiting(now, 10 * limit)
    if count < limit:
        alerting.resolve(alerting.DEAD_LETTERS, _SUBJECT_DEAD, now)
        return
    more = "At least " if count == 10 * limit else ""
    text = f"{more}{number(count)} mails failed for good and can be tried again."
    payload = {"waiting": count, "url": reverse("admin:delivery_deadletter_changelist")}
    alerting.raise_alert(alerting.DEAD_LETTERS, _SUBJECT_DEAD, text, payload, now, times=0)


def _watch_redis(now: datetime) -> None:
    """Redis away: seen by `manage.py dispatch`, which needs none; workers wait for it."""
    try:
        cache.set("watch", 1, 60)
    except RedisError as error:
        logger.warning("redis_away", extra={"error": type(error).__name__})
        text = (
            "It does not answer: workers and beat stand still, limits are counted per worker. "
            "Start it, or use dispatch."
        )
        payload = {"url": reverse("admin:delivery_worker_changelist")}
        alerting.raise_alert(alerting.REDIS, _SUBJECT_REDIS, text, payload, now, times=0)
    else:
        alerting.resolve(alerting.REDIS, _SUBJECT_REDIS, now)


def _watch_signups(now: datetime) -> None:
    """Forms that got more sign-ups in an hour than they may ask: a flood, or a great day."""
    held = Confirmation.objects.held().values("form", "form__name").annotate(count=Count("pk"))
    subjects = []
    for row in held.order_by("form")[:MOST_CAMPAIGNS]:
        subject = f"{row['form__name'] or 'A form that is gone'} (form {row['form']})"
        text = (
            f"{number(row['count'])} confirmation mails are held: more than the form may send in an"
            " hour. Release or drop them on the form's page."
        )
        url = reverse("admin:subscribers_signupform_change", args=[row["form"] or 0])
        payload = {"form": row["form"], "held": row["count"], "url": url}
        alerting.raise_alert(alerting.SIGNUPS, subject, text, payload, now, times=0)
        subjects.append(subject)
    alerting.resolve_others(alerting.SIGNUPS, subjects, now)
