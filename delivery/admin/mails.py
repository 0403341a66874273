"""Mail sent by API: the list, and what can be done with one. Its page is the message's."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.core.exceptions import BadRequest
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect
from django.urls import URLPattern, reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.http import content_disposition_header
from django.utils.safestring import SafeString

from campaigns import previewing
from delivery import accepting, resending, tasks
from delivery.admin import inspecting
from delivery.admin.filters import MailProviderFilter, MailStatusFilter, StreamFilter, TypeFilter
from delivery.admin.outcomes import TONES, outcome_of
from delivery.models import Mail, Message, Stream, message_of
from emailplatform.admin import Empty, KeysetChangeList, PageAdmin, ReadOnlyAdmin
from emailplatform.celery import nudge
from emailplatform.formats import ago, badge
from emailplatform.secrets import address_key
from subscribers.validating import InvalidAddress, clean_address

Status = Message.Status
_CONTENT = ("html", "text", "context", "metadata", "headers", "version__body", "version__text")


class MailList(KeysetChangeList):
    """Leads to the page of the message, which is one for all mail."""

    def url_for_result(self, result: Any) -> str:
        return reverse("admin:delivery_message_change", args=[result.pk])


@admin.register(Mail)
class MailAdmin(ReadOnlyAdmin, PageAdmin):
    keyset = True
    heading = "Messages"
    intro = (
        "Mail that your programs sent by API, one row per mail: who asked for it, what became of "
        "it. To see what it says takes a right of its own: there may be a password in it."
    )
    list_display = ["recipient", "headline", "kind", "state", "became", "through", "asked"]
    list_filter = [StreamFilter, MailStatusFilter, TypeFilter, MailProviderFilter]
    list_select_related = ["message__type", "message__provider", "version"]
    search_fields = ["message__email"]
    search_help_text = "A whole address, or the id of a message"
    empty = Empty(
        "forward_to_inbox",
        "No mail was sent by API yet",
        "Programs send password resets, orders and invoices by POST /api/v1/email/send. Make a key "
        "with the scope “send” under Developers, API keys.",
    )

    class Media:
        css = {"all": ["ui/mail.css"]}
        js = ["ui/mail.js"]

    # --- The list ------------------------------------------------------------------------

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> Any:
        return MailList

    def get_queryset(self, request: HttpRequest) -> QuerySet[Mail]:
        rows: QuerySet[Mail] = super().get_queryset(request)
        rows = rows.filter(message__campaign=None).select_related(*self.list_select_related)
        secret = ("message__provider__secrets", "message__provider__config")
        return rows.defer(*_CONTENT, *secret)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Mail], search_term: str
    ) -> tuple[QuerySet[Mail], bool]:
        """By our id, or by a whole address through its keyed hash."""
        term = search_term.strip()
        if not term:
            return queryset, False
        if (pk := message_of(term)) is not None:
            return queryset.filter(pk=pk), False
        try:
            key = address_key(clean_address(term))
        except InvalidAddress:
            return queryset.none(), False
        return queryset.filter(message__address_key=key), False

    @admin.display(description="To")
    def recipient(self, mail: Mail) -> SafeString | str:
        more = len([each for kind in ("to", "cc", "bcc") for each in mail.people(kind)])
        line = '{}<br><span class="ui-quiet-text ui-small">and {} more</span>'
        return format_html(line, mail.message.email, more) if more else mail.message.email

    @admin.display(description="Subject")
    def headline(self, mail: Mail) -> str:
        return previewing.in_brief(mail.version.subject) if mail.version else mail.subject

    @admin.display(description="Type")
    def kind(self, mail: Mail) -> str:
        return str(mail.message.type or mail.message.get_stream_display())

    @admin.display(description="State")
    def state(self, mail: Mail) -> SafeString:
        return badge(mail.message.get_status_display(), TONES[Status(mail.message.status)])

    @admin.display(description="Became of it")
    def became(self, mail: Mail) -> SafeString | str:
        found = outcome_of(mail.message)
        return badge(found.label, found.tone) if found else mail.message.error or "–"

    @admin.display(description="Provider")
    def through(self, mail: Mail) -> str:
        return str(mail.message.provider or "–")

    @admin.display(description="Asked for")
    def asked(self, mail: Mail) -> str:
        return ago(mail.message.created_at)

    # --- One mail ------------------------------------------------------------------------

    def has_send_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return bool(request.user.has_perm("delivery.change_message"))

    def own_urls(self) -> list[URLPattern]:
        return [
            self.page("<int:pk>/preview/", self.preview, "preview"),
            self.page("<int:pk>/files/<int:file>/", self.download, "file"),
            self.deed("<int:pk>/cancel/", self.cancel, "cancel", "send"),
            self.deed("<int:pk>/retry/", self.retry, "retry", "send"),
            self.deed("<int:pk>/resend/", self.resend, "resend", "send"),
        ]

    def show(self, request: HttpRequest, mail: Mail) -> HttpResponse:
        return self.back(request, mail)

    def back(self, request: HttpRequest, obj: Any = None) -> HttpResponse:
        """Return to the page of the message."""
        name = "admin:delivery_message_change"
        return redirect(reverse(name, args=[obj.pk]) if obj else self.url("changelist"))

    def preview(self, request: HttpRequest, mail: Mail) -> JsonResponse:
        """The mail as it was sent, for a frame that may do nothing."""
        return inspecting.preview(mail)

    def download(self, request: HttpRequest, mail: Mail, file: int) -> HttpResponse:
        """One attachment, to be saved: never shown in the browser, whatever it is."""
        found = mail.attachments.filter(pk=file).first()
        if found is None:
            raise Http404
        disposition = content_disposition_header(as_attachment=True, filename=found.filename)
        if disposition is None:
            raise BadRequest
        return HttpResponse(
            bytes(found.content),
            headers={
                "Content-Type": "application/octet-stream",
                "Content-Disposition": disposition,
                "Content-Security-Policy": "sandbox; default-src 'none'",
                "X-Content-Type-Options": "nosniff",
                "Cache-Control": "no-store",
            },
        )

    # --- Deeds ---------------------------------------------------------------------------

    def cancel(self, request: HttpRequest, mail: Mail) -> None:
        accepting.cancel(mail.message)
        self.done(request, mail, "Cancelled: it is not sent.")

    def retry(self, request: HttpRequest, mail: Mail) -> None:
        resending.retry(mail.message, timezone.now())
        _nudge(mail.message)
        self.done(request, mail, "Queued again: it is tried once more.")

    def resend(self, request: HttpRequest, mail: Mail) -> HttpResponse:
        copy = accepting.resend(mail.message, timezone.now())
        _nudge(copy)
        self.done(request, mail, f"Sent once more, as message {copy.token}.")
        return self.back(request, copy)


def _nudge(message: Message) -> None:
    is_critical = message.stream == Stream.CRITICAL
    nudge(tasks.send_critical if is_critical else tasks.send_transactional)
