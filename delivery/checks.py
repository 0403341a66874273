"""System checks of sending: numbers that must fit together."""

from __future__ import annotations

from typing import Any

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
