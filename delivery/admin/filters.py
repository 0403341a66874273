"""What lists of messages can be narrowed to."""

from __future__ import annotations

from typing import Any

from django.contrib.admin import SimpleListFilter
from django.db.models import Q
from django.http import HttpRequest
from django.utils import timezone

from campaigns.models import Campaign
from delivery.models import Message, MessageType, ProviderAccount
from delivery.resending import UNCONFIRMED_AFTER

MOST_CAMPAIGNS = 50
"""The newest ones are offered; links from a campaign's page work for all."""
_OUTCOMES = {
    "delivered": ("Delivered", Q(delivered_at__isnull=False)),
    "opened": ("Opened by a person", Q(person_opened_at__isnull=False)),
    "unsure_opened": (
        "Opened, unsure by whom",
        Q(opened_at__isnull=False, person_opened_at__isnull=True),
    ),
    "machine_opened": ("Opened by a machine", Q(machine_opened_at__isnull=False)),
    "clicked": ("Clicked by a person", Q(person_clicked_at__isnull=False)),
    "unsure_clicked": (
        "Clicked, unsure by whom",
        Q(clicked_at__isnull=False, person_clicked_at__isnull=True),
    ),
    "machine_clicked": ("Clicked by a machine", Q(machine_clicked_at__isnull=False)),
    "bounced": ("Bounced for good", Q(bounced_at__isnull=False, bounce_class="hard")),
    "soft": ("Bounced for now", Q(bounced_at__isnull=False) & ~Q(bounce_class="hard")),
    "dropped": ("Dropped by the provider", Q(dropped_at__isnull=False)),
    "unsubscribed": ("Unsubscribed", Q(unsubscribed_at__isnull=False)),
    "complained": ("Reported as spam", Q(complained_at__isnull=False)),
    "unconfirmed": ("Unconfirmed", Q(status=Message.Status.UNKNOWN)),
}


def outcome_label(name: str) -> str:
    """Return what `?outcome=` of this name means; "" for what is none."""
    return _OUTCOMES[name][0] if name in _OUTCOMES else ""


class CampaignFilter(SimpleListFilter):
    title = "campaign"
    parameter_name = "campaign"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        newest = Campaign.objects.filter(launched_at__isnull=False)[:MOST_CAMPAIGNS]
        return [(str(pk), name) for pk, name in newest.values_list("pk", "name")]

    def has_output(self) -> bool:
        return True

    def queryset(self, request: HttpRequest, messages: Any) -> Any:
        pk = self.value() or ""
        return messages.filter(campaign=int(pk)) if pk.isdecimal() else messages


class OutcomeFilter(SimpleListFilter):
    """What became of a message after it was sent."""

    title = "what became of it"
    parameter_name = "outcome"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(name, label) for name, (label, _) in _OUTCOMES.items()]

    def queryset(self, request: HttpRequest, messages: Any) -> Any:
        known = _OUTCOMES.get(self.value() or "")
        if self.value() == "unconfirmed":
            return messages.in_doubt_since(timezone.now() - UNCONFIRMED_AFTER)
        return messages.filter(known[1]) if known else messages


class ProviderFilter(SimpleListFilter):
    title = "provider"
    parameter_name = "provider"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        accounts = ProviderAccount.objects.values_list("pk", "name")
        return [(str(pk), name) for pk, name in accounts]

    def queryset(self, request: HttpRequest, rows: Any) -> Any:
        pk = self.value() or ""
        return rows.filter(provider=int(pk)) if pk.isdecimal() else rows


class TypeFilter(SimpleListFilter):
    title = "type"
    parameter_name = "type"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(str(each.pk), each.label) for each in MessageType.objects.all()]

    def queryset(self, request: HttpRequest, mails: Any) -> Any:
        pk = self.value() or ""
        return mails.filter(type=int(pk[:18])) if pk.isdecimal() else mails
