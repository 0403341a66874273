"""Address checks: who is held back and why, and re-checks with their progress."""

from __future__ import annotations

from typing import Any, cast

from django import forms
from django.contrib import admin, messages
from django.contrib.admin import SimpleListFilter
from django.contrib.auth.models import User
from django.core.cache import cache
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import URLPattern, reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.views import ChangeList

from emailplatform.admin import Button, Empty, KeysetChangeList, PageAdmin, ReadOnlyAdmin
from emailplatform.celery import nudge
from emailplatform.errors import DomainError
from emailplatform.formats import ago, badge, number
from subscribers import checking, consenting, rechecking
from subscribers.admin.filters import MOST_LISTS
from subscribers.consents import BY_TEAM
from subscribers.flagging import BAD, Kind, Verdict
from subscribers.models import CheckRun, HeldSubscription, MailingList, Subscription
from subscribers.tasks import check_domains

VERDICT_TONES = {
    Verdict.OK: "ok",
    Verdict.RISKY: "warn",
    Verdict.BAD: "bad",
    Verdict.UNKNOWN: "quiet",
}
BADGE_FRESH_S = 30
MOST_COUNTED = 1000


def held_badge(request: HttpRequest) -> str:
    """Return how many addresses are held, for the menu; "" for none."""
    held = Subscription.objects.filter(status=Subscription.Status.HELD)
    count = cache.get_or_set("held:waiting", held[:MOST_COUNTED].count, BADGE_FRESH_S)
    return f"{number(count)}{'+' if count == MOST_COUNTED else ''}" if count else ""


def flag_badge(kind: str) -> SafeString:
    return badge(Kind(kind).label, "bad" if kind in BAD else "warn")


class HeldForFilter(SimpleListFilter):
    title = "what is wrong"
    parameter_name = "why"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Any:
        return Kind.choices

    def queryset(self, request: HttpRequest, rows: Any) -> Any:
        return rows.filter(held_for=self.value()) if self.value() else rows


class HeldListFilter(SimpleListFilter):
    title = "list"
    parameter_name = "list"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(str(row.pk), row.name) for row in MailingList.objects.all()[:MOST_LISTS]]

    def queryset(self, request: HttpRequest, rows: Any) -> Any:
        key = self.value() or ""
        return rows.filter(list=int(key)) if key.isdecimal() else rows


class JudgedList(KeysetChangeList):
    """Held addresses with what is known of them, read once for the page."""

    result_list: Any

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        rows: list[Any] = list(self.result_list)
        known = checking.known_of({row.subscriber.email for row in rows})
        for row in rows:
            row.check_ = known[row.subscriber.email]
        self.result_list = rows


@admin.register(HeldSubscription)
class HeldAdmin(ReadOnlyAdmin):
    keyset = True
    heading = "Held addresses"
    intro = (
        "These people are on a list, but get no mail until somebody has looked at their address. "
        "Each list says what it holds back."
    )
    list_display = ["person", "on_list", "why", "told", "since"]
    list_display_links = None
    list_filter = [HeldForFilter, HeldListFilter]
    list_select_related = ["subscriber", "list"]
    actions = ["release", "refuse"]
    empty = Empty(
        "task_alt",
        "Nobody is held back",
        "Addresses whose domain does not exist, takes no mail or looks misspelt wait here. What "
        "is held back, each list says under Edit.",
    )

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> Any:
        return JudgedList

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).filter(status=Subscription.Status.HELD)

    def has_decide_permission(self, request: HttpRequest) -> bool:
        """Rows are only looked at here; to decide takes the right to change people."""
        return request.user.has_perm("subscribers.change_subscription")

    @admin.display(description="Person")
    def person(self, row: Any) -> SafeString:
        url = reverse("admin:subscribers_subscriber_change", args=[row.subscriber_id])
        return format_html('<a class="ui-link" href="{}">{}</a>', url, row.subscriber.email)

    @admin.display(description="List")
    def on_list(self, row: Any) -> str:
        return str(row.list)

    @admin.display(description="What is wrong")
    def why(self, row: Any) -> SafeString:
        return flag_badge(row.held_for) if row.held_for else badge("Held", "warn")

    @admin.display(description="In words")
    def told(self, row: Any) -> SafeString:
        flags = [flag for flag in row.check_.flags if flag.kind == row.held_for]
        said = flags[0].reason if flags else "This is not found any more; a check lets them go."
        meant = row.check_.suggestion
        return format_html("{}{}", said, f" Probably meant: {meant}." if meant else "")

    @admin.display(description="Since")
    def since(self, row: Any) -> str:
        return ago(row.changed_at)

    @admin.action(description="Release: mail them", permissions=["decide"])
    def release(self, request: HttpRequest, rows: QuerySet[HeldSubscription]) -> None:
        people = [(row, row.subscriber) for row in rows.select_related("subscriber", "list")]
        count = Subscription.objects.clear([row.pk for row, _ in people], timezone.now())
        for row, person in people:
            self.log_change(request, row, f"{person} released on {row.list}.")
        self.message_user(request, f"{number(count)} released: they get mail from now on.")

    @admin.action(description="Refuse: take them off the list", permissions=["decide"])
    def refuse(self, request: HttpRequest, rows: QuerySet[HeldSubscription]) -> None:
        source = f"address refused by {request.user.get_username()}"
        now, count = timezone.now(), 0
        for row in rows.select_related("subscriber", "list"):
            consenting.unsubscribe(row.subscriber, [row.list_id], now, source, BY_TEAM)
            self.log_change(request, row, f"{row.subscriber} refused on {row.list}.")
            count += 1
        self.message_user(request, f"{number(count)} taken off their list.")


class RunForm(forms.Form):
    """Whose addresses are checked, and how old an answer may be."""

    list = forms.ModelChoiceField(MailingList.objects.all(), required=False)
    older_than_days = forms.IntegerField(required=False, min_value=1, max_value=3650)
    limit = forms.IntegerField(required=False, min_value=1, max_value=10_000_000)


RUN_TONES = {
    CheckRun.Status.QUEUED: "info",
    CheckRun.Status.RUNNING: "info",
    CheckRun.Status.DONE: "ok",
    CheckRun.Status.CANCELLED: "quiet",
}


@admin.register(CheckRun)
class CheckRunAdmin(PageAdmin):
    heading = "Address checks"
    intro = (
        "New domains are asked about by themselves. A check goes through the people you know once "
        "more: of one list, or all."
    )
    add_label = "Check addresses"
    list_display = ["of_whom", "state", "domains", "held", "released", "when", "by"]
    list_select_related = ["list", "created_by"]
    ordering = ["-id"]
    actions = None
    empty = Empty(
        "domain_verification",
        "No checks yet",
        "A check asks DNS again whether the domains of your people exist and take mail, and holds "
        "back whom your lists want you to look at.",
        "Check addresses",
        "admin:subscribers_checkrun_add",
    )

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> Any:
        return ChangeList

    @admin.display(description="Of whom")
    def of_whom(self, run: CheckRun) -> str:
        return str(run.list or "Everybody")

    @admin.display(description="Status")
    def state(self, run: CheckRun) -> SafeString:
        label = run.get_status_display()
        if run.status == CheckRun.Status.RUNNING:
            label = f"{label}, {run.share_done:.0%}"
        return badge(label, RUN_TONES[CheckRun.Status(run.status)])

    @admin.display(description="Domains")
    def domains(self, run: CheckRun) -> str:
        return number(run.done_count)

    @admin.display(description="Held back")
    def held(self, run: CheckRun) -> str:
        return number(run.held_count)

    @admin.display(description="Let go")
    def released(self, run: CheckRun) -> str:
        return number(run.released_count)

    @admin.display(description="When")
    def when(self, run: CheckRun) -> str:
        return ago(run.created_at)

    @admin.display(description="By")
    def by(self, run: CheckRun) -> str:
        return str(run.created_by or "–")

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """What was checked, by whom, stays known."""
        return False

    def own_urls(self) -> list[URLPattern]:
        return [
            self.page("<int:pk>/progress/", self.progress, "progress"),
            self.deed("<int:pk>/cancel/", self.cancel, "cancel"),
        ]

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """Ask for whom, then start."""
        self.require(request, "add")
        form = RunForm(request.POST or None, initial={"list": request.GET.get("list")})
        if request.method == "POST" and form.is_valid() and (run := self._started(request, form)):
            return redirect(self.url("change", run.pk))
        return self.render(
            request, "admin/subscribers/checks/start.html", "Check addresses", form=form
        )

    def _started(self, request: HttpRequest, form: RunForm) -> CheckRun | None:
        data = form.cleaned_data
        try:
            run = rechecking.start(
                data["list"],
                older_than_days=data["older_than_days"],
                limit=data["limit"],
                user=cast("User", request.user),
            )
        except DomainError as error:
            self.message_user(request, str(error), messages.ERROR)
            return None
        self.log_addition(request, run, "Started.")
        nudge(check_domains)
        return run

    def show(self, request: HttpRequest, run: CheckRun) -> HttpResponse:
        buttons = []
        if run.is_working and self.has_change_permission(request, run):
            question = "Stop this check? What was found out stays."
            url = self.url("cancel", run.pk)
            buttons = [Button("Stop", url, "stop", "danger", post=True, confirm=question)]
        return self.render(
            request,
            "admin/subscribers/checks/page.html",
            f"Check of {run.list or 'everybody'}",
            run,
            state=run.status,
            tone=RUN_TONES[CheckRun.Status(run.status)],
            people=_people(run),
            buttons=buttons,
        )

    def progress(self, request: HttpRequest, run: CheckRun) -> HttpResponse:
        """The fragment that refreshes itself."""
        template = "admin/subscribers/checks/progress.html"
        return self.fragment(request, template, run.status, original=run)

    def cancel(self, request: HttpRequest, run: CheckRun) -> None:
        run.cancel(timezone.now())
        self.done(request, run, "The check is stopped. What was found out stays.")


def _people(run: CheckRun) -> list[tuple[str, str, int, str]]:
    """Return (kind, label, people, where they are listed), the worst kinds first."""
    people = reverse("admin:subscribers_subscriber_changelist")
    on_list = f"&list={run.list_id}" if run.list_id else ""
    named = [*Kind.choices, ("unknown", "Not known: DNS has not answered, or was not asked")]
    return [
        (kind, str(label), run.people[kind], f"{people}?address={kind}{on_list}")
        for kind, label in named
        if run.people.get(kind)
    ]
