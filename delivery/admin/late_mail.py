"""Late mail: each promise that was not kept, and whether the mail is on its way by now."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.admin import SimpleListFilter
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from delivery.models import Message, MessageType, SlaBreach
from emailplatform.admin import Empty, ReadOnlyAdmin
from emailplatform.formats import ago, badge, span


class TypeFilter(SimpleListFilter):
    title = "message type"
    parameter_name = "type"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return list(MessageType.objects.values_list("name", "label"))

    def queryset(self, request: HttpRequest, rows: Any) -> Any:
        return rows.filter(type__name=self.value()) if self.value() else rows


class WaitingFilter(SimpleListFilter):
    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("waiting", "Still waiting"), ("over", "Sent or given up")]

    def queryset(self, request: HttpRequest, rows: Any) -> Any:
        if self.value() in {"waiting", "over"}:
            return rows.filter(closed_at__isnull=self.value() == "waiting")
        return rows


@admin.register(SlaBreach)
class LateMailAdmin(ReadOnlyAdmin):
    keyset = True
    heading = "Late mail"
    intro = "Mail that no provider had within the deadline of its type, and campaigns that stood."
    list_display = ["what", "kind", "promised", "took", "state", "broke"]
    list_display_links = None
    list_filter = [TypeFilter, WaitingFilter]
    list_select_related = ["type", "message", "campaign"]
    empty = Empty("timer", "No late mail", "Every promise of a message type was kept.")

    class Media:
        css = {"all": ["ui/mail.css"]}

    @admin.display(description="Mail or campaign")
    def what(self, late: SlaBreach) -> SafeString:
        if late.campaign:
            url = reverse("admin:campaigns_campaign_change", args=[late.campaign_id])
            return format_html('<a class="ui-link" href="{}">{}</a>', url, late.campaign)
        url = reverse("admin:delivery_message_change", args=[late.message_id])
        email = late.message.email if late.message else ""
        return format_html('<a class="ui-link" href="{}">{}</a>', url, email)

    @admin.display(description="Type")
    def kind(self, late: SlaBreach) -> str:
        return late.type.label

    @admin.display(description="Promised within")
    def promised(self, late: SlaBreach) -> str:
        return span(late.deadline)

    @admin.display(description="Taken after")
    def took(self, late: SlaBreach) -> str:
        return span(late.latency) if late.latency else "–"

    @admin.display(description="State")
    def state(self, late: SlaBreach) -> SafeString:
        if late.accepted_at:
            return badge("Moves again" if late.campaign else "Sent late", "warn")
        if late.closed_at:
            return badge("Given up", "bad")
        is_in_doubt = late.message is not None and late.message.status == Message.Status.UNKNOWN
        return badge("In doubt", "warn") if is_in_doubt else badge("Still waiting", "bad")

    @admin.display(description="Late since")
    def broke(self, late: SlaBreach) -> SafeString | str:
        return ago(late.breached_at)
