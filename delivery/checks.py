"""System checks of sending: numbers that must fit together."""

from __future__ import annotations

from typing import Any

from django.core.checks import CheckMessage, Error, register

from delivery.providers.base import CONNECT_TIMEOUT_S, READ_TIMEOUT_S
from delivery.querysets import FLIGHT_LEASE


@register()
def a_lease_outlives_a_call(**_: Any) -> list[CheckMessage]:
    """delivery.E001: a call may not outlive its lease, else a living worker is taken for dead."""
    longest = 2 * (CONNECT_TIMEOUT_S + READ_TIMEOUT_S)
    if FLIGHT_LEASE.total_seconds() > longest:
        return []
    return [
        Error(
            f"FLIGHT_LEASE must be longer than {longest} s, two calls' time-outs.",
            id="delivery.E001",
        )
    ]
