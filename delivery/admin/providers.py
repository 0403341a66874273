"""Providers: a card each, the form of an account, test, pause and resume."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import URLPattern
from django.utils import timezone

from campaigns.models import Campaign
from delivery import breaking, monitoring, overseeing
from delivery.admin.curves import curves
from delivery.admin.forms import ProbeForm
from delivery.admin.provider_forms import form_for
from delivery.models import ListComparison, ProviderAccount
from delivery.providers import registry
from delivery.providers.base import ProviderError
from delivery.providers.probing import probe
from delivery.reports import Totals
from emailplatform.admin import Button, Empty, PageAdmin
from emailplatform.errors import InvalidInput
from emailplatform.secrets import CannotDecrypt

Status = ProviderAccount.Status
SHOWN_CHANGES = 10
HEAR = {
    "sendgrid": "At SendGrid: Settings, Mail Settings, Event Webhook. Paste this address, switch "
    "on the signed webhook, and copy its verification key into this form.",
    "ses": "At Amazon SNS: subscribe this address (HTTPS) to the topic your configuration set "
    "writes to, and put the topic’s ARN into this form.",
    "mailgun": "At Mailgun: Sending, Webhooks. Paste this address for every event, and copy the "
    "HTTP webhook signing key into this form.",
    "postmark": "At Postmark: your stream, Webhooks. Paste this address with user and password in "
    "front of the host, and the same user:password into this form.",
    "smtp": "SMTP servers tell nothing by themselves: what bounces comes back as mail. If your "
    "relay can tell more, let it post here as docs/events.md says, signed with a webhook secret.",
}
"""How a kind is taught to tell us what became of mails, in one line."""


@admin.register(ProviderAccount)
class ProviderAdmin(PageAdmin):
    heading = "Providers"
    intro = (
        "Who carries your mail. With two or more, rules and scores decide which; equal ones share "
        "by weight, and one that fails is left alone for a while."
    )
    add_label = "Add provider"
    search_fields = ["name"]
    actions = None
    empty = Empty(
        "dns",
        "No provider yet",
        "A provider carries your mail to the mailboxes: SendGrid, Amazon SES, Mailgun, Postmark, "
        "or any SMTP server. You need an account there and its key.",
        "Add provider",
        "admin:delivery_provideraccount_add",
    )

    class Media:
        css = {"all": ["ui/mail.css"]}

    def own_urls(self) -> list[URLPattern]:
        return [
            self.page("cards/", self.cards, "cards"),
            self.deed("<int:pk>/test/", self.test, "test"),
            self.deed("<int:pk>/pause/", self.pause, "pause"),
            self.deed("<int:pk>/resume/", self.resume, "resume"),
            self.deed("<int:pk>/reset/", self.reset, "reset"),
        ]

    def get_queryset(self, request: HttpRequest) -> Any:
        """Without secrets: whoever needs them opens them, and says so if they do not open."""
        return super().get_queryset(request).defer("secrets")

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """An account that has carried mail stays: reports name it. It can be paused."""
        is_used = obj is not None and obj.handoff_set.exists()
        return not is_used and bool(super().has_delete_permission(request, obj))

    # --- Cards ---------------------------------------------------------------------------

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        if not self.has_view_or_change_permission(request):
            raise PermissionDenied
        return self.render(
            request,
            "admin/delivery/providers.html",
            "Providers",
            cards=cards(timezone.now()),
            intro=self.intro,
            empty=self.empty,
            has_add_permission=self.has_add_permission(request),
            buttons=self.list_buttons(request),
        )

    def cards(self, request: HttpRequest) -> HttpResponse:
        """The cards alone, as the page reads them anew."""
        return self.fragment(
            request,
            "admin/delivery/provider_cards.html",
            "",
            cards=cards(timezone.now()),
            may_change=self.has_change_permission(request),
            request=request,
        )

    # --- One account ---------------------------------------------------------------------

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> Any:
        """Ask for the kind first, then for what that kind needs."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        kind = request.GET.get("kind", "")
        if kind not in registry.KINDS:
            kinds = registry.KINDS.values()
            return self.render(
                request, "admin/delivery/provider_kinds.html", "Add provider", kinds=kinds
            )
        account = ProviderAccount(kind=kind, name=_free_name(registry.KINDS[kind].label))
        return self._edit(request, account)

    def show(self, request: HttpRequest, account: ProviderAccount) -> HttpResponse:
        return self._edit(request, account)

    def _edit(self, request: HttpRequest, account: ProviderAccount) -> HttpResponse:
        is_new = account.pk is None
        check = self.has_add_permission if is_new else self.has_change_permission
        may_save = check(request)
        _forget_unreadable(request, account)
        form = form_for(account, request.POST or None)
        if request.method == "POST":
            if not may_save:
                raise PermissionDenied
            if form.is_valid():
                saved = form.save()
                self.done(
                    request, saved, f"{saved.name} is saved. Send a test to see that it works."
                )
                return redirect(self.url("change", saved.pk))
        return self.render(
            request,
            "admin/delivery/provider.html",
            f"Add {registry.KINDS[account.kind].label}" if is_new else account.name,
            None if is_new else account,
            account=account,
            form=form,
            has_limits=bool(form.has_limits()),
            limits=[] if is_new else overseeing.limits([account], timezone.now()),
            own=[field for field in form if field.name.startswith("set_")],
            may_save=may_save,
            hear=HEAR.get(account.kind, ""),
            probe_form=ProbeForm(initial=_usual_addresses(request)),
            now=timezone.now(),
            reputation=None if is_new else curves(timezone.now()).get(account.pk),
            changes=[] if is_new else account.circuitchange_set.all()[:SHOWN_CHANGES],
            comparison=None if is_new else ListComparison.objects.filter(provider=account).first(),
            refusals=[] if is_new else account.refusals.filter(until__gt=timezone.now()),
            buttons=[] if is_new else self._buttons(request, account),
        )

    def _buttons(self, request: HttpRequest, account: ProviderAccount) -> list[Button]:
        if not self.has_change_permission(request, account):
            return []
        buttons = []
        if self.has_delete_permission(request, account):
            buttons.append(Button("Delete", self.url("delete", account.pk), "delete", "danger"))
        if account.is_broken:
            question = f"Give {account} mail again at once? If it fails, it is left alone again."
            url = self.url("reset", account.pk)
            buttons.append(Button("Reset breaker", url, "restart_alt", post=True, confirm=question))
        if account.status == Status.ACTIVE:
            question = f"Pause {account}? Its share goes through the others until you resume it."
            url = self.url("pause", account.pk)
            return [*buttons, Button("Pause", url, "pause", post=True, confirm=question)]
        url = self.url("resume", account.pk)
        return [*buttons, Button("Resume", url, "play_arrow", "primary", post=True)]

    # --- Deeds ---------------------------------------------------------------------------

    def test(self, request: HttpRequest, account: ProviderAccount) -> None:
        """Send one plain mail and say what the provider answered."""
        form = ProbeForm(request.POST)
        if not form.is_valid():
            raise InvalidInput(str(next(iter(form.errors.values()))[0]))
        try:
            answer = probe(account.provider, form.cleaned_data["sender"], form.cleaned_data["to"])
        except ProviderError as error:
            sentence = f"{account} did not take the test: {error}"
            self.message_user(request, sentence, messages.ERROR)
        else:
            breaking.close(account, "A test was accepted.", timezone.now())
            self.message_user(request, answer, messages.SUCCESS)

    def pause(self, request: HttpRequest, account: ProviderAccount) -> None:
        account.pause()
        self.done(request, account, f"{account} is paused: it is given no more mail.")

    def resume(self, request: HttpRequest, account: ProviderAccount) -> None:
        breaking.close(account, "It was resumed.", timezone.now())
        account.resume()
        self.done(request, account, f"{account} is given mail again.")

    def reset(self, request: HttpRequest, account: ProviderAccount) -> None:
        """Close the breaker, because somebody knows better."""
        if breaking.close(account, f"Reset by {request.user.get_username()}.", timezone.now()):
            self.done(request, account, f"{account} is given mail again.")
        else:
            self.message_user(request, f"{account} was not left alone: nothing to reset.")


def cards(now: datetime) -> list[dict[str, Any]]:
    """Return what each card shows."""
    midnight = timezone.localtime(now).replace(hour=0, minute=0, second=0, microsecond=0)
    today = monitoring.volumes(midnight)
    reputations = curves(now)
    return [
        {
            "account": account,
            "health": monitoring.health_of(account, now),
            "limits": overseeing.limits([account], now),
            "reputation": reputations.get(account.pk),
            "today": today.get(account.pk, Totals()),
            "has_sent": account.handoff_set.filter(accepted__gt=0).exists(),
            "label": registry.KINDS[account.kind].label,
        }
        for account in ProviderAccount.objects.defer("secrets")
    ]


def _forget_unreadable(request: HttpRequest, account: ProviderAccount) -> None:
    """Let secrets be entered again that can no longer be read, and say why."""
    try:
        account.secrets = dict(account.secrets)
    except CannotDecrypt as error:
        messages.error(request, str(error))
        account.secrets = {}


def _usual_addresses(request: HttpRequest) -> dict[str, str]:
    """Return who a test comes from, as the last campaign did, and to whom: the reader."""
    senders = Campaign.objects.exclude(from_email="").values_list("from_email", flat=True)
    return {"sender": senders.first() or "", "to": getattr(request.user, "email", "")}


def _free_name(label: str) -> str:
    """Return the kind's label, with a number if it is taken."""
    taken = set(ProviderAccount.objects.values_list("name", flat=True))
    names = [label, *(f"{label} {count}" for count in range(2, 100))]
    return next((name for name in names if name not in taken), "")
