"""The numbers of a campaign under way and of its report, as templates show them."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, NamedTuple

from django.core.cache import cache
from django.utils import timezone
from django.utils.formats import date_format

from campaigns.models import Campaign
from delivery import reports
from delivery.models import Expansion
from delivery.reports import Totals
from subscribers.mailboxes import Mailbox

FRESH_S = 1
"""However many people watch: the numbers are read once a second."""
CHART_HOURS = 48
COMPLAINTS_MOST = 0.001
"""Gmail's and Yahoo's rules for bulk senders: stay under 0.1 %, never reach 0.3 %."""


class Part(NamedTuple):
    """The numbers of one provider or one kind of mailbox."""

    name: str
    totals: Totals


def progress(campaign: Campaign) -> dict[str, Any]:
    """Return what the page of a campaign under way shows."""
    key = f"progress:{campaign.pk}:{campaign.status}"
    known: dict[str, Any] | None = cache.get(key)
    if known is None:
        known = {
            "progress": reports.progress(campaign, timezone.now()),
            "in_flight": reports.in_flight(campaign),
            "by_provider": _parts(campaign, "provider__name"),
            "by_mailbox": _parts(campaign, "mailbox"),
        }
        cache.set(key, known, FRESH_S)
    return known


def outcome(campaign: Campaign) -> dict[str, Any]:
    """Return what became of a campaign, in total."""
    totals = reports.totals(campaign)
    return {
        "totals": totals,
        "too_many_complaints": (totals.rate("complained") or 0) > COMPLAINTS_MOST,
        "progress": reports.progress(campaign, timezone.now()),
    }


def report(campaign: Campaign) -> dict[str, Any]:
    """Return the campaign's result: totals, parts, and a chart of the first two days."""
    return {
        **outcome(campaign),
        "by_provider": _parts(campaign, "provider__name"),
        "by_mailbox": _parts(campaign, "mailbox"),
        "chart": _chart(campaign),
    }


def _parts(campaign: Campaign, column: str) -> list[Part]:
    names = dict(Mailbox.choices) if column == "mailbox" else {}
    groups = reports.totals_by(campaign, column)
    return [Part(str(names.get(name, name)), totals) for name, totals in groups.items()]


def _chart(campaign: Campaign) -> dict[str, Any] | None:
    """Return the lines of delivered, opened and clicked, by the hour; None before the first."""
    groups = reports.totals_by(campaign, "hour")
    if not groups or campaign.launched_at is None:
        return None
    by_hour = {datetime.fromisoformat(hour): totals for hour, totals in groups.items()}
    first = campaign.launched_at.replace(minute=0, second=0, microsecond=0)
    last = min(first + timedelta(hours=CHART_HOURS - 1), max(*by_hour, timezone.now()))
    hours = [
        first + timedelta(hours=number)
        for number in range(int((last - first).total_seconds() // 3600) + 1)
    ]
    lines = [
        ("Delivered", "delivered", "--ui-quiet"),
        ("Opened by people", "person_opened", "--color-primary-500"),
        ("Clicked by people", "person_clicked", "--ui-ok"),
    ]
    return {
        "type": "line" if len(hours) > 2 else "bar",
        "labels": [date_format(timezone.localtime(hour), "j M, H:i") for hour in hours],
        "lines": [
            {
                "label": label,
                "colour": colour,
                "values": [getattr(by_hour.get(hour, Totals()), name) for hour in hours],
            }
            for label, name, colour in lines
        ],
    }


def sizes(campaigns: list[int]) -> dict[int, int]:
    """Return campaign -> how many messages it has."""
    return dict(
        Expansion.objects.filter(campaign__in=campaigns).values_list("campaign_id", "queued")
    )
