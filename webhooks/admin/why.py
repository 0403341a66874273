"""Why did, or didn't, somebody get it? One page per campaign and address."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from itertools import accumulate
from typing import Any, NamedTuple

from django.http import HttpRequest
from django.utils import timezone

from campaigns.models import Campaign
from delivery.admin import inspecting
from delivery.admin.reasons import decision_of
from delivery.models import Handoff
from emailplatform.errors import DomainError
from webhooks import explaining
from webhooks.judging import Facts
from webhooks.models import Event
from webhooks.recounting import why_whose

TITLE = "Why did, or didn’t, somebody get it?"
MOST_CAMPAIGNS = 100
"""The newest ones are offered; links from a campaign's own page work for all."""


class Step(NamedTuple):
    """One line of the story."""

    at: datetime
    label: str
    tone: str = ""
    detail: str = ""
    reason: str = ""
    """Why it went this way."""
    handoff: Handoff | None = None
    event: Event | None = None


def may_see(request: HttpRequest) -> bool:
    """Who sees campaigns and people; either alone would tell of the other."""
    rights = ("campaigns.view_campaign", "subscribers.view_subscriber")
    return bool(request.user.is_active and request.user.has_perms(rights))


def context(request: HttpRequest) -> dict[str, Any]:
    """Return what the page shows: the question, and the answer if it is complete."""
    email, pk = request.GET.get("email", "").strip(), request.GET.get("campaign", "")
    campaign = Campaign.objects.filter(pk=int(pk[:18])).first() if pk.isdecimal() else None
    shown = {"email": email, "campaign": campaign, "campaigns": offered(campaign)}
    if campaign is None or not email:
        return {**shown, "title": TITLE}
    try:
        found = explaining.explain(campaign, email, timezone.now())
    except DomainError as error:
        return {**shown, "title": TITLE, "error": str(error)}
    facts = found.facts
    way = next((each.handoff for each in reversed(facts.trace.tries) if each.handoff), None)
    return {
        **shown,
        "title": f"{facts.who} and “{campaign}”",
        "verdict": found.verdict,
        "facts": facts,
        "story": _story(facts),
        "decision": decision_of(way) if way else None,
    }


def offered(asked: Campaign | None) -> list[Campaign]:
    """Return the campaigns to choose from."""
    newest = list(Campaign.objects.only("name")[:MOST_CAMPAIGNS])
    return newest if asked is None or asked in newest else [asked, *newest]


def _story(facts: Facts) -> list[Step]:
    """Return what happened, the first thing first."""
    steps = []
    if facts.campaign.launched_at:
        steps.append(Step(facts.campaign.launched_at, "The campaign was launched"))
    if facts.message is not None:
        steps.append(Step(facts.message.created_at, "Their mail was queued"))
        steps += [Step(*line) for line in inspecting.tries(facts.trace)]
    placed = list(zip(_times(steps), steps, strict=True))
    told = [
        Step(each.event.occurred_at, each.label, each.tone, _detail(each.event), event=each.event)
        for each in facts.moments
    ]
    placed += [(step.at, step) for step in told]
    return [step for _, step in sorted(placed, key=lambda pair: pair[0])]


def _times(steps: list[Step]) -> Iterator[datetime]:
    """Yield where our own steps stand: in their order, even if two machines' clocks differ."""
    return accumulate((step.at for step in steps), max)


def _detail(event: Event) -> str:
    told_by = f"told by {event.account}" if event.account else "seen by ourselves"
    return " · ".join(filter(None, [event.reason, why_whose(event), event.url, told_by]))
