"""Campaigns: the list, and one page per campaign from draft to report."""

from __future__ import annotations

import contextlib
from datetime import timedelta
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.urls import URLPattern
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from kombu.exceptions import OperationalError as BrokerGone

from campaigns import copying, launching, previewing, targeting
from campaigns.admin import previews
from campaigns.models import Campaign
from delivery import proofing, resending, tasks
from delivery.admin import drafts, exporting, listing, moves, progress
from delivery.admin.forms import STEP_FORMS, AudienceForm, ContentForm, NameForm, TestForm
from emailplatform.admin import Empty, PageAdmin
from emailplatform.celery import nudge
from emailplatform.errors import DomainError, InvalidInput
from emailplatform.formats import ago, badge, number

COMING_IN = timedelta(hours=2)
"""How long after its end a report is worth reading anew every few seconds."""
Status = Campaign.Status


@admin.register(Campaign)
class CampaignAdmin(PageAdmin):
    keyset = True
    intro = "Mailings to many people: drafts, what is going out, and what became of it."
    add_label = "New campaign"
    list_display = [
        "campaign",
        "state",
        "sent_count",
        "delivered_rate",
        "opened_rate",
        "clicked_rate",
        "when",
    ]
    list_filter = ["status"]
    search_fields = ["name"]
    actions = None
    empty = Empty(
        "campaign",
        "No campaigns yet",
        "A campaign is one mail to many people: choose who gets it and what it says, look at it "
        "as any of them, and send it when the check is green.",
        "New campaign",
        "admin:campaigns_campaign_add",
    )

    class Media:
        css = {"all": ["ui/mail.css"]}
        js = ["ui/mail.js"]

    # --- The list ------------------------------------------------------------------------

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> Any:
        return listing.CampaignList

    def get_queryset(self, request: HttpRequest) -> QuerySet[Campaign]:
        rows: QuerySet[Campaign] = super().get_queryset(request).select_related("template")
        return rows

    @admin.display(description="Campaign")
    def campaign(self, campaign: Campaign) -> SafeString:
        subject = listing.headline(campaign)
        line = format_html('<br><span class="ui-quiet-text ui-small">{}</span>', subject)
        return format_html("{}{}", campaign.name, line if subject else "")

    @admin.display(description="State")
    def state(self, campaign: Campaign) -> SafeString:
        return badge(campaign.get_status_display(), listing.TONES[Status(campaign.status)])

    @admin.display(description="Sent")
    def sent_count(self, campaign: Any) -> str:
        if not campaign.size:
            return "–"
        is_all = campaign.totals.sent == campaign.size
        sent = number(campaign.totals.sent)
        return sent if is_all else f"{sent} of {number(campaign.size)}"

    @admin.display(description="Delivered")
    def delivered_rate(self, campaign: Any) -> SafeString | str:
        return listing.rate(campaign.totals.delivered, campaign.totals.sent)

    @admin.display(description="Opened")
    def opened_rate(self, campaign: Any) -> SafeString | str:
        return listing.rate(campaign.totals.opened, campaign.totals.delivered)

    @admin.display(description="Clicked")
    def clicked_rate(self, campaign: Any) -> SafeString | str:
        return listing.rate(campaign.totals.clicked, campaign.totals.delivered)

    @admin.display(description="When")
    def when(self, campaign: Campaign) -> SafeString | str:
        if campaign.launched_at:
            return ago(campaign.launched_at)
        if campaign.status == Status.SCHEDULED:
            return format_html("Goes out {}", ago(campaign.send_at))
        return format_html("Created {}", ago(campaign.created_at))

    # --- Addresses -----------------------------------------------------------------------

    def own_urls(self) -> list[URLPattern]:
        return [
            self.page("<int:pk>/step/<slug:name>/", self.step, "step"),
            self.page("<int:pk>/measure/", self.measure, "measure"),
            self.page("<int:pk>/preview/", self.preview, "preview"),
            self.page("<int:pk>/progress/", self.progress, "progress"),
            self.page("<int:pk>/totals/", self.totals, "totals"),
            self.page("<int:pk>/messages.csv", self.export, "export"),
            self.deed("<int:pk>/test/", self.test, "test"),
            self.deed("<int:pk>/launch/", self.launch, "launch"),
            self.deed("<int:pk>/pause/", self.pause, "pause"),
            self.deed("<int:pk>/resume/", self.resume, "resume"),
            self.deed("<int:pk>/cancel/", self.cancel, "cancel"),
            self.deed("<int:pk>/unschedule/", self.unschedule, "unschedule"),
            self.deed("<int:pk>/accept/", self.accept, "accept"),
            self.deed("<int:pk>/resend-failed/", self.resend_failed, "resend_failed"),
            self.deed(
                "<int:pk>/resend-unconfirmed/", self.resend_unconfirmed, "resend_unconfirmed"
            ),
            self.deed("<int:pk>/duplicate/", self.duplicate, "duplicate", "add"),
        ]

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Only drafts are deleted: what was sent stays known."""
        is_draft = obj is None or obj.status == Status.DRAFT
        return is_draft and bool(super().has_delete_permission(request, obj))

    # --- One campaign --------------------------------------------------------------------

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> Any:
        """Ask for a name; everything else is on the campaign's page."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        form = NameForm(request.POST or None)
        if request.method == "POST" and form.is_valid():
            campaign = copying.begin(form.cleaned_data["name"], request.user)
            self.log_addition(request, campaign, "Begun.")
            return redirect(self.url("step", campaign.pk, "audience"))
        return self.render(request, "admin/delivery/campaign_new.html", "New campaign", form=form)

    def show(self, request: HttpRequest, campaign: Campaign) -> HttpResponse:
        """The page that fits the campaign's state."""
        if campaign.status == Status.DRAFT:
            name = drafts.first_open(launching.problems(campaign))
            return redirect(self.url("step", campaign.pk, name))
        if campaign.status == Status.SCHEDULED:
            return self._scheduled(request, campaign)
        is_under_way = campaign.status in {Status.SENDING, Status.PAUSED}
        return (
            self._under_way(request, campaign) if is_under_way else self._report(request, campaign)
        )

    def _page(
        self, request: HttpRequest, name: str, campaign: Campaign, **context: Any
    ) -> HttpResponse:
        return self.render(
            request,
            f"admin/delivery/campaign_{name}.html",
            campaign.name,
            campaign,
            tone=listing.TONES[Status(campaign.status)],
            headline=listing.headline(campaign),
            **{"buttons": moves.buttons(self, request, campaign), **context},
        )

    # --- Draft ---------------------------------------------------------------------------

    def step(self, request: HttpRequest, campaign: Campaign, name: str) -> HttpResponse:
        """Show one step of a draft, or save it and go to the next."""
        if name not in drafts.STEPS:
            raise Http404
        if campaign.status != Status.DRAFT:
            return self.back(request, campaign)
        form = None
        if name in STEP_FORMS:
            form = STEP_FORMS[name](request.POST or None, instance=campaign)
            if request.method == "POST" and self._is_saved(request, form):
                names = list(drafts.STEPS)
                return redirect(self.url("step", campaign.pk, names[names.index(name) + 1]))
        return self._step(request, campaign, name, form)

    def _step(self, request: HttpRequest, campaign: Campaign, name: str, form: Any) -> HttpResponse:
        shown = Campaign.objects.get(pk=campaign.pk)
        problems = launching.problems(shown)  # of what is stored, not of what was refused
        return self._page(
            request,
            f"step_{name}",
            campaign,
            form=form,
            steps=drafts.steps(problems, name),
            problems=problems,
            **self._shown_at(name, shown, problems),
        )

    def _is_saved(self, request: HttpRequest, form: Any) -> bool:
        if not self.has_change_permission(request, form.instance):
            raise PermissionDenied
        if not form.is_valid():
            return False
        with transaction.atomic():
            # Locked: a launch at the same moment comes before or after it.
            rows = Campaign.objects.select_for_update()
            stored = get_object_or_404(rows, pk=form.instance.pk)
            if not stored.is_editable:
                status = stored.get_status_display().lower()
                form.add_error(None, f"The campaign is {status} by now and cannot be changed.")
                return False
            form.save(commit=False).save(update_fields=_columns_of(form))
            form.save_m2m()
        self.log_change(request, form.instance, [{"changed": {"fields": form.changed_data}}])
        return True

    def _shown_at(self, name: str, campaign: Any, problems: Any) -> dict[str, Any]:
        """Return what a step shows beside its form."""
        if name == "audience":
            return drafts.measure(targeting.choice_of(campaign))
        if name == "check":
            return {"checks": drafts.checks(problems, campaign)}
        if name == "send" and not problems:
            return drafts.plan(campaign, targeting.measured(targeting.choice_of(campaign)))
        return {}

    def measure(self, request: HttpRequest, campaign: Campaign) -> HttpResponse:
        """Show whom the ticked lists and segments reach, saved or not."""
        form = AudienceForm(request.POST, instance=campaign)
        found = drafts.measure(form.choice()) if form.is_valid() else {"audience": None}
        return self.fragment(request, "admin/delivery/audience.html", "", **found)

    def preview(self, request: HttpRequest, campaign: Campaign) -> HttpResponse:
        """Show the mail with what the content step says right now; nothing is saved."""
        if campaign.status == Status.DRAFT and "subject" in request.POST:
            ContentForm(request.POST, instance=campaign).is_valid()  # fills in what is usable
            if campaign.template is None:
                return previews.hint("Choose a template, and the mail is shown here.")
        try:
            source = launching.source_of(campaign)
        except launching.CannotLaunch as problem:
            return previews.refused(str(problem))
        return previews.answer(source, campaign, request.POST.get("person", ""))

    def test(self, request: HttpRequest, campaign: Campaign) -> HttpResponse | None:
        """Send the mail to an address of the team, as one person would get it.

        What is written on the content step comes along and is saved first.
        """
        if campaign.status != Status.DRAFT:
            self._send_test(request, campaign)
            return None
        if "template" in request.POST:
            content = ContentForm(request.POST, instance=campaign)
            if not self._is_saved(request, content):
                return self._step(request, campaign, "content", content)
        try:
            self._send_test(request, campaign)
        except DomainError as error:
            self.message_user(request, str(error), messages.ERROR)
        return redirect(self.url("step", campaign.pk, "content"))

    def _send_test(self, request: HttpRequest, campaign: Campaign) -> None:
        form = TestForm(request.POST)
        if not form.is_valid():
            raise InvalidInput("Write the address the test goes to.", param="to")
        person = previewing.find_person(form.cleaned_data["person"]) or previewing.sample()
        sentence = proofing.send_test(campaign, form.cleaned_data["to"], person, timezone.now())
        self.message_user(request, sentence, messages.SUCCESS)

    # --- Deeds ---------------------------------------------------------------------------

    def launch(self, request: HttpRequest, campaign: Campaign) -> HttpResponse | None:
        """Send now, or at the time that is set."""
        here = redirect(self.url("step", campaign.pk, "send"))
        try:
            drafts.confirm_number(campaign, request.POST.get("people", ""))
            if campaign.send_at:
                launching.schedule(campaign, campaign.send_at, timezone.now())
                self.done(request, campaign, "Scheduled. Nothing goes out before that time.")
            else:
                launching.launch(campaign, timezone.now())
                _nudge()
                self.done(request, campaign, "Sending has begun. You may close this page.")
        except DomainError as error:
            self.message_user(request, str(error), messages.ERROR)
            return here
        return None

    def pause(self, request: HttpRequest, campaign: Campaign) -> None:
        campaign.pause()
        self.done(request, campaign, "Paused. What a provider already has goes on.")

    def resume(self, request: HttpRequest, campaign: Campaign) -> None:
        campaign.resume()
        _nudge()
        self.done(request, campaign, "Sending goes on.")

    def cancel(self, request: HttpRequest, campaign: Campaign) -> None:
        campaign.cancel(timezone.now())
        _nudge()
        self.done(request, campaign, "Stopped for good. Who had not been sent to gets nothing.")

    def unschedule(self, request: HttpRequest, campaign: Campaign) -> None:
        campaign.unschedule()
        self.done(request, campaign, "Back to draft: nothing goes out until you send it.")

    def accept(self, request: HttpRequest, campaign: Campaign) -> None:
        campaign.accept()
        self.done(request, campaign, "Accepted as it is: the campaign counts as sent.")

    def resend_failed(self, request: HttpRequest, campaign: Campaign) -> None:
        count = resending.resend_failed(campaign, timezone.now())
        self._resent(request, campaign, count, "failed")

    def resend_unconfirmed(self, request: HttpRequest, campaign: Campaign) -> None:
        count = resending.resend_unconfirmed(campaign, timezone.now())
        self._resent(request, campaign, count, "unconfirmed")

    def _resent(self, request: HttpRequest, campaign: Campaign, count: int, which: str) -> None:
        if not count:
            raise InvalidInput(f"Nobody is left who is {which}: nothing was sent again.")
        _nudge()
        self.done(request, campaign, f"Sending again to {number(count)} {which}.")

    def duplicate(self, request: HttpRequest, campaign: Campaign) -> HttpResponse:
        copy = copying.copy_of(campaign, request.user)
        self.done(request, copy, f"{copy.name} is a new draft.")
        return redirect(self.url("step", copy.pk, "audience"))

    # --- Scheduled, under way, over ------------------------------------------------------

    def _scheduled(self, request: HttpRequest, campaign: Campaign) -> HttpResponse:
        audience = targeting.measured(targeting.choice_of(campaign))
        plan = drafts.plan(campaign, audience)
        return self._page(request, "scheduled", campaign, **plan, state=campaign.status)

    def _under_way(self, request: HttpRequest, campaign: Campaign) -> HttpResponse:
        numbers = progress.progress(campaign)
        return self._page(request, "sending", campaign, **numbers, state=campaign.status)

    def progress(self, request: HttpRequest, campaign: Campaign) -> HttpResponse:
        """The piece of the page that is read anew every two seconds."""
        return self.fragment(
            request,
            "admin/delivery/progress.html",
            campaign.status,
            original=campaign,
            **progress.progress(campaign),
        )

    def _report(self, request: HttpRequest, campaign: Campaign) -> HttpResponse:
        is_fresh = bool(campaign.finished_at and timezone.now() - campaign.finished_at < COMING_IN)
        facts = progress.report(campaign)
        facts["again"] = moves.again(self, request, campaign, facts["progress"])
        ways_out = moves.held(self, request, campaign, facts["progress"])
        facts["buttons"] = moves.buttons(self, request, campaign) + ways_out
        return self._page(request, "report", campaign, **facts, is_fresh=is_fresh)

    def totals(self, request: HttpRequest, campaign: Campaign) -> HttpResponse:
        """The upper part of a report, read anew while numbers still come in."""
        facts = progress.outcome(campaign)
        facts["again"] = moves.again(self, request, campaign, facts["progress"])
        template = "admin/delivery/totals.html"
        return self.fragment(request, template, campaign.status, original=campaign, **facts)

    def export(self, request: HttpRequest, campaign: Campaign) -> HttpResponse:
        """Every message of the campaign as CSV, streamed."""
        return exporting.messages_csv(campaign)


def _columns_of(form: Any) -> set[str]:
    """Return the columns a form asks for: the others may have been changed since it was read."""
    return {field.name for field in Campaign._meta.concrete_fields if field.name in form.fields}


def _nudge() -> None:
    """Wake the workers now. Without a broker the next tick does it, or `manage.py dispatch`."""
    with contextlib.suppress(BrokerGone):
        nudge(tasks.advance_campaigns)
        nudge(tasks.send_marketing)
