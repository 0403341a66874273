"""Sending domains: which host the counted links of their mails lead to."""

from __future__ import annotations

from typing import Any

from django import forms
from django.conf import settings
from django.contrib import admin
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString

from campaigns.admin.forms import Styled
from delivery import tracking
from delivery.models import SendingDomain
from emailplatform.admin import Empty, ModelAdmin


class DomainForm(Styled, forms.ModelForm):
    class Meta:
        model = SendingDomain
        fields = ["domain", "tracking_host"]
        widgets = {
            "domain": forms.TextInput({"placeholder": "example.com", "spellcheck": "false"}),
            "tracking_host": forms.TextInput(
                {"placeholder": "links.example.com", "spellcheck": "false"}
            ),
        }

    def clean_domain(self) -> str:
        return str(self.cleaned_data["domain"]).lower()


@admin.register(SendingDomain)
class SendingDomainAdmin(ModelAdmin):
    form = DomainForm
    heading = "Sending domains"
    intro = (
        "The domains your mails come from. With a tracking host, the links of a domain’s mails "
        "begin with a name of its own instead of this system’s address: mailboxes trust that more."
    )
    add_label = "Add domain"
    actions = None
    list_display = ["domain", "links"]
    search_fields = ["domain"]
    empty = Empty(
        "language",
        "No sending domains yet",
        "Nothing has to be here to send. Add a domain to let its links begin with a name of its "
        "own: point that name here in DNS, and give your proxy a certificate for it.",
        "Add domain",
        "admin:delivery_sendingdomain_add",
    )

    class Media:
        css = {"all": ["ui/mail.css"]}

    @admin.display(description="Counted links begin with")
    def links(self, domain: SendingDomain) -> SafeString:
        if domain.tracking_host:
            return format_html("https://{}/", domain.tracking_host)
        words = '<span class="ui-quiet-text">{}/</span>'
        return format_html(words, settings.PUBLIC_URL)

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        tracking.forget()
