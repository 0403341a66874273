"""System checks of sending: numbers that must fit together."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning, register  # noqa: A004

from delivery import journaling
from delivery.journaling import RENEW_EVERY_S
from delivery.providers import registry
from emailplatform.errors import InvalidInput
from emailplatform.posting import Endpoint


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


@register()
def alerts_can_be_told(**_: Any) -> list[CheckMessage]:
    """delivery.E010: a webhook needs https and a secret. delivery.E011: mail needs a sender."""
    found: list[CheckMessage] = []
    if settings.ALERT_WEBHOOK_URL:
        endpoint = Endpoint(settings.ALERT_WEBHOOK_URL, settings.ALERT_WEBHOOK_SECRET)
        try:
            endpoint.check()
        except InvalidInput as problem:
            hint = "ALERT_WEBHOOK_URL needs https, and ALERT_WEBHOOK_SECRET whsec_ and base64."
            words = f"Alerts cannot be posted to ALERT_WEBHOOK_URL. {problem}"
            found.append(Error(words, hint=hint, id="delivery.E010"))
    if settings.OPERATORS and not settings.ALERT_FROM:
        found.append(
            Error(
                "OPERATORS are to be told of alerts, but ALERT_FROM is empty.",
                hint="Set it to an address that a provider of yours may send from.",
                id="delivery.E011",
            )
        )
    return found


@register(deploy=True)
def somebody_is_told(**_: Any) -> list[CheckMessage]:
    """delivery.W010: alerts that nobody gets are found when it is too late."""
    if settings.OPERATORS or settings.ALERT_WEBHOOK_URL:
        return []
    hint = "Set OPERATORS and ALERT_FROM, or ALERT_WEBHOOK_URL and ALERT_WEBHOOK_SECRET."
    return [Warning("Nobody is told of alerts.", hint=hint, id="delivery.W010")]
