"""Incoming webhooks: what came, what it became, and doing it again."""

from __future__ import annotations

import contextlib
import json
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.contrib import admin
from django.db.models import QuerySet
from django.db.models.functions import Length
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern
from django.utils import timezone
from django.utils.safestring import SafeString

from emailplatform.admin import Button, Empty, PageAdmin, ReadOnlyAdmin
from emailplatform.formats import ago, badge, number
from webhooks import finding, reporting
from webhooks.models import RawRequest, WebhookCount

Status = RawRequest.Status
TONES = {
    Status.PENDING: "info",
    Status.APPLIED: "ok",
    Status.FAILED: "bad",
    Status.UNPARSABLE: "warn",
}
MOST_GAPS = 20
_SHOWN = 200_000
"""Characters of a body that the page shows."""


@admin.register(RawRequest)
class RequestAdmin(ReadOnlyAdmin, PageAdmin):
    keyset = True
    heading = "Incoming webhooks"
    intro = (
        "What providers posted to us, exactly as it came. Only genuine requests are kept; forged "
        "ones are refused and counted."
    )
    list_display = ["webhook", "of_account", "state", "detail", "size_count", "came"]
    list_filter = ["status", "is_late"]
    list_select_related = ["account"]
    actions = ["replay_selected"]
    empty = Empty(
        "webhook",
        "Nothing came yet",
        "Give each provider its webhook address: it stands on the provider’s page.",
        "See the providers",
        "admin:delivery_provideraccount_changelist",
    )
    change_list_template = "admin/webhooks/requests.html"

    class Media:
        css = {"all": ["ui/mail.css"]}

    @admin.display(description="Request")
    def webhook(self, request: RawRequest) -> str:
        return str(request.pk)

    @admin.display(description="Provider")
    def of_account(self, request: RawRequest) -> str:
        return str(request.account)

    @admin.display(description="State")
    def state(self, request: RawRequest) -> SafeString:
        late = badge("Late", "warn") if request.is_late else SafeString("")
        return badge(request.get_status_display(), TONES[Status(request.status)]) + late

    @admin.display(description="Note")
    def detail(self, request: RawRequest) -> str:
        return f"{request.error[:100]}…" if len(request.error) > 100 else request.error or "–"

    @admin.display(description="Bytes")
    def size_count(self, request: Any) -> str:
        return number(request.size)

    @admin.display(description="Came")
    def came(self, request: RawRequest) -> str:
        return ago(request.received_at)

    def get_queryset(self, request: HttpRequest) -> QuerySet[RawRequest]:
        """Bodies stay where they are; the list wants their size alone."""
        rows: QuerySet[RawRequest] = super().get_queryset(request).annotate(size=Length("body"))
        return rows.defer("body", "headers", "traceback", "account__secrets", "account__config")

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> Any:
        now, hours = timezone.now(), settings.SILENCE_AFTER_H
        context = {
            "counts": _counts(now),
            "silent": finding.gaps(now)[:MOST_GAPS],
            "silent_after_h": hours,
            "silent_before_h": hours + finding.LOOKED_AT_AGAIN // timedelta(hours=1),
            **(extra_context or {}),
        }
        return super().changelist_view(request, context)

    def has_replay_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Replaying is what may be changed here."""
        return bool(request.user.has_perm("webhooks.change_rawrequest"))

    @admin.action(description="Apply again", permissions=["replay"])
    def replay_selected(self, request: HttpRequest, rows: QuerySet[RawRequest]) -> None:
        again = RawRequest.objects.filter(pk__in=[row.pk for row in rows]).replay()
        self.message_user(
            request, f"{again} put back in line. Events that are known are not applied twice."
        )

    def own_urls(self) -> list[URLPattern]:
        return [self.deed("<int:pk>/replay/", self.replay, "replay", "replay")]

    def replay(self, request: HttpRequest, row: RawRequest) -> None:
        row.replay(timezone.now())
        self.done(request, row, "Put back in line. Events that are known are not applied twice.")

    def show(self, request: HttpRequest, row: RawRequest) -> HttpResponse:
        buttons = []
        if self.has_replay_permission(request) and row.status != Status.PENDING:
            url = self.url("replay", row.pk)
            buttons.append(Button("Apply again", url, "replay", "primary", post=True))
        return self.render(
            request,
            "admin/webhooks/request.html",
            f"Webhook {row.pk}",
            row,
            tone=TONES[Status(row.status)],
            body=_readable(bytes(row.body)),
            traceback=row.traceback if self.has_replay_permission(request) else "",
            headers=json.dumps(row.headers, indent=1, ensure_ascii=False),
            buttons=buttons,
        )


def _counts(now: datetime) -> list[dict[str, Any]]:
    """Return what came in the last 24 hours, by provider, and what strangers tried."""
    rows = reporting.stats(now, timedelta(hours=24))["accounts"]
    rows = [{**row, "name": row["account"]} for row in rows if row["received"] or row["forged"]]
    strangers = reporting.requests_since(now - timedelta(hours=24)).get(None, {})
    if forged := strangers.get(WebhookCount.Outcome.FORGED, 0):
        rows.append({"name": "an address that is none of ours", "forged": forged})
    return rows


def _readable(body: bytes) -> str:
    """Return a body as text, JSON indented, clipped to what a page can show."""
    text = body.decode("utf-8", "replace")
    with contextlib.suppress(ValueError):  # a form, or nothing one can read
        text = json.dumps(json.loads(text), indent=1, ensure_ascii=False)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}\n…"
