"""Endpoints that are gone: no longer called, and somebody is told."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from django.urls import reverse

from delivery import alerting
from webhooks.models import Endpoint

PATIENCE = timedelta(days=3)
"""After so long with nothing but failures."""
ALERT = "endpoint"
GONE = "It answered 410 Gone: it wants no more."


def disable_dead(now: datetime) -> int:
    """Disable endpoints to which nothing could be delivered for PATIENCE; return how many."""
    dead = list(Endpoint.objects.dead(now, PATIENCE).defer("secrets"))
    reason = f"Nothing could be delivered for {PATIENCE.days} days."
    return sum(disable(each, f"{reason} {each.last_error}", now) for each in dead)


def disable_gone(endpoints: Iterable[int], now: datetime) -> int:
    """Disable endpoints that answered 410; return how many."""
    gone = Endpoint.objects.filter(pk__in=endpoints).defer("secrets")
    return sum(disable(each, GONE, now) for each in gone)


def disable(endpoint: Endpoint, reason: str, now: datetime) -> bool:
    """Disable one that gave cause for it, and raise an alert; False: it was disabled before."""
    if not Endpoint.objects.filter(pk=endpoint.pk).disable(reason, now):
        return False
    alerting.raise_alert(
        ALERT,
        endpoint.name,
        f"The webhook endpoint {endpoint.name} was switched off. {reason} Events are not kept for"
        " it meanwhile; once it is mended, switch it on and send again what it missed.",
        {
            "endpoint": endpoint.pk,
            "url": reverse("admin:webhooks_endpoint_change", args=[endpoint.pk]),
        },
        now,
    )
    return True
