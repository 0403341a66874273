"""List hygiene: the rules, and runs that say who and why before anything is done."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import Count
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import URLPattern, reverse
from django.utils import timezone
from django.utils.safestring import SafeString

from emailplatform.admin import Button, Empty, ModelAdmin, PageAdmin
from emailplatform.errors import InvalidInput
from emailplatform.formats import ago, badge, number, share
from subscribers.models import HygieneRule, HygieneRun
from webhooks import cleaning

TONES = {"dry": "info", "waiting": "warn", "done": "ok", "undone": "quiet"}
SHOWN = 200


@admin.register(HygieneRule)
class HygieneRuleAdmin(ModelAdmin):
    heading = "Rules of list hygiene"
    intro = (
        "Usual: tag who shows no sign of life for 180 days, send those a mail that asks, and "
        "unsubscribe who has not answered it after 30 days."
    )
    add_label = "Add rule"
    list_display = ["name", "kind", "days", "count", "action", "tag", "is_active"]
    actions = None
    empty = Empty(
        "cleaning_services",
        "No rules yet",
        "A rule finds dead addresses, mailboxes that keep refusing, or people who never read what "
        "you send, and tags or unsubscribes them. Nothing happens without one.",
        "Add rule",
        "admin:subscribers_hygienerule_add",
    )


@admin.register(HygieneRun)
class HygieneRunAdmin(PageAdmin):
    keyset = True
    can_be_added = False
    heading = "List hygiene"
    intro = (
        "Every night the active rules look for whom to let go. A dry run shows who and why; "
        "a run can be taken back."
    )
    list_display = ["when", "state", "found_count", "share_of_all", "started_by"]
    list_filter = ["status"]
    actions = None
    empty = Empty(
        "cleaning_services",
        "No run yet",
        "Make a rule, then look with a dry run whom it would find. Nothing is done by looking.",
        "See the rules",
        "admin:subscribers_hygienerule_changelist",
    )

    @admin.display(description="When")
    def when(self, run: HygieneRun) -> str:
        return ago(run.at)

    @admin.display(description="Status")
    def state(self, run: HygieneRun) -> SafeString:
        return badge(run.get_status_display(), TONES[run.status])

    @admin.display(description="People found")
    def found_count(self, run: HygieneRun) -> str:
        return number(run.found)

    @admin.display(description="Of all")
    def share_of_all(self, run: HygieneRun) -> str:
        return share(run.found, run.active_people)

    @admin.display(description="By")
    def started_by(self, run: HygieneRun) -> str:
        return run.by or "the night"

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def list_buttons(self, request: HttpRequest) -> list[Button]:
        rules = reverse("admin:subscribers_hygienerule_changelist")
        buttons = [Button("Rules", rules, "rule")]
        if self.has_change_permission(request):
            buttons.append(Button("Dry run", self.url("look"), "search", "primary", post=True))
        return buttons

    def own_urls(self) -> list[URLPattern]:
        return [
            self.deed("look/", self.look, "look"),
            self.deed("<int:pk>/act/", self.act, "act"),
            self.deed("<int:pk>/undo/", self.undo, "undo"),
        ]

    def show(self, request: HttpRequest, run: HygieneRun) -> HttpResponse:
        acts = run.acts.select_related("subscriber", "rule").order_by("pk")[:SHOWN]
        counts = run.acts.values("rule__name", "rule__action", "rule__tag").annotate(n=Count("pk"))
        return self.render(
            request,
            "admin/webhooks/hygiene.html",
            f"{run}",
            run,
            acts=acts,
            counts=counts.order_by("rule__name"),
            tone=TONES[run.status],
            shown=SHOWN,
            is_too_much=cleaning.is_too_much(run),
            buttons=self._buttons(request, run),
        )

    def _buttons(self, request: HttpRequest, run: HygieneRun) -> list[Button]:
        if not self.has_change_permission(request, run) or not run.found:
            return []
        if run.status == HygieneRun.Status.DONE:
            question = "Take it back? Tags go, and who was unsubscribed is on their lists again."
            back = self.url("undo", run.pk)
            return [Button("Take back", back, "undo", "danger", post=True, confirm=question)]
        if run.status == HygieneRun.Status.UNDONE:
            return []
        question = f"Do what the rules say with {number(run.found)} people?"
        label = f"Do it with {number(run.found)} people"
        go = self.url("act", run.pk)
        return [Button(label, go, "cleaning_services", "primary", post=True, confirm=question)]

    # --- Deeds ---------------------------------------------------------------------------

    def look(self, request: HttpRequest) -> HttpResponse:
        """Look by all rules, also by those that do not run at night yet."""
        rules = list(HygieneRule.objects.all())
        if not rules:
            raise InvalidInput("Make a rule first: then a dry run shows whom it would find.")
        run = cleaning.look(timezone.now(), request.user.get_username(), rules)
        self.done(request, run, f"Looked: the rules speak of {number(run.found)} people.")
        return redirect(self.url("change", run.pk))

    def act(self, request: HttpRequest, run: HygieneRun) -> None:
        cleaning.act(run, timezone.now(), request.user.get_username())
        self.done(request, run, f"Done with {number(run.found)} people.")

    def undo(self, request: HttpRequest, run: HygieneRun) -> None:
        back = cleaning.undo(run, timezone.now(), request.user.get_username())
        self.done(request, run, f"Taken back for {number(back)} people.")
