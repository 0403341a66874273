"""From a claimed message to what a provider is given: rendered values, headers, ids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from django.conf import settings

from campaigns import launching, personalising, rendering
from campaigns.models import Campaign, Content, Link, TrackedBy
from delivery.models import Mail, Message, token_of
from delivery.providers.base import Batch, Recipient, Skeleton
from delivery.querysets import Claimed, Outcome
from delivery.tracking import tracking_base


@dataclass(frozen=True, slots=True)
class Composed:
    """A batch ready for a provider, and the people whose mail cannot be made."""

    batch: Batch
    failed: list[Outcome]


def compose(campaign: Campaign, people: Sequence[Claimed]) -> Composed:
    """Render every person's values. One whose mail cannot be made fails alone, with the reason."""
    compiled = compiled_of(campaign)
    base = tracking_base(campaign.from_email)
    recipients, failed = [], []
    for person in people:
        counted = _counted(campaign, base, person.id)
        try:
            recipients.append(recipient_of(compiled, person, person.id, counted))
        except rendering.TemplateProblem as problem:
            failed.append(unmade(person, problem))
    return Composed(batch_of(campaign, compiled, recipients), failed)


def unmade(person: Claimed, problem: rendering.TemplateProblem) -> Outcome:
    """Return the outcome of a message whose mail cannot be made."""
    fault = Message.Fault.TEMPLATE
    return Outcome(person.id, Message.Status.FAILED, error=str(problem)[:300], fault=fault)


def batch_of(
    campaign: Campaign, compiled: rendering.Compiled, recipients: Sequence[Recipient]
) -> Batch:
    """Return what all recipients of a campaign share, and the recipients."""
    return Batch(
        from_email=campaign.from_email,
        from_name=campaign.from_name,
        reply_to=campaign.reply_to,
        subject=_skeleton(compiled.subject),
        html=_skeleton(compiled.html),
        text=_skeleton(compiled.text),
        recipients=recipients,
        tag=f"campaign-{campaign.pk}",
        track_opens=is_provider_to_count(campaign) and campaign.track_opens,
        track_clicks=is_provider_to_count(campaign) and campaign.track_clicks,
    )


def _skeleton(part: rendering.Chunked) -> Skeleton:
    return Skeleton(part.static, part.order if part.shared else ())


def is_provider_to_count(row: Campaign | Mail) -> bool:
    """Say whether the provider counts opens and clicks: never beside us."""
    return row.tracking == TrackedBy.PROVIDER


def compiled_of(campaign: Campaign, *, is_counted: bool = True) -> rendering.Compiled:
    """Return the campaign's compiled content; compiled once per process.

    Not `is_counted`: without the links and the pixel of our own tracking, like any draft.
    """
    if campaign.launched_at is None:
        return _compile_draft(campaign)
    counted = is_counted and TrackedBy(campaign.tracking).is_own
    counts = (campaign.track_opens, campaign.track_clicks) if counted else (False, False)
    is_personal = campaign.tracking != TrackedBy.ANONYMOUS
    return _compile_frozen(campaign.pk, campaign.launched_at.timestamp(), counts, is_personal)


def _counted(campaign: Campaign, base: str, message: int) -> str:
    """Return what the links of one message begin with; empty if we do not count."""
    if campaign.tracking == TrackedBy.FULL:
        return personalising.tracking_url(base, message, campaign.pk)
    if campaign.tracking == TrackedBy.ANONYMOUS:
        return personalising.tracking_url(base, 0, campaign.pk)
    return ""


def recipient_of(
    compiled: rendering.Compiled, person: personalising.Person, message: int, counted: str = ""
) -> Recipient:
    """Return one person's values and headers. Raises rendering.TemplateProblem.

    `counted` is what links of our own tracking begin with, if the content has any.
    """
    context = {**personalising.context_of(person, message), rendering.TRACKING: counted}
    url = context["unsubscribe_url"]
    token = token_of(message)
    return Recipient(
        message_id=token,
        email=person.email,
        name=context["full_name"],
        subject=compiled.subject.values(context),
        html=compiled.html.values(context),
        text=compiled.text.values(context),
        headers={
            "Message-ID": f"<{token}@{settings.MESSAGE_ID_DOMAIN}>",
            # RFC 8058: one POST to this address ends it, without a page in between.
            "List-Unsubscribe": f"<{url}>",
            "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
        },
    )


def _compile_draft(campaign: Campaign) -> rendering.Compiled:
    return rendering.compile_source(
        launching.source_of(campaign),
        names=personalising.known_names(),
        constants=personalising.constants_of(campaign),
    )


@lru_cache(maxsize=64)
def _compile_frozen(
    campaign: int, _launched_at: float, counts: tuple[bool, bool], is_personal: bool
) -> rendering.Compiled:
    """Compile what was frozen. The time keeps a reused id (a restored backup) from a stale hit.

    `counts`: whether we count opens, and clicks.
    """
    content = Content.objects.get(campaign=campaign)
    opens, clicks = counts
    tracking = rendering.Tracking(
        opens=opens,
        clicks=clicks,
        has_trap=settings.TRACKING_HIDDEN_LINK and is_personal,
        is_personal=is_personal,
        numbers=dict(Link.objects.filter(campaign=campaign).values_list("url", "number")),
    )
    return rendering.compile_source(
        rendering.Source(**content.as_source()),
        names=content.names,
        constants=content.constants,
        tracking=tracking if opens or clicks else None,
    )
