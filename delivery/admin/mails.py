"""Mail sent by API: the list, and what can be done with one. Its page is the message's."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.core.exceptions import BadRequest
from django.db.models import Prefetch, QuerySet
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
from delivery.admin.filters import ProviderFilter, TypeFilter
from delivery.admin.outcomes import TONES, outcome_of
from delivery.models import Mail, MailMessage, Message, Stream, message_of
from emailplatform.admin import Empty, KeysetChangeList, PageAdmin, ReadOnlyAdmin
from emailplatform.celery import nudge
from emailplatform.formats import ago, badge
from emailplatform.secrets import address_key
from subscribers.validating import InvalidAddress, clean_address

Status = Message.Status
_UNREAD = ("html", "text", "context", "metadata", "headers", "version__body", "version__text")
"""Large, and not in a list."""


class MailList(KeysetChangeList):
    """Leads to the page of the message, which is one for all mail."""

    def url_for_result(self, result: Any) -> str:
        return reverse("admin:delivery_message_change", args=[result.pk])

    def get_results(self, request: HttpRequest) -> None:
        """Say nothing of how many there are: the table holds the mail of campaigns as well."""
        super().get_results(request)
        self.estimate = None


@admin.register(MailMessage)
class MailAdmin(ReadOnlyAdmin, PageAdmin):
    keyset = True
    heading = "Messages"
    intro = (
        "Mail that your programs sent by API, one row per mail: who asked for it, what became of "
        "it. To see what it says takes a right of its own: there may be a password in it."
    )
    list_display = ["recipient", "headline", "kind", "state", "became", "through", "asked"]
    list_filter = ["stream", "status", TypeFilter, ProviderFilter]
    list_select_related = ["type", "provider"]
    search_fields = ["email"]
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

    def get_queryset(self, request: HttpRequest) -> QuerySet[MailMessage]:
        rows: QuerySet[MailMessage] = super().get_queryset(request)
        # Not a join: PostgreSQL would merge all mails to find those of one page.
        mails = Prefetch("mail", Mail.objects.select_related("version").defer(*_UNREAD))
        rows = rows.filter(campaign=None).prefetch_related(mails)
        return rows.defer("provider__secrets", "provider__config")

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[MailMessage], search_term: str
    ) -> tuple[QuerySet[MailMessage], bool]:
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
        return queryset.filter(address_key=key), False

    @admin.display(description="To")
    def recipient(self, message: MailMessage) -> SafeString | str:
        people = message.mail.people
        more = sum(len(people(kind)) for kind in ("to", "cc", "bcc"))
        line = '{}<br><span class="ui-quiet-text ui-small">and {} more</span>'
        return format_html(line, message.email, more) if more else message.email

    @admin.display(description="Subject")
    def headline(self, message: MailMessage) -> str:
        mail = message.mail
        return previewing.in_brief(mail.version.subject) if mail.version else mail.subject

    @admin.display(description="Type")
    def kind(self, message: MailMessage) -> str:
        return str(message.type or message.get_stream_display())

    @admin.display(description="State")
    def state(self, message: MailMessage) -> SafeString:
        return badge(message.get_status_display(), TONES[Status(message.status)])

    @admin.display(description="Became of it")
    def became(self, message: MailMessage) -> SafeString | str:
        found = outcome_of(message)
        return badge(found.label, found.tone) if found else message.error or "–"

    @admin.display(description="Provider")
    def through(self, message: MailMessage) -> str:
        return str(message.provider or "–")

    @admin.display(description="Asked for")
    def asked(self, message: MailMessage) -> str:
        return ago(message.created_at)

    # --- One mail ------------------------------------------------------------------------

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return bool(request.user.is_active and request.user.has_perm("delivery.view_mail"))

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request)

    def has_send_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        rights = ["delivery.view_mail", "delivery.change_message"]
        return bool(request.user.is_active and request.user.has_perms(rights))

    def own_urls(self) -> list[URLPattern]:
        return [
            self.page("<int:pk>/preview/", self.preview, "preview"),
            self.page("<int:pk>/files/<int:file>/", self.download, "file"),
            self.deed("<int:pk>/cancel/", self.cancel, "cancel", "send"),
            self.deed("<int:pk>/retry/", self.retry, "retry", "send"),
            self.deed("<int:pk>/resend/", self.resend, "resend", "send"),
        ]

    def show(self, request: HttpRequest, message: MailMessage) -> HttpResponse:
        return self.back(request, message)

    def back(self, request: HttpRequest, obj: Any = None) -> HttpResponse:
        """Return to the page of the message."""
        name = "admin:delivery_message_change"
        return redirect(reverse(name, args=[obj.pk]) if obj else self.url("changelist"))

    def preview(self, request: HttpRequest, message: MailMessage) -> JsonResponse:
        """The mail as it was sent, for a frame that may do nothing."""
        return inspecting.preview(message.mail)

    def download(self, request: HttpRequest, message: MailMessage, file: int) -> HttpResponse:
        """One attachment, to be saved: never shown in the browser, whatever it is."""
        found = message.mail.attachments.filter(pk=file).first()
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

    def cancel(self, request: HttpRequest, message: MailMessage) -> None:
        accepting.cancel(message)
        self.done(request, message, "Cancelled: it is not sent.")

    def retry(self, request: HttpRequest, message: MailMessage) -> None:
        resending.retry(message, timezone.now())
        _nudge(message)
        self.done(request, message, "Queued again: it is tried once more.")

    def resend(self, request: HttpRequest, message: MailMessage) -> HttpResponse:
        copy = accepting.resend(message, timezone.now())
        _nudge(copy)
        self.done(request, message, f"Sent once more, as message {copy.token}.")
        return self.back(request, copy)


def _nudge(message: Message) -> None:
    is_critical = message.stream == Stream.CRITICAL
    nudge(tasks.send_critical if is_critical else tasks.send_transactional)
