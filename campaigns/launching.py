"""From a draft to a campaign that is sending: check, freeze, start; now or at a time.

Nothing of the draft is read after launch: content and audience are copies.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal, cast

from django.db import transaction

from campaigns import personalising, rendering, targeting
from campaigns.models import Campaign, Content, Link, Template
from emailplatform.errors import DomainError, InvalidInput


class CannotLaunch(DomainError):
    """Something is missing or wrong; `str()` is the first problem."""

    code = "cannot_launch"


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a campaign cannot be launched: where it is mended, and what to do, in one sentence."""

    field: str
    message: str


def source_of(campaign: Campaign) -> rendering.Source:
    """Return what the campaign says: frozen if it was launched, else the template's as of now."""
    content = Content.objects.filter(campaign=campaign).first()
    if content is not None and campaign.status not in _EDITED:
        return rendering.Source(**content.as_source())
    template = campaign.template
    if template is None:
        raise CannotLaunch("Choose a template.", param="template")
    return rendering.Source(
        subject=campaign.subject or template.subject,
        preheader=campaign.preheader or template.preheader,
        body=template.body,
        format=cast("Literal['mjml', 'html']", template.format),
        text=template.text,
    )


def problems(campaign: Campaign) -> list[Problem]:
    """Return everything that keeps a draft from being launched, in the order people fill it in."""
    found = _audience_problems(targeting.choice_of(campaign))
    if not campaign.from_email:
        found.append(Problem("from_email", "Give the sender's address."))
    if not campaign.from_name:
        found.append(Problem("from_name", "Give the sender's name: people decide by it."))
    if campaign.template is None:
        found.append(Problem("template", "Choose a template."))
    else:
        found += content_problems(source_of(campaign), campaign)
    return found


def _audience_problems(choice: targeting.Choice) -> list[Problem]:
    if not choice.get("lists") and not choice.get("segments"):
        return [Problem("lists", "Choose at least one list or segment to send to.")]
    try:
        is_empty = not targeting.audience(choice).exists()
    except InvalidInput as error:  # a field that a segment asks for is gone
        return [Problem("lists", f"A chosen segment cannot be used: {error}")]
    sentence = "Nobody in the chosen audience may be mailed."
    return [Problem("lists", sentence)] if is_empty else []


def content_problems(source: rendering.Source, campaign: Campaign | None) -> list[Problem]:
    """Return what is wrong with the content: each with the part it is in."""
    names, constants = personalising.known_names(), personalising.constants_of(campaign)
    found = [
        Problem(problem.part, str(problem))
        for problem in rendering.problems(source, names=names, constants=constants)
    ]
    if not found and not rendering.has_unsubscribe_link(source):
        found.append(
            Problem(
                "body",
                "The body has no unsubscribe link: add "
                '<a href="{{ unsubscribe_url }}">Unsubscribe</a>.',
            )
        )
    return found


def launch(campaign: Campaign, now: datetime) -> None:
    """Check, freeze content and audience, and start sending. All of it, or nothing.

    Raises CannotLaunch with the first problem, InvalidTransition if it is launched already.
    """
    with transaction.atomic():
        _hold(campaign)
        _check(campaign)
        _freeze(campaign, now)
        campaign.move_to(
            Campaign.Status.SENDING,
            only_from=_EDITED,
            launched_at=now,
            problem="",
            audience=targeting.frozen(targeting.choice_of(campaign), now),
        )


def schedule(campaign: Campaign, send_at: datetime, now: datetime) -> None:
    """Launch at `send_at`. Checked now, and once more when the time has come."""
    if send_at <= now:
        raise InvalidInput("Choose a time in the future.", param="send_at")
    with transaction.atomic():
        _hold(campaign)
        _check(campaign)
        campaign.move_to(Campaign.Status.SCHEDULED, send_at=send_at, problem="")


def start_due(now: datetime) -> int:
    """Launch every scheduled campaign whose time has come; return how many started.

    One that no longer can goes back to draft and says why. Two callers start it once.
    """
    due = Campaign.objects.due_to_start(now)
    return sum(_start(pk, now) for pk in due.values_list("pk", flat=True))


@transaction.atomic
def _start(pk: int, now: datetime) -> bool:
    """Launch one campaign, or send it back to draft; say whether it started."""
    # Locked and asked once more: it may have been taken back while others were launched.
    rows = Campaign.objects.due_to_start(now).select_for_update()
    campaign = rows.filter(pk=pk).first()
    if campaign is None:
        return False
    try:
        launch(campaign, now)
    except CannotLaunch as error:
        campaign.move_to(Campaign.Status.DRAFT, problem=f"Not sent: {error}")
        return False
    return True


_EDITED = frozenset({Campaign.Status.DRAFT, Campaign.Status.SCHEDULED})


def _hold(campaign: Campaign) -> None:
    """Lock the row and read it anew: what was saved since it was read counts, and nothing later."""
    campaign.refresh_from_db(from_queryset=Campaign.objects.select_for_update())


def _check(campaign: Campaign) -> None:
    """Raise CannotLaunch with the first problem. Past draft, the database refuses."""
    if campaign.status not in _EDITED:
        return
    found = problems(campaign)
    if found:
        raise CannotLaunch(found[0].message, param=found[0].field)


def _freeze(campaign: Campaign, now: datetime) -> None:
    """Copy what the campaign says, as it is at this moment."""
    template = campaign.template
    if template is None or campaign.status not in _EDITED:
        return
    source = source_of(campaign)
    Content.objects.update_or_create(
        campaign=campaign,
        defaults={
            "format": Template.Format(source.format),
            "subject": source.subject,
            "preheader": source.preheader,
            "body": source.body,
            "text": source.text,
            "constants": personalising.constants_of(campaign),
            "names": personalising.known_names(),
            "frozen_at": now,
        },
    )
    number_links(campaign, source)


def number_links(campaign: Campaign, source: rendering.Source) -> None:
    """Freeze where the links of a campaign lead: each address has a number from now on."""
    Link.objects.filter(campaign=campaign).delete()
    Link.objects.bulk_create(
        Link(campaign=campaign, number=number, url=link.address, is_personal=link.is_personal)
        for number, link in enumerate(rendering.links_of(source), start=1)
    )
