"""Endpoints of others: who is told of what, how that goes, and what to do where it does not."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.urls import URLPattern
from django.utils import timezone
from django.utils.safestring import SafeString

from campaigns.admin.forms import Styled
from delivery.providers.base import EventType
from emailplatform import posting
from emailplatform.admin import Button, Empty, PageAdmin
from emailplatform.errors import InvalidInput
from emailplatform.formats import ago, badge
from webhooks import delivering, managing, phrasing
from webhooks.models import Delivery, Endpoint
from webhooks.outgoing_models import MOST_SECRETS
from webhooks.recounting import WORDS

PER_PAGE = 50
SPANS = {
    "1": "the last hour",
    "24": "the last day",
    "72": "the last 3 days",
    "168": "the last week",
}
"""Hours → in words: what can be sent again."""
TONES = {"pending": "info", "delivered": "ok", "failed": "bad"}


class EndpointForm(Styled, forms.ModelForm):
    """Types as boxes to tick; the address is looked up before it is saved."""

    types = forms.MultipleChoiceField(
        label="Told of",
        choices=[(each.value, f"{WORDS[each.value].label} ({each.value})") for each in EventType],
        widget=forms.CheckboxSelectMultiple,
        required=False,
        help_text="None: everything, also what is added later.",
    )

    class Meta:
        model = Endpoint
        fields = ["name", "url", "types", "stream", "campaign"]
        help_texts = {
            "name": "What listens there, for example “shop” or “CRM”.",
            "url": "https, and on the public internet.",
        }

    def clean_url(self) -> str:
        url: str = self.cleaned_data["url"]
        try:
            managing.check_url(url)
        except InvalidInput as problem:
            raise forms.ValidationError(str(problem)) from problem
        return url


@admin.register(Endpoint)
class EndpointAdmin(PageAdmin):
    form = EndpointForm
    heading = "Webhooks out"
    intro = (
        "Programs of yours that are told of events as they happen: each is posted a signed body,"
        " and again until it has it."
    )
    add_label = "Add endpoint"
    list_display = ["name", "url", "wants", "health", "success"]
    search_fields = ["name", "url"]
    ordering = ["name"]
    actions = None
    empty = Empty(
        "send",
        "Nobody is told of events yet",
        "An endpoint is an address of your shop, your CRM or a script. It is posted each delivery,"
        " bounce, click or unsubscribe within seconds, signed so that it can be sure of you.",
        "Add endpoint",
        "admin:webhooks_endpoint_add",
    )

    class Media:
        css = {"all": ["ui/mail.css"]}

    @admin.display(description="Told of")
    def wants(self, endpoint: Endpoint) -> str:
        return told_of(endpoint)

    @admin.display(description="Health")
    def health(self, endpoint: Endpoint) -> SafeString:
        return badge(*health_of(endpoint))

    @admin.display(description="Last delivered")
    def success(self, endpoint: Endpoint) -> SafeString | str:
        return ago(endpoint.last_success_at, "Never")

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).select_related("campaign", "created_by")

    def own_urls(self) -> list[URLPattern]:
        one = "<int:pk>/"
        return [
            *super().own_urls(),
            self.deed(f"{one}rotate/", self.rotate, "rotate"),
            self.deed(f"{one}drop-secrets/", self.drop_secrets, "drop_secrets"),
            self.deed(f"{one}test/", self.test, "test"),
            self.deed(f"{one}enable/", self.enable, "enable"),
            self.deed(f"{one}disable/", self.disable, "disable"),
            self.deed(f"{one}replay/", self.replay, "replay"),
            self.deed(f"{one}replay/<int:delivery>/", self.replay_one, "replay_one"),
            self.page(f"{one}log/<int:delivery>/", self.log_of, "log"),
        ]

    # --- The page ------------------------------------------------------------------------

    def show(self, request: HttpRequest, endpoint: Endpoint) -> HttpResponse:
        now = timezone.now()
        rows, status = _log(request, endpoint)
        return self.render(
            request,
            "admin/webhooks/endpoint.html",
            endpoint.name,
            endpoint,
            buttons=self._buttons(request, endpoint),
            health=health_of(endpoint),
            told_of=told_of(endpoint),
            rows=rows[:PER_PAGE],
            older=rows[PER_PAGE - 1].pk if len(rows) > PER_PAGE else None,
            status=status,
            statuses=Delivery.Status.choices,
            tones=TONES,
            spans=SPANS,
            is_held=bool(endpoint.held_until and endpoint.held_until > now),
            secrets=endpoint.secret_ends,
            most_secrets=MOST_SECRETS,
            sample=phrasing.sample(now),
        )

    def _buttons(self, request: HttpRequest, endpoint: Endpoint) -> list[Button]:
        if not self.has_change_permission(request, endpoint):
            return []
        edit = Button("Edit", self.url("edit", endpoint.pk), "edit")
        if not endpoint.is_enabled:
            on = Button("Switch on", self.url("enable", endpoint.pk), "play_arrow", "primary", True)
            return [edit, on]
        question = "Stop posting to it? Events are not kept for it meanwhile."
        url = self.url("disable", endpoint.pk)
        return [
            edit,
            Button("Switch off", url, "pause", post=True, confirm=question),
            Button("Send a test", self.url("test", endpoint.pk), "send", "primary", post=True),
        ]

    def log_of(self, request: HttpRequest, endpoint: Endpoint, delivery: int) -> HttpResponse:
        """Every try of one delivery."""
        row = get_object_or_404(Delivery, pk=delivery, endpoint=endpoint)
        return self.render(
            request,
            "admin/webhooks/delivery.html",
            row.uid,
            endpoint,
            delivery=row,
            type=phrasing.type_of(row.type),
            tries=row.tries.order_by("-pk"),
            tone=TONES[row.status],
        )

    # --- Made, changed -------------------------------------------------------------------

    def save_model(self, request: HttpRequest, endpoint: Endpoint, form: Any, change: bool) -> None:
        if change:
            managing.change(endpoint)
        else:
            endpoint.created_by = request.user  # type: ignore[assignment]  # staff only
            managing.create(endpoint, timezone.now())

    def delete_model(self, request: HttpRequest, endpoint: Endpoint) -> None:
        managing.delete(endpoint, timezone.now())

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """Name the endpoint alone: its log may have millions of rows."""
        return [str(each) for each in objs], {"endpoints": len(objs)}, set(), []

    def response_add(
        self, request: HttpRequest, endpoint: Endpoint, post_url_continue: str | None = None
    ) -> HttpResponse:
        return self._secret(request, endpoint, endpoint.secrets[0]["secret"], is_new=True)

    def _secret(
        self, request: HttpRequest, endpoint: Endpoint, secret: str, *, is_new: bool
    ) -> HttpResponse:
        """Show a secret: this page is the only place it is ever seen."""
        response = self.render(
            request,
            "admin/webhooks/endpoint_secret.html",
            "Its secret" if is_new else "The new secret",
            endpoint,
            secret=secret,
            is_new=is_new,
        )
        response["Cache-Control"] = "no-store"
        return response

    # --- Deeds ---------------------------------------------------------------------------

    def rotate(self, request: HttpRequest, endpoint: Endpoint) -> HttpResponse:
        secret = managing.rotate(endpoint, timezone.now())
        self.log_change(request, endpoint, "New secret.")
        return self._secret(request, endpoint, secret, is_new=False)

    def drop_secrets(self, request: HttpRequest, endpoint: Endpoint) -> None:
        managing.drop_older(endpoint)
        self.done(request, endpoint, "Only the newest secret signs now.")

    def test(self, request: HttpRequest, endpoint: Endpoint) -> None:
        answer = delivering.try_out(endpoint, timezone.now())
        if error := posting.refusal(answer):
            self.message_user(request, f"The test was not taken. {error}", messages.ERROR)
        else:
            words = f"The test was taken: {answer.status} after {answer.took_ms} ms."
            self.message_user(request, words, messages.SUCCESS)

    def enable(self, request: HttpRequest, endpoint: Endpoint) -> None:
        managing.enable(endpoint, timezone.now())
        self.done(
            request,
            endpoint,
            "It is told of what happens from now on. What it missed can be sent again below.",
        )

    def disable(self, request: HttpRequest, endpoint: Endpoint) -> None:
        managing.disable(endpoint, str(request.user), timezone.now())
        self.done(request, endpoint, "Nothing is posted to it any more.")

    def replay(self, request: HttpRequest, endpoint: Endpoint) -> None:
        hours = request.POST.get("hours", "")
        if hours not in SPANS:
            raise InvalidInput("Choose from when on.")
        now = timezone.now()
        queued = managing.replay_since(endpoint, now - timedelta(hours=int(hours)), now)
        words = f"{queued:,} events of {SPANS[hours]} are sent."
        self.done(request, endpoint, words if queued else f"Nothing of {SPANS[hours]} is missing.")

    def replay_one(self, request: HttpRequest, endpoint: Endpoint, delivery: int) -> HttpResponse:
        row = get_object_or_404(Delivery, pk=delivery, endpoint=endpoint)
        managing.replay_one(row, timezone.now())
        self.done(request, endpoint, f"{row.uid} is sent again.")
        return redirect(self.url("log", endpoint.pk, row.pk))


def _log(request: HttpRequest, endpoint: Endpoint) -> tuple[list[Delivery], str]:
    """Return a page of the log and one row more, the newest first; and what it is filtered by."""
    rows = Delivery.objects.filter(endpoint=endpoint)
    status = request.GET.get("status", "")
    if status in Delivery.Status.values:
        rows = rows.filter(status=status)
    before = request.GET.get("before", "")
    if before.isdecimal():
        rows = rows.filter(pk__lt=int(before[:18]))
    return list(rows.order_by("-pk")[: PER_PAGE + 1]), status


def told_of(endpoint: Endpoint) -> str:
    """Return in words what an endpoint gets."""
    what = ", ".join(WORDS[each].label for each in endpoint.types if each in WORDS) or "Everything"
    which = f" of “{endpoint.campaign}”" if endpoint.campaign else ""
    stream = f", {endpoint.get_stream_display()} mail only" if endpoint.stream else ""
    return f"{what}{which}{stream}"


def health_of(endpoint: Endpoint) -> tuple[str, str]:
    """Return how an endpoint is doing, in two words, and the tone."""
    if not endpoint.is_enabled:
        return "Switched off", "bad"
    if endpoint.failing_since:
        return "Fails", "warn"
    return ("Works", "ok") if endpoint.last_success_at else ("Not called yet", "quiet")
