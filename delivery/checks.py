"""System checks of sending: numbers that must fit together."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, register

from delivery import journaling
from delivery.journaling import RENEW_EVERY_S
from delivery.providers import registry


@register()
def a_lease_outlives_a_call(**_: Any) -> list[CheckMessage]:
    """delivery.E001: a call may not outlive its lease, else a living worker is taken for dead."""
    return [
        Error(
            f"A hand-off to {kind.label} must be left alone for more than"
            f" {kind.longest_call_s + RENEW_EVERY_S:.0f} s, or the living are taken for dead.",
            id="delivery.E001",
        )
        for kind in registry.KINDS.values()
        if journaling.lease_of(kind).total_seconds() <= kind.longest_call_s + RENEW_EVERY_S
    ]


@register()
def nobody_is_killed_in_production(**_: Any) -> list[CheckMessage]:
    """delivery.E002: CRASH_AT makes workers kill themselves; only a local drill wants that."""
    if settings.LOCAL or not settings.CRASH_AT:
        return []
    return [
        Error(
            "CRASH_AT makes workers kill themselves, and this is no local installation.",
            hint="Unset CRASH_AT and CRASH_SIGNAL.",
            id="delivery.E002",
        )
    ]


@register()
def a_lease_has_a_second(**_: Any) -> list[CheckMessage]:
    """delivery.E003: shorter ones take living workers for dead, and nothing gets done."""
    return [
        Error(f"{name} is below 1 second.", hint="The default is right.", id="delivery.E003")
        for name in ("PREPARE_LEASE_S", "FLIGHT_LEASE_S")
        if getattr(settings, name) < 1
    ]
