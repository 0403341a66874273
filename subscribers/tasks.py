"""Celery's way in to imports, the record of consent, and address checks: beat calls it."""

from __future__ import annotations

from datetime import timedelta
from time import monotonic

from celery import shared_task
from django.conf import settings
from django.utils import timezone

from subscribers import confirming, importing, rechecking, retaining, scoring, undoing, verifying
from subscribers.models import CheckRun, ConsentRecord, Import

SLICE_S = 20.0
"""How long one call works before it makes room. Others, started meanwhile, take other imports."""


@shared_task(expires=5)
def run_imports() -> None:
    """Take back what somebody wants taken back; then work on imports that wait.

    Also on those whose worker died; the longest waiting first.
    """
    stop_at = monotonic() + SLICE_S
    for undoable in Import.objects.to_undo():
        undoing.undo(undoable, timezone.now())
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


@shared_task(expires=3600)
def apply_retention() -> None:
    """Every night: end what is kept too long, in small pieces, for ten minutes at most."""
    retaining.run(timezone.now(), 600)


@shared_task(expires=10)
def check_domains() -> None:
    """Go on with re-checks, then ask about domains that are new or whose answer is old."""
    stop_at = monotonic() + SLICE_S
    for pk in list(CheckRun.objects.workable(timezone.now()).values_list("pk", flat=True)):
        rechecking.run(pk, stop_at - monotonic())
    rechecking.work_on_due(stop_at - monotonic())


@shared_task(expires=600)
def score_people() -> None:
    """Every 10 minutes: score everybody, once a day and at night."""
    now = timezone.now()
    if scoring.is_due(now):
        scoring.score_people(now)
