"""Alerts: what went wrong and when it was over, and whether operators were told."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import Prefetch, QuerySet
from django.http import HttpRequest
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from delivery import alerting
from delivery.models import Alert, Notice
from emailplatform.admin import Empty, ReadOnlyAdmin
from emailplatform.formats import ago, badge, number


class OpenFilter(admin.SimpleListFilter):
    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("open", "Still there"), ("over", "Over")]

    def queryset(self, request: HttpRequest, rows: QuerySet[Alert]) -> QuerySet[Alert]:
        if self.value() in {"open", "over"}:
            return rows.filter(resolved_at__isnull=self.value() == "open")
        return rows


class KindFilter(admin.SimpleListFilter):
    title = "kind"
    parameter_name = "kind"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return list(alerting.LABELS.items())

    def queryset(self, request: HttpRequest, rows: QuerySet[Alert]) -> QuerySet[Alert]:
        return rows.filter(kind=self.value()) if self.value() else rows


@admin.register(Alert)
class AlertAdmin(ReadOnlyAdmin):
    keyset = True
    intro = (
        "What went wrong, from when it was seen until it was over. Operators are told by e-mail "
        "and webhook once each, and again while it goes on."
    )
    list_display = ["what", "state", "seen", "since", "over", "told"]
    list_display_links = None
    list_filter = [OpenFilter, KindFilter]
    empty = Empty("notifications", "No alerts", "Nothing has gone wrong that you should know of.")

    class Media:
        css = {"all": ["ui/mail.css"]}

    def get_queryset(self, request: HttpRequest) -> QuerySet[Alert]:
        notices = Prefetch("notices", Notice.objects.defer("body"))
        rows: QuerySet[Alert] = super().get_queryset(request).prefetch_related(notices)
        return rows

    @admin.display(description="What")
    def what(self, alert: Alert) -> SafeString:
        link = alert.payload.get("url", "")
        subject = alert.subject
        if link:
            subject = format_html('<a class="ui-link" href="{}">{}</a>', link, subject)
        line = '<div class="ui-cell">{}: {}<br><span class="ui-quiet-text ui-small">{}</span></div>'
        return format_html(line, alerting.label_of(alert.kind), subject, alert.text)

    @admin.display(description="State")
    def state(self, alert: Alert) -> SafeString:
        return badge("Over", "ok") if alert.resolved_at else badge("Still there", "bad")

    @admin.display(description="Times")
    def seen(self, alert: Alert) -> str:
        return number(alert.count)

    @admin.display(description="Since")
    def since(self, alert: Alert) -> SafeString | str:
        return ago(alert.raised_at)

    @admin.display(description="Over")
    def over(self, alert: Alert) -> SafeString | str:
        return ago(alert.resolved_at)

    @admin.display(description="Told by")
    def told(self, alert: Alert) -> SafeString | str:
        """The last notice of each channel, with why it has not arrived."""
        last = {notice.channel: notice for notice in alert.notices.all()}
        lines = [(notice.get_channel_display(), _standing(notice)) for notice in last.values()]
        return format_html_join(SafeString("<br>"), "{}: {}", lines) or "–"


def _standing(notice: Notice) -> str:
    if notice.sent_at:
        return "told"
    if notice.given_up_at:
        return f"given up after {notice.attempts} tries. {notice.error}"
    return f"tried {notice.attempts} times. {notice.error}" if notice.error else "on its way"
