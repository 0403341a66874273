"""The buttons of a campaign: what makes sense in its state, for whom may do it."""

from __future__ import annotations

from django.http import HttpRequest

from campaigns.models import Campaign
from delivery.reports import Progress
from emailplatform.admin import Button, ModelAdmin
from emailplatform.formats import number

Status = Campaign.Status


def buttons(page: ModelAdmin, request: HttpRequest, campaign: Campaign) -> list[Button]:
    """Return what makes sense in this state, the next step last."""
    shown = []
    if page.has_add_permission(request):
        url = page.url("duplicate", campaign.pk)
        shown.append(Button("Duplicate", url, "content_copy", post=True))
    if campaign.status == Status.DRAFT and page.has_delete_permission(request, campaign):
        shown.append(Button("Delete", page.url("delete", campaign.pk), "delete", "danger"))
    if page.has_change_permission(request, campaign):
        shown += _moves(page, campaign)
    return shown


def again(
    page: ModelAdmin, request: HttpRequest, campaign: Campaign, progress: Progress
) -> list[Button]:
    """Return the ways to send once more to some people of a campaign that is over."""
    if not (campaign.is_over and page.has_change_permission(request, campaign)):
        return []
    shown = []
    if progress.unconfirmed:
        shown.append(
            Button(
                f"Send again to the {number(progress.unconfirmed)} unconfirmed",
                page.url("resend_unconfirmed", campaign.pk),
                "forward_to_inbox",
                post=True,
                confirm=(
                    f"Send again to {number(progress.unconfirmed)} of whom no provider has told "
                    "anything for three days? They may have the mail already: who has may get it "
                    "twice. Who left since gets nothing."
                ),
            )
        )
    if progress.recoverable and campaign.status == Status.SENT:
        shown.append(_retry(page, campaign, progress.recoverable, ""))
    return shown


def held(
    page: ModelAdmin, request: HttpRequest, campaign: Campaign, progress: Progress
) -> list[Button]:
    """Return the two ways out of “finished with holds”: try again, or take it as it is."""
    if campaign.status != Status.HELD or not page.has_change_permission(request, campaign):
        return []
    count = progress.recoverable
    accept = Button(
        "Accept as it is",
        page.url("accept", campaign.pk),
        "done_all",
        post=True,
        confirm=(
            f"Count this campaign as sent, although {number(count)} did not get it? They can "
            "still be tried again later."
        ),
    )
    return [accept, *([_retry(page, campaign, count, "primary")] if count else [])]


def _retry(page: ModelAdmin, campaign: Campaign, count: int, look: str) -> Button:
    question = (
        f"Try {number(count)} again that failed? None of them has the mail. Mend first what the "
        "reasons name, or they fail again. Addresses that do not work are not tried."
    )
    label, url = f"Retry {number(count)} failed", page.url("resend_failed", campaign.pk)
    return Button(label, url, "refresh", look, post=True, confirm=question)


def _moves(page: ModelAdmin, campaign: Campaign) -> list[Button]:
    stop = Button(
        "Stop",
        page.url("cancel", campaign.pk),
        "stop_circle",
        "danger",
        post=True,
        confirm="Stop this campaign for good? Who has not been sent to yet gets nothing.",
    )
    pause = Button("Pause", page.url("pause", campaign.pk), "pause", "primary", post=True)
    resume = Button("Resume", page.url("resume", campaign.pk), "play_arrow", "primary", post=True)
    back = Button(
        "Back to draft", page.url("unschedule", campaign.pk), "edit", "primary", post=True
    )
    moves = {Status.SENDING: [stop, pause], Status.PAUSED: [stop, resume]}
    moves[Status.SCHEDULED] = [back]
    return moves.get(Status(campaign.status), [])
