"""How providers are doing, as their cards say."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from delivery import monitoring
from delivery.models import Handoff
from tests import make, scripted

pytestmark = pytest.mark.django_db


def test_what_dead_workers_left_is_neither_refusal_nor_latency(monkeypatch):
    scripted.install(monkeypatch)
    now, account, campaign = timezone.now(), scripted.account(), make.launched()
    ago = now - timedelta(seconds=90)
    make.handoff(
        campaign, account, status="done", accepted=5, in_flight_at=now - timedelta(seconds=1),
        finished_at=now,
    )  # fmt: skip
    for status, in_flight_at in [("preparing", None), ("in_flight", ago)]:
        make.handoff(campaign, account, status=status, in_flight_at=in_flight_at, lease_until=ago)
    Handoff.objects.sweep()

    health = monitoring.health_of(account, timezone.now())

    assert (health["calls"], health["refused"], health["in_doubt"]) == (3, 0, 1)
    assert health["latency_s"] == pytest.approx(1, abs=0.1)
