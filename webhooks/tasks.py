"""Celery's way in. A task finds no facts and takes no decisions: it calls the domain."""

from __future__ import annotations

import time

from celery import shared_task
from django.conf import settings
from django.utils import timezone

from webhooks import (
    applying,
    cleaning,
    crediting,
    delivering,
    doubting,
    feeling,
    finding,
    noticing,
    polling,
    training,
)

TICK_S = settings.TICK_S
BATCH = 4000
"""Requests of one transaction; the size of their bodies limits it as well. Most come alone."""


@shared_task(expires=TICK_S)
def apply_events() -> None:
    """Every TICK_S (beat): apply what was posted, until nothing is due or it is over."""
    stop_at = time.monotonic() + TICK_S
    while time.monotonic() < stop_at and applying.apply_pending(BATCH, timezone.now()):
        pass


@shared_task(expires=TICK_S)
def credit_sightings() -> None:
    """Every TICK_S (beat): apply the opens and clicks that we saw ourselves."""
    stop_at = time.monotonic() + TICK_S
    while time.monotonic() < stop_at and crediting.credit_sightings(timezone.now()):
        pass


@shared_task(expires=TICK_S)
def notice_refusals() -> None:
    """Every TICK_S (beat): tell what mail servers refused in the session as a bounce."""
    noticing.notice_refusals(BATCH, timezone.now())


@shared_task(expires=120)
def poll_bounces() -> None:
    """Every 2 minutes, if IMAP_URL is set: store the bounces that lie in that mailbox."""
    polling.poll(settings.IMAP_URL, timezone.now())


@shared_task(expires=600)
def find_silence() -> None:
    """Every 10 minutes: count what providers took and never spoke of, and tell operators."""
    finding.find_silence(timezone.now())


@shared_task(expires=30)
def settle_doubts() -> None:
    """Settle messages in doubt by what was heard, or send them again where that is due."""
    doubting.settle(timezone.now())


@shared_task(expires=TICK_S)
def post_events() -> None:
    """Every TICK_S (beat): queue new events for endpoints, and post what is due."""
    delivering.turn(TICK_S, timezone.now())


@shared_task(expires=3600)
def forget_deliveries() -> None:
    """Every hour: forget what was posted long ago."""
    delivering.forget(timezone.now())


@shared_task(expires=3600)
def count_quiet_mail() -> None:
    """Every hour: count mail as received where nobody tells of deliveries."""
    feeling.sweep(timezone.now())


@shared_task(expires=600)
def clean_lists() -> None:
    """Every 10 minutes: do what the rules of hygiene say, once a night."""
    now = timezone.now()
    if cleaning.is_due(now):
        cleaning.clean(now)


@shared_task(expires=3600)
def train_churn() -> None:
    """Every week: fit anew who will fall silent."""
    training.train(timezone.now())
