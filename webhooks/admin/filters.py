"""What the list of events is narrowed by."""

from __future__ import annotations

from typing import Any

from django.contrib.admin import SimpleListFilter
from django.http import HttpRequest

from webhooks.classifying import LOOKS, REASONS

_WHOSE = {"people": False, "machines": True, "unsure": None}


class WhoseFilter(SimpleListFilter):
    """Whose opens and clicks."""

    title = "by whom"
    parameter_name = "whose"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("people", "People"), ("machines", "Machines"), ("unsure", "Unsure")]

    def queryset(self, request: HttpRequest, events: Any) -> Any:
        if self.value() not in _WHOSE:
            return events
        return events.filter(type__in=LOOKS, is_machine=_WHOSE[self.value() or ""])


class WhyWhoseFilter(SimpleListFilter):
    """Why they are called a person's or a machine's."""

    title = "what told it"
    parameter_name = "machine_reason"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(code, reason.short.capitalize()) for code, reason in REASONS.items()]

    def queryset(self, request: HttpRequest, events: Any) -> Any:
        return events.filter(machine_reason=self.value()) if self.value() in REASONS else events
