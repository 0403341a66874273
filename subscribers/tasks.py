"""Celery's way in to imports and the record of consent: beat calls it."""

from __future__ import annotations

from datetime import timedelta
from time import monotonic

from celery import shared_task
from django.conf import settings
from django.utils import timezone

from subscribers import confirming, importing, verifying
from subscribers.models import ConsentRecord, Import

SLICE_S = 20.0
"""How long one call works before it makes room. Others, started meanwhile, take other imports."""


@shared_task(expires=5)
def run_imports() -> None:
    """Work on imports that wait, or whose worker died, the longest waiting first."""
    stop_at = monotonic() + SLICE_S
    for pk in Import.objects.workable(timezone.now()).waiting_longest():
        importing.run(pk, stop_at - monotonic())
        if monotonic() >= stop_at:
            return


@shared_task(expires=600)
def seal_consent() -> None:
    """Every hour: seal the record, forget details by age, end what nobody confirmed."""
    now = timezone.now()
    verifying.anchor(now)
    if settings.CONSENT_DETAILS_DAYS:
        oldest = now - timedelta(days=settings.CONSENT_DETAILS_DAYS)
        ConsentRecord.objects.forget_details(now, before=oldest)
    confirming.lapse(now)
