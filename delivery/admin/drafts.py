"""What the steps of a draft show: ticks, who gets it, the check, and what will happen, in words."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from django.conf import settings
from django.utils import timezone

from campaigns import launching, targeting
from campaigns.models import Campaign, TrackedBy
from delivery import reports, routing
from delivery.models import ProviderAccount, Stream
from emailplatform.errors import InvalidInput
from emailplatform.formats import number

STEPS = {
    "audience": "Audience",
    "content": "Content",
    "settings": "Settings",
    "check": "Check",
    "send": "Send",
}
_OF_FIELD = {
    "lists": "audience",
    "cap_mails": "audience",
    "cap_days": "audience",
    "holdout_percent": "audience",
    "template": "content",
    "subject": "content",
    "preheader": "content",
    "body": "content",
    "text": "content",
}
"""Where a problem's field is mended; all others are settings."""
SAMPLE_SIZE = 10
TYPE_ABOVE = 1000
"""Sending to more people than this takes typing their number."""


class Step(NamedTuple):
    name: str
    title: str
    is_done: bool
    is_here: bool


class Check(NamedTuple):
    """A row of the check: pass, warn or fail, and the step that mends it."""

    verdict: str
    sentence: str
    step: str = ""
    url: str = ""


def step_of(field: str) -> str:
    """Return the step in which a field is."""
    return _OF_FIELD.get(field, "settings")


def steps(problems: Sequence[launching.Problem], here: str) -> list[Step]:
    """Return the list at the left: what is done has a tick."""
    wrong = {step_of(problem.field) for problem in problems}
    done = {
        **{name: name not in wrong for name in ("audience", "content", "settings")},
        "check": not problems,
        "send": False,
    }
    return [Step(name, title, done[name], name == here) for name, title in STEPS.items()]


def first_open(problems: Sequence[launching.Problem]) -> str:
    """Return the step to begin with: the first with something missing, else the last."""
    wrong = {step_of(problem.field) for problem in problems}
    return next((name for name in STEPS if name in wrong), "send")


def measure(choice: targeting.Choice) -> dict[str, Any]:
    """Return who is reached, who is left out and why, and ten people; or what is wrong."""
    if not choice["lists"] and not choice["segments"]:
        return {"audience": None, "sample": []}
    try:
        return {
            "audience": targeting.measured(choice),
            "sample": list(targeting.audience(choice).order_by("pk")[:SAMPLE_SIZE]),
            "waiting": targeting.waiting_on_lists(choice),
        }
    except InvalidInput as error:
        return {"audience": None, "sample": [], "wrong": str(error)}


def checks(problems: Sequence[launching.Problem], campaign: Campaign) -> list[Check]:
    """Return what must be mended before sending, what had better be, and what is right."""
    rows = [Check("fail", problem.message, step_of(problem.field)) for problem in problems]
    rows += _warnings(campaign)
    wrong = {step_of(problem.field) for problem in problems}
    passed = {
        "audience": "There are people to send to.",
        "content": "Every mail can be made, and has its unsubscribe link.",
        "settings": "The sender has a name and an address.",
    }
    return rows + [Check("pass", text, step) for step, text in passed.items() if step not in wrong]


def _warnings(campaign: Campaign) -> list[Check]:
    rows = []
    if not usable():
        rows.append(
            Check("warn", routing.explain_none(Stream.MARKETING, timezone.now()), url="providers")
        )
    if not settings.POSTAL_ADDRESS:
        sentence = "No postal address is set (POSTAL_ADDRESS): many countries ask for one in mails."
        rows.append(Check("warn", sentence))
    template = campaign.template
    if template and not (campaign.preheader or template.preheader):
        sentence = "No preheader: inboxes show the first words of the mail after the subject."
        rows.append(Check("warn", sentence, "content"))
    if not campaign.track_clicks or campaign.tracking == TrackedBy.NONE:
        rows.append(Check("warn", "Clicks are not counted for this campaign.", "settings"))
    return rows


def usable() -> list[ProviderAccount]:
    """Return the accounts that would carry a campaign now."""
    accounts = ProviderAccount.objects.usable(Stream.MARKETING, timezone.now())
    return list(accounts.defer("secrets"))


def plan(campaign: Campaign, audience: targeting.Audience) -> dict[str, Any]:
    """Return what will happen, for the sentence on the last step."""
    speed = reports.usual_speed()
    return {
        "audience": audience,
        "left_out": audience.chosen - audience.reached,
        "providers": [account.name for account in usable()],
        "seconds": audience.reached / speed if speed else None,
        "must_type": audience.reached > TYPE_ABOVE,
        "is_late": _is_past(campaign.send_at),
    }


def _is_past(moment: datetime | None) -> bool:
    return moment is not None and moment <= timezone.now()


def confirm_number(campaign: Campaign, typed: str) -> None:
    """Raise InvalidInput unless a large send was confirmed with its number of people."""
    if campaign.status != Campaign.Status.DRAFT or launching.problems(campaign):
        return
    reached = targeting.measured(targeting.choice_of(campaign)).reached
    if reached > TYPE_ABOVE and "".join(filter(str.isdecimal, typed)) != str(reached):
        raise InvalidInput(
            f"Not sent. Type the number of people, {number(reached)}, to say that you mean it."
        )
