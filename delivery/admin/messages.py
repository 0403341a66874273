"""Messages: the list, and one message with everything that happened to it."""

from __future__ import annotations

from typing import Any, NamedTuple

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.safestring import SafeString

from campaigns.models import Campaign
from delivery.admin.filters import (
    CampaignFilter,
    OutcomeFilter,
    ProviderFilter,
    outcome_label,
)
from delivery.admin.handoffs import why
from delivery.models import Message
from emailplatform.admin import Button, Empty, PageAdmin, ReadOnlyAdmin
from emailplatform.formats import ago, badge

Status = Message.Status
TONES = {
    Status.QUEUED: "quiet",
    Status.SENDING: "info",
    Status.SENT: "ok",
    Status.FAILED: "bad",
    Status.UNKNOWN: "warn",
    Status.SKIPPED: "quiet",
    Status.CANCELLED: "quiet",
    Status.EXPIRED: "warn",
}


class Outcome(NamedTuple):
    """What is known of a message after it was handed over."""

    label: str
    tone: str
    column: str


_WORST_FIRST = [
    Outcome("Reported as spam", "bad", "complained_at"),
    Outcome("Bounced", "bad", "bounced_at"),
    Outcome("Dropped", "bad", "dropped_at"),
    Outcome("Unsubscribed", "warn", "unsubscribed_at"),
    Outcome("Clicked", "ok", "clicked_at"),
    Outcome("Opened", "ok", "opened_at"),
    Outcome("Opened by a machine", "quiet", "machine_opened_at"),
    Outcome("Delivered", "quiet", "delivered_at"),
    Outcome("Delayed", "warn", "deferred_at"),
]


@admin.register(Message)
class MessageAdmin(ReadOnlyAdmin, PageAdmin):
    keyset = True
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
        handoff = message.handoff
        return self.render(
            request,
            "admin/delivery/message.html",
            f"Mail to {message.email}",
            message,
            tone=TONES[Status(message.status)],
            outcome=outcome_of(message),
            handoff=handoff,
            why=why(handoff) if handoff else "",
        )


def outcome_of(message: Message) -> Outcome | None:
    """Return the most telling thing that happened to a message since it was sent."""
    return next((each for each in _WORST_FIRST if getattr(message, each.column)), None)
