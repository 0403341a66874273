"""Messages: the list, and one message with everything that happened to it."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.safestring import SafeString

from campaigns.models import Campaign
from delivery import tracing
from delivery.admin import inspecting
from delivery.admin.filters import (
    CampaignFilter,
    OutcomeFilter,
    ProviderFilter,
    outcome_label,
)
from delivery.admin.outcomes import TONES, outcome_of
from delivery.admin.reasons import decision_of
from delivery.models import Message
from emailplatform.admin import Button, Empty, PageAdmin, ReadOnlyAdmin
from emailplatform.formats import ago, badge

Status = Message.Status


@admin.register(Message)
class MessageAdmin(ReadOnlyAdmin, PageAdmin):
    keyset = True
    heading = "All messages"
    intro = "One row per mail to one person: what we did, and what providers told of it since."
    list_display = ["email", "of_campaign", "state", "became", "through", "sent"]
    list_filter = [CampaignFilter, "status", OutcomeFilter, ProviderFilter]
    list_select_related = ["campaign", "provider"]
    search_fields = ["email"]
    search_help_text = "A whole address"
    empty = Empty(
        "mail",
        "No messages yet",
        "Launch a campaign: every person in its audience gets one message, and here you see "
        "what became of each.",
    )

    class Media:
        css = {"all": ["ui/mail.css"]}
        js = ["ui/mail.js"]

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> Any:
        """Say above the list whose messages these are, and lead back to the campaign."""
        pk = request.GET.get("campaign", "")
        campaign = Campaign.objects.filter(pk=int(pk)).first() if pk.isdecimal() else None
        context = dict(extra_context or {})
        if campaign:
            back = reverse("admin:campaigns_campaign_change", args=[campaign.pk])
            which = outcome_label(request.GET.get("outcome", ""))
            context["heading"] = f"{campaign}: {which.lower() if which else 'messages'}"
            context["buttons"] = [Button("Back to the campaign", back, "arrow_back")]
        return super().changelist_view(request, context)

    @admin.display(description="Campaign")
    def of_campaign(self, message: Message) -> str:
        return str(message.campaign or "–")

    @admin.display(description="State")
    def state(self, message: Message) -> SafeString:
        return badge(message.get_status_display(), TONES[Status(message.status)])

    @admin.display(description="Became of it")
    def became(self, message: Message) -> SafeString | str:
        found = outcome_of(message)
        return badge(found.label, found.tone) if found else message.error or "–"

    @admin.display(description="Provider")
    def through(self, message: Message) -> str:
        return str(message.provider or "–")

    @admin.display(description="Sent")
    def sent(self, message: Message) -> str:
        return ago(message.sent_at)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Message]:
        rows: QuerySet[Message] = (
            super().get_queryset(request).defer("provider__secrets", "provider__config")
        )
        return rows

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Message], search_term: str
    ) -> tuple[QuerySet[Message], bool]:
        """By a person's address, through the index of people; erased people are not found."""
        term = search_term.strip().lower()
        return (queryset.filter(subscriber__email=term) if term else queryset), False

    def show(self, request: HttpRequest, message: Message) -> HttpResponse:
        trace = tracing.trace(message)
        return self.render(
            request,
            "admin/delivery/message.html",
            f"Mail to {message.email}",
            message,
            tone=TONES[Status(message.status)],
            outcome=outcome_of(message),
            decision=decision_of(message.handoff) if message.handoff else None,
            trace=trace,
            tries=inspecting.tries(trace)[::-1],
            **inspecting.facts_of(request, message),
        )
