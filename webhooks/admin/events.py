"""Events: the list, and the pieces other pages show of them."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.urls import URLPattern
from django.utils.safestring import SafeString

from campaigns.models import Campaign, TrackedBy
from delivery.models import Message
from emailplatform.admin import Empty, PageAdmin, ReadOnlyAdmin
from emailplatform.formats import ago, badge
from subscribers.models import Subscriber
from webhooks import reporting
from webhooks.admin import live, overview, why
from webhooks.admin.filters import WhoseFilter, WhyWhoseFilter
from webhooks.models import Event
from webhooks.recounting import WORDS, Moment, moments, whose, why_whose, word_of

MOST_EVENTS = 100
"""Events of a person or a message that a timeline shows, the newest."""


@admin.register(Event)
class EventAdmin(ReadOnlyAdmin, PageAdmin):
    keyset = True
    intro = "All that providers told us about messages, and what we saw ourselves. Each once."
    list_display = ["what", "recipient", "of_account", "why_whose", "detail", "happened"]
    list_filter = ["type", "standing", WhoseFilter, WhyWhoseFilter]
    list_select_related = ["account"]
    empty = Empty(
        "bolt",
        "No events yet",
        "Events come in when providers report: delivered, bounced, opened, clicked. Set up each "
        "provider’s webhook to hear from it.",
    )

    class Media:
        css = {"all": ["ui/mail.css"]}

    @admin.display(description="What")
    def what(self, event: Event) -> SafeString:
        strange = event.get_standing_display() if event.standing else ""
        return badge(*word_of(event)) + (badge(strange, "warn") if strange else SafeString(""))

    @admin.display(description="Told by")
    def of_account(self, event: Event) -> str:
        return str(event.account or "ourselves")

    @admin.display(description="What tells by whom")
    def why_whose(self, event: Event) -> str:
        return why_whose(event)

    @admin.display(description="Detail")
    def detail(self, event: Event) -> str:
        text = event.reason or event.url or event.user_agent
        return f"{text[:80]}…" if len(text) > 80 else text or "–"

    @admin.display(description="Happened")
    def happened(self, event: Event) -> str:
        return ago(event.occurred_at)

    def get_queryset(self, request: HttpRequest) -> Any:
        rows = super().get_queryset(request)
        return rows.defer("account__secrets", "account__config")

    def has_overview_permission(self, request: HttpRequest) -> bool:
        return overview.may_see(request)

    def has_why_permission(self, request: HttpRequest) -> bool:
        return why.may_see(request)

    def own_urls(self) -> list[URLPattern]:
        return [
            self.page("of-person/<int:person>/", self.of_person, "of_person"),
            self.page("of-message/<int:message>/", self.of_message, "of_message"),
            self.page("overview/", overview.piece, "overview", "overview"),
            self.page("of-campaign/<int:campaign>/", self.of_campaign, "of_campaign"),
            self.page("why/", self.why, "why", "why"),
            self.page("live/", self.live, "live"),
            self.page("live/now/", live.piece, "live_now"),
        ]

    def show(self, request: HttpRequest, event: Event) -> HttpResponse:
        [moment] = moments([event])
        message = Message.objects.filter(pk=event.message_id).first() if event.message_id else None
        return self.render(
            request,
            "admin/webhooks/event.html",
            moment.label,
            event,
            moment=moment,
            message=message,
            whose=whose(event),
        )

    def why(self, request: HttpRequest) -> HttpResponse:
        """Why did, or didn't, somebody get a campaign: `?campaign=7&email=ana@example.com`."""
        facts = why.context(request)
        return self.render(request, "admin/webhooks/why.html", facts.pop("title"), **facts)

    def live(self, request: HttpRequest) -> HttpResponse:
        """The newest events as they come."""
        return self.render(request, "admin/webhooks/live.html", "Live", **live.context(request))

    # --- Pieces of other pages -----------------------------------------------------------

    def of_person(self, request: HttpRequest, person: int) -> HttpResponse:
        """The mails of a person and what became of them, the newest first."""
        events = list(
            Event.objects.filter(subscriber_id=person).order_by("-occurred_at")[:MOST_EVENTS]
        )
        mails = Message.objects.filter(subscriber=person).select_related("campaign")
        recent = list(mails.order_by("-pk")[:MOST_EVENTS])
        lines = _timeline(moments(events), recent)
        return self.fragment(
            request,
            "admin/webhooks/of_person.html",
            "",
            lines=lines,
            may_ask_why=why.may_see(request),
            campaigns=why.offered(None),
            person_email=Subscriber.objects.filter(pk=person)
            .values_list("email", flat=True)
            .first(),
        )

    def of_message(self, request: HttpRequest, message: int) -> HttpResponse:
        """What providers told about one message, the newest first."""
        events = Event.objects.filter(message_id=message).order_by("-occurred_at", "-pk")
        return self.fragment(
            request,
            "admin/webhooks/of_message.html",
            "",
            moments=moments(list(events[:MOST_EVENTS])),
            most=MOST_EVENTS,
        )

    def of_campaign(self, request: HttpRequest, campaign: int) -> HttpResponse:
        """Links and bounces for the report of a campaign."""
        asked = get_object_or_404(Campaign, pk=campaign)
        is_nameless = asked.tracking == TrackedBy.ANONYMOUS
        return self.fragment(
            request,
            "admin/webhooks/of_campaign.html",
            "",
            links=reporting.nameless_links(asked) if is_nameless else reporting.top_links(asked),
            nameless=reporting.nameless(asked) if is_nameless else None,
            bounces=reporting.bounce_reasons(asked),
        )


def _timeline(told: list[Moment], mails: list[Message]) -> list[dict[str, Any]]:
    """Return events and mails in one line, the newest first; within a second as things go."""
    order = list(WORDS)
    lines: list[dict[str, Any]] = [
        {
            "at": each.event.occurred_at,
            "label": each.label,
            "tone": each.tone,
            "moment": each,
            "rank": order.index(each.event.type) if each.event.type in order else 0,
        }
        for each in told
    ]
    for mail in mails:
        label = "Was sent" if mail.sent_at else f"{mail.get_status_display()}:"
        at = mail.sent_at or mail.created_at
        tone = "info" if mail.sent_at else "warn"
        lines.append({"at": at, "label": label, "tone": tone, "mail": mail, "rank": -1})
    return sorted(lines, key=lambda line: (line["at"], line["rank"]), reverse=True)
