"""What is in a campaign's way: said on its page, and if it will not mend itself, a pause."""

from __future__ import annotations

import contextlib

from campaigns.models import Campaign
from delivery.models import CampaignStat, Handoff, Message
from emailplatform.states import InvalidTransition

HOPELESS_AFTER = 50
"""So many refused, and fewer sent: a campaign pauses itself."""


def say(campaign: Campaign | None, problem: str) -> None:
    """Let a campaign say what is in its way; empty: nothing is."""
    if campaign is not None and campaign.problem != problem[:500]:
        campaign.problem = problem[:500]
        Campaign.objects.sending().filter(pk=campaign.pk).update(problem=campaign.problem)


def pause_if_hopeless(handoff: Handoff, error: str) -> None:
    """Pause a campaign of which nearly everything is refused: it is the mail, not the people."""
    campaign = handoff.campaign
    if campaign is None:
        return
    refused = Message.objects.filter(campaign=campaign, status=Message.Status.FAILED)
    if refused[:HOPELESS_AFTER].count() < HOPELESS_AFTER:
        return
    if sum(CampaignStat.objects.sent_by_provider(campaign.pk).values()) < HOPELESS_AFTER:
        pause(campaign, f"{HOPELESS_AFTER} mails were refused and fewer accepted. {error}")


def pause(campaign: Campaign, why: str) -> None:
    """Stop a campaign and say why, unless it was stopped already."""
    with contextlib.suppress(InvalidTransition):
        campaign.move_to(Campaign.Status.PAUSED, problem=f"Paused: {why}"[:500])
