"""The first page: what needs attention, today in numbers, and what is under way.

Named in the settings as unfold's dashboard; drawn again every ten seconds from one cached piece.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, NamedTuple

from django.core.cache import cache
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone

from campaigns.models import Campaign
from delivery import alerting, reports, reviving
from delivery.admin.providers import cards
from delivery.models import Alert, Message, ProviderAccount
from delivery.reports import Totals
from emailplatform.formats import number
from subscribers.models import Import, Subscriber
from webhooks import reporting
from webhooks.models import RawRequest

FRESH_S = 5
SILENT_AFTER = timedelta(minutes=15)
"""A provider that was given mail and has told nothing since: its webhook is not set up."""
_PROVIDERS = "admin:delivery_provideraccount_changelist"
_DEAD_LETTERS = "admin:delivery_deadletter_changelist"
_MESSAGES = "admin:delivery_message_changelist"
_REQUESTS = "admin:webhooks_rawrequest_changelist"
_MOST_COUNTED = 1000
_MOST_ALERTS = 8
_SAID_BELOW = (alerting.PROVIDER, alerting.BREAKER, alerting.CAMPAIGN, alerting.DEAD_LETTERS)


class Attention(NamedTuple):
    """Something that wants a person: a sentence, how bad, where to go, since when."""

    tone: str
    sentence: str
    link: str = ""
    where: str = ""
    since: datetime | None = None


def dashboard(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """Add what the overview shows to the index page's context."""
    if not may_see(request):
        return {**context, "title": "Overview"}
    return {**context, **_shown(timezone.now()), "may_see": True, "title": "Overview"}


def may_see(request: HttpRequest) -> bool:
    """Say whether the reader may know these numbers: who sees providers or campaigns anyway."""
    rights = ("delivery.view_provideraccount", "campaigns.view_campaign")
    return any(request.user.has_perm(right) for right in rights)


def piece(request: HttpRequest) -> HttpResponse:
    """The page's inside alone, as it is read anew."""
    response = TemplateResponse(request, "admin/webhooks/overview.html", _shown(timezone.now()))
    response["Cache-Control"] = "no-store"
    return response


def _shown(now: datetime) -> dict[str, Any]:
    """Return everything, at most FRESH_S old; times are in the reader's zone."""
    key = f"overview:{timezone.get_current_timezone_name()}"
    known: dict[str, Any] | None = cache.get(key)
    if known is None:
        known = _read(now)
        cache.set(key, known, FRESH_S)
    return known


def _read(now: datetime) -> dict[str, Any]:
    midnight = timezone.localtime(now).replace(hour=0, minute=0, second=0, microsecond=0)
    a_day = now.replace(minute=0, second=0, microsecond=0) - timedelta(hours=23)
    by_hour = reports.totals_by_hour(min(midnight, a_day))
    providers = cards(now)
    return {
        "attention": _attention(providers, now),
        "today": reports.add(totals for hour, totals in by_hour.items() if hour >= midnight),
        "chart": _chart(by_hour, a_day) if by_hour else None,
        "cards": providers,
        "running": [(each, reports.progress(each, now)) for each in _running()],
        "scheduled": list(Campaign.objects.filter(status="scheduled").order_by("send_at")[:5]),
        "first_steps": _first_steps(),
        "waiting_events": reporting.waiting(),
        "now": now,
    }


def _running() -> list[Campaign]:
    status = Campaign.Status
    return list(Campaign.objects.filter(status__in=[status.SENDING, status.PAUSED])[:10])


def _first_steps() -> list[tuple[str, str, str, bool]]:
    """Return (title, address, what it is for, done) of a new installation; [] once all is done."""
    steps = [
        (
            "Add a provider",
            reverse("admin:delivery_provideraccount_add"),
            "It carries your mail. You need its key.",
            ProviderAccount.objects.exists(),
        ),
        (
            "Import people",
            reverse("admin:subscribers_import_add"),
            "A CSV file from your shop or your old mail tool.",
            Subscriber.objects.exists(),
        ),
        (
            "Send a campaign",
            reverse("admin:campaigns_campaign_changelist"),
            "Choose who gets it and what it says; the check tells you what is missing.",
            Campaign.objects.filter(launched_at__isnull=False).exists(),
        ),
    ]
    return [] if all(is_done for *_, is_done in steps) else steps


# --- What needs attention ----------------------------------------------------------------


def _attention(providers: list[dict[str, Any]], now: datetime) -> list[Attention]:
    return [
        *_about_alerts(),
        *_about_providers(providers, now),
        *_about_campaigns(),
        *_about_messages(now),
        *_about_webhooks(now),
        *_about_imports(now),
    ]


def _about_alerts() -> list[Attention]:
    """What is wrong now and is not said by the lines below: they know providers and campaigns."""
    here = reverse("admin:delivery_alert_changelist")
    return [
        Attention(
            "bad",
            f"{alerting.label_of(alert.kind)}: {alert.text}",
            alert.payload.get("url", here),
            "Look at it",
            alert.raised_at,
        )
        for alert in Alert.objects.open().exclude(kind__in=_SAID_BELOW)[:_MOST_ALERTS]
    ]


def _about_providers(providers: list[dict[str, Any]], now: datetime) -> list[Attention]:
    here = reverse(_PROVIDERS)
    found = []
    accounts = [card["account"] for card in providers]
    if accounts and all(each.status == ProviderAccount.Status.PAUSED for each in accounts):
        sentence = "Every provider is paused: nothing can be sent."
        found.append(Attention("bad", sentence, here, "Providers"))
    for card in providers:
        account: ProviderAccount = card["account"]
        if card["health"]["cooling"]:
            sentence = f"{account} is left alone for a while: {account.last_error}"
            found.append(Attention("bad", sentence, here, "Providers", account.last_error_at))
        elif _is_silent(card, now):
            sentence = f"{account} carries mail but tells nothing about it: check its webhook."
            link = reverse("admin:delivery_provideraccount_change", args=[account.pk])
            found.append(Attention("warn", sentence, link, "Set it up", account.last_heard_at))
    return found


def _is_silent(card: dict[str, Any], now: datetime) -> bool:
    """Say whether a provider with a webhook was given mail today and has not been heard."""
    account, today = card["account"], card["today"]
    if account.kind == "smtp" or not today or not today.sent:
        return False
    return account.last_heard_at is None or (
        today.delivered == 0 and now - account.last_heard_at > SILENT_AFTER
    )


def _about_campaigns() -> list[Attention]:
    troubled = Campaign.objects.exclude(problem="").exclude(status__in=["sent", "cancelled"])[:5]
    return [
        Attention(
            "bad" if each.status == Campaign.Status.SENDING else "warn",
            f"{each.name}: {each.problem}",
            reverse("admin:campaigns_campaign_change", args=[each.pk]),
            "See the campaign",
            each.finished_at,
        )
        for each in troubled
    ]


def _about_messages(now: datetime) -> list[Attention]:
    """Counted through the index of what went wrong, and not beyond a thousand."""
    dead = reviving.waiting(now, _MOST_COUNTED)
    doubtful = Message.objects.filter(status=Message.Status.UNKNOWN)[:_MOST_COUNTED].count()
    letters, doubts = reverse(_DEAD_LETTERS), f"{reverse(_MESSAGES)}?status__exact=unknown"
    found = [
        (dead, "Dead letters: {}. They failed for good and can be tried again.", letters),
        (doubtful, "In doubt: {}. No clear answer came: they may have been sent.", doubts),
    ]
    return [
        Attention("warn", sentence.format(_messages(count)), link, "Which?")
        for count, sentence, link in found
        if count
    ]


def _messages(count: int) -> str:
    more = "More than " if count == _MOST_COUNTED else ""
    return f"{more}{number(count)} message{'' if count == 1 else 's'}"


def _about_webhooks(now: datetime) -> list[Attention]:
    status = RawRequest.Status
    broken = RawRequest.objects.filter(
        status__in=[status.FAILED, status.UNPARSABLE], received_at__gt=now - timedelta(days=1)
    )
    found = []
    count = broken[:_MOST_COUNTED].count()
    if count:
        sentence = f"Incoming webhooks of the last day that could not be applied: {number(count)}."
        found.append(Attention("warn", sentence, reverse(_REQUESTS), "Look at them"))
    today = reporting.requests_since(now - timedelta(hours=24))
    forged = sum(by_outcome.get("forged", 0) for by_outcome in today.values())
    if forged:
        sentence = (
            f"Webhooks of the last day refused as forged: {number(forged)}. "
            "A wrong key in a provider’s settings, or somebody is trying."
        )
        found.append(Attention("warn", sentence, reverse(_REQUESTS), "By provider"))
    return found


def _about_imports(now: datetime) -> list[Attention]:
    failed = Import.objects.filter(
        status=Import.Status.FAILED, finished_at__gt=now - timedelta(days=2)
    )
    return [
        Attention(
            "warn",
            f"The import of {each.filename} failed: {each.error}",
            reverse("admin:subscribers_import_change", args=[each.pk]),
            "See the import",
            each.finished_at,
        )
        for each in failed[:3]
    ]


def _chart(by_hour: dict[datetime, Totals], first: datetime) -> dict[str, Any]:
    """Return the lines of the last 24 hours."""
    hours = [first + timedelta(hours=count) for count in range(24)]
    lines = [
        ("Sent", "sent", "--color-primary-500"),
        ("Delivered", "delivered", "--ui-ok"),
        ("Clicked by people", "clicked", "--ui-warn"),
    ]
    return {
        "labels": [f"{timezone.localtime(hour):%H:%M}" for hour in hours],
        "lines": [
            {
                "label": label,
                "colour": colour,
                "values": [getattr(by_hour.get(hour, Totals()), name) for hour in hours],
            }
            for label, name, colour in lines
        ],
    }
