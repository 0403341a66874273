"""Endpoints of others: who is told of what, how that goes, and what to do where it does not."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.utils.safestring import SafeString

from emailplatform.admin import Empty, PageAdmin
from emailplatform.formats import ago, badge
from webhooks.models import Endpoint


@admin.register(Endpoint)
class EndpointAdmin(PageAdmin):
    heading = "Webhooks out"
    intro = (
        "Programs of yours that are told of events as they happen: each is posted a signed body,"
        " and again until it has it."
    )
    add_label = "Add endpoint"
    list_display = ["name", "url", "wants", "health", "success"]
    search_fields = ["name", "url"]
    ordering = ["name"]
    actions = None
    empty = Empty(
        "send",
        "Nobody is told of events yet",
        "An endpoint is an address of your shop, your CRM or a script. It is posted each delivery,"
        " bounce, click or unsubscribe within seconds, signed so that it can be sure of you.",
        "Add endpoint",
        "admin:webhooks_endpoint_add",
    )

    @admin.display(description="Told of")
    def wants(self, endpoint: Endpoint) -> str:
        return ", ".join(endpoint.types) or "everything"

    @admin.display(description="Health")
    def health(self, endpoint: Endpoint) -> SafeString:
        return badge(*health_of(endpoint))

    @admin.display(description="Last delivered")
    def success(self, endpoint: Endpoint) -> SafeString | str:
        return ago(endpoint.last_success_at, "Never")

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).select_related("campaign")


def health_of(endpoint: Endpoint) -> tuple[str, str]:
    """Return how an endpoint is doing, in two words, and the tone."""
    if not endpoint.is_enabled:
        return "Switched off", "bad"
    if endpoint.failing_since:
        return "Fails", "warn"
    return ("Works", "ok") if endpoint.last_success_at else ("Not called yet", "quiet")
