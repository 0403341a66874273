"""Hand-offs, the send journal: one call to one provider each, for operators."""

from __future__ import annotations

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.safestring import SafeString

from delivery.admin.filters import CampaignFilter, ProviderFilter
from delivery.admin.reasons import decision_of
from delivery.models import Handoff
from emailplatform.admin import Empty, PageAdmin, ReadOnlyAdmin
from emailplatform.formats import ago, badge, number

Status = Handoff.Status
TONES = {
    Status.PREPARING: "quiet",
    Status.IN_FLIGHT: "info",
    Status.DONE: "ok",
    Status.REFUSED: "bad",
    Status.UNKNOWN: "warn",
}
GIVEN_BACK = "Given back"


def standing(handoff: Handoff) -> tuple[str, str]:
    """Return its state in words, and the tone: one closed before its call refused nothing."""
    if handoff.status == Status.REFUSED and handoff.in_flight_at is None:
        return GIVEN_BACK, "quiet"
    return handoff.get_status_display(), TONES[Status(handoff.status)]


@admin.register(Handoff)
class HandoffAdmin(ReadOnlyAdmin, PageAdmin):
    keyset = True
    intro = (
        "The send journal: each row is one call to one provider. Written before the call, so that "
        "a crash can be told from a refusal."
    )
    list_display = [
        "number",
        "through",
        "of_campaign",
        "mailbox",
        "state",
        "people",
        "took",
        "began",
    ]
    list_filter = ["status", ProviderFilter, CampaignFilter, "mailbox"]
    list_select_related = ["campaign", "provider"]
    empty = Empty("outbox", "No hand-offs yet", "They appear while a campaign is sent.")

    class Media:
        css = {"all": ["ui/mail.css"]}

    @admin.display(description="Hand-off")
    def number(self, handoff: Handoff) -> str:
        return str(handoff.pk)

    @admin.display(description="Provider")
    def through(self, handoff: Handoff) -> str:
        return str(handoff.provider)

    @admin.display(description="Campaign")
    def of_campaign(self, handoff: Handoff) -> str:
        return str(handoff.campaign or "–")

    @admin.display(description="State")
    def state(self, handoff: Handoff) -> SafeString:
        return badge(*standing(handoff))

    @admin.display(description="Accepted")
    def people(self, handoff: Handoff) -> str:
        if standing(handoff)[0] == GIVEN_BACK:
            return "–"
        return f"{number(handoff.accepted)} of {number(handoff.size)}"

    @admin.display(description="Call took")
    def took(self, handoff: Handoff) -> str:
        if not (handoff.in_flight_at and handoff.finished_at):
            return "–"
        return f"{(handoff.finished_at - handoff.in_flight_at).total_seconds() * 1000:,.0f} ms"

    @admin.display(description="Began")
    def began(self, handoff: Handoff) -> str:
        return ago(handoff.started_at)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Handoff]:
        rows: QuerySet[Handoff] = (
            super().get_queryset(request).defer("provider__secrets", "provider__config")
        )
        return rows

    def show(self, request: HttpRequest, handoff: Handoff) -> HttpResponse:
        words, tone = standing(handoff)
        return self.render(
            request,
            "admin/delivery/handoff.html",
            f"Hand-off {handoff.pk}",
            handoff,
            state=words,
            tone=tone,
            decision=decision_of(handoff),
            took=self.took(handoff),
        )
