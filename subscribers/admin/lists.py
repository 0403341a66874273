"""Lists: who is on them, and how they grow."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.views import ChangeList

from emailplatform.admin import Button, Empty, PageAdmin
from emailplatform.formats import ago, number
from subscribers import counting
from subscribers.admin.forms import POLICY_FIELDS, ListForm, policy_fields
from subscribers.flagging import Kind, Policy
from subscribers.models import MailingList


class CountedLists(ChangeList):
    """Lists with their numbers, read once for the page."""

    result_list: Any

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        rows: list[Any] = list(self.result_list)
        standings = counting.standings([row.pk for row in rows])
        for row in rows:
            row.standing = standings[row.pk]
        self.result_list = rows


@admin.register(MailingList)
class ListAdmin(PageAdmin):
    heading = "Lists"
    intro = "What people sign up for. A campaign goes to one or more lists."
    add_label = "Create list"
    list_display = [
        "name", "subscribed_count", "pending_count", "unsubscribed_count", "description", "made",
    ]  # fmt: skip
    search_fields = ["name"]
    fields = ["name", "description", "double_opt_in", "is_open"]
    actions = None
    empty = Empty(
        "list_alt",
        "No lists yet",
        "A list is what people sign up for, like “Newsletter” or “Product news”. Make one, "
        "then import people into it.",
        "Create list",
        "admin:subscribers_mailinglist_add",
    )

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        about = "What happens to an address that is spelt correctly but flagged."
        return [
            (None, {"fields": self.fields}),
            ("Addresses in doubt", {"fields": list(POLICY_FIELDS), "description": about}),
        ]

    def get_form(
        self, request: HttpRequest, obj: Any = None, change: bool = False, **kw: Any
    ) -> Any:
        """Return the form with a choice per kind of flag."""
        kw["form"] = type("ListForm", (ListForm,), policy_fields())
        return super().get_form(request, obj, change, **kw)

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> Any:
        return CountedLists

    @admin.display(description="Subscribed")
    def subscribed_count(self, row: Any) -> SafeString:
        url = f"{reverse('admin:subscribers_subscriber_changelist')}?list={row.pk}"
        return format_html(
            '<a class="ui-link" href="{}">{}</a>', url, number(row.standing.subscribed)
        )

    @admin.display(description="To confirm")
    def pending_count(self, row: Any) -> str:
        return number(row.standing.pending)

    @admin.display(description="Unsubscribed")
    def unsubscribed_count(self, row: Any) -> str:
        return number(row.standing.unsubscribed)

    @admin.display(description="Made")
    def made(self, row: MailingList) -> str:
        return ago(row.created_at)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """A list keeps who left it: only admins end that."""
        return bool(request.user.is_superuser) and super().has_delete_permission(request, obj)

    # --- One list ------------------------------------------------------------------------

    def show(self, request: HttpRequest, row: MailingList) -> HttpResponse:
        days = counting.growth(row, timezone.now())
        return self.render(
            request,
            "admin/subscribers/list.html",
            row.name,
            row,
            standing=counting.standings([row.pk])[row.pk],
            days=days,
            policies=_policies(row),
            joined=sum(day.joined for day in days),
            left=sum(day.left for day in days),
            highest=max((day.joined + day.left for day in days), default=0),
            buttons=self._buttons(request, row),
        )

    def _buttons(self, request: HttpRequest, row: MailingList) -> list[Button]:
        people = f"{reverse('admin:subscribers_subscriber_changelist')}?list={row.pk}"
        buttons = [Button("See people", people, "group")]
        if self.has_change_permission(request, row):
            buttons.append(Button("Edit", self.url("edit", row.pk), "edit"))
        if request.user.has_perm("subscribers.add_import"):
            url = f"{reverse('admin:subscribers_import_add')}?list={row.pk}"
            buttons.append(Button("Import people", url, "upload_file", "primary"))
        return buttons


def _policies(row: MailingList) -> list[tuple[str, str, str]]:
    """Return (flag, what is done with it, tone)."""
    words = {Policy.ACCEPT: "accepted", Policy.HOLD: "held back", Policy.REFUSE: "refused"}
    tones = {Policy.ACCEPT: "ok", Policy.HOLD: "warn", Policy.REFUSE: "bad"}
    chosen = [(kind, Policy(row.policies[kind])) for kind in Kind]
    return [(str(kind.label), words[policy], tones[policy]) for kind, policy in chosen]
