"""Celery's way in to imports: beat calls it every few seconds."""

from __future__ import annotations

from time import monotonic

from celery import shared_task
from django.utils import timezone

from subscribers import importing
from subscribers.models import Import

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
