"""Celery's way in. A task finds no facts and takes no decisions: it calls the domain."""

from __future__ import annotations

from celery import shared_task
from django.conf import settings
from django.utils import timezone

from campaigns import launching
from delivery import (
    accepting,
    confirming,
    expanding,
    reputing,
    ruling,
    sending,
    syncing,
    telling,
    watching,
)
from delivery.models import Handoff, Message, Stream, Worker

TICK_S = settings.TICK_S


@shared_task(expires=TICK_S)
def tick() -> None:
    """Every TICK_S (beat): wake the senders. A missed or repeated beat does no harm."""
    for _ in range(settings.SEND_WORKERS):
        send_critical.delay()
        send_transactional.delay()
        send_marketing.delay()


@shared_task(expires=TICK_S)
def send_critical() -> None:
    """Send what is critical until nothing is due or TICK_S is over."""
    sending.send_slice(TICK_S, [Stream.CRITICAL])


@shared_task(expires=TICK_S)
def send_transactional() -> None:
    """Send what is transactional, and before it what is critical."""
    sending.send_slice(TICK_S, [Stream.CRITICAL, Stream.TRANSACTIONAL])


@shared_task(expires=TICK_S)
def send_marketing() -> None:
    """Send campaigns until nothing is due or TICK_S is over."""
    sending.send_slice(TICK_S, [Stream.MARKETING])


@shared_task(expires=TICK_S)
def advance_campaigns() -> None:
    """Start what is scheduled, complete audiences, finish or cancel what is over."""
    now = timezone.now()
    launching.start_due(now)
    expanding.expand_all(now)
    expanding.cancel_rest()
    expanding.finish_done(now)


@shared_task(expires=TICK_S)
def ask_for_confirmations() -> None:
    """Queue the mail of sign-ups that wait for a yes."""
    confirming.ask_due(timezone.now())


@shared_task(expires=15)
def sweep() -> None:
    """Put right what dead workers left; give up what waited long enough."""
    now = timezone.now()
    Handoff.objects.sweep()
    Message.objects.expire(now)
    Worker.objects.forget_dead()


@shared_task(expires=600)
def forget_keys() -> None:
    """Every hour: forget the Idempotency-Keys of long ago."""
    accepting.forget_keys(timezone.now())


@shared_task(expires=10)
def tell_operators() -> None:
    """Carry alerts to operators."""
    telling.tell(timezone.now())


@shared_task(expires=15)
def stamp_queued() -> None:
    """Stamp what is queued anew after rules have changed."""
    ruling.stamp_queued(timezone.now())


@shared_task(expires=300)
def rate_accounts() -> None:
    """Compute every account's reputation."""
    reputing.rate_accounts(timezone.now())


@shared_task(expires=15)
def watch() -> None:
    """Look for late mail and everything else that operators should know of."""
    watching.watch(timezone.now())


@shared_task(expires=3600)
def sync_suppressions() -> None:
    """Every day: compare our suppressions with the providers' lists, and level them."""
    syncing.sync_all()
