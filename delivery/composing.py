"""From a claimed message to what a provider is given: rendered values, headers, ids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from django.conf import settings

from campaigns import launching, personalising, rendering
from campaigns.models import Campaign, Content
from delivery.models import Message, token_of
from delivery.providers.base import Batch, Recipient, Skeleton
from delivery.querysets import Claimed, Outcome


@dataclass(frozen=True, slots=True)
class Composed:
    """A batch ready for a provider, and the people whose mail cannot be made."""

    batch: Batch
    failed: list[Outcome]


def compose(campaign: Campaign, people: Sequence[Claimed]) -> Composed:
    """Render every person's values. One whose mail cannot be made fails alone, with the reason."""
    compiled = compiled_of(campaign)
    recipients, failed = [], []
    for person in people:
        try:
            recipients.append(_recipient(compiled, person))
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
        subject=Skeleton(compiled.subject.static),
        html=Skeleton(compiled.html.static),
        text=Skeleton(compiled.text.static),
        recipients=recipients,
        tag=f"campaign-{campaign.pk}",
        track_opens=campaign.track_opens,
        track_clicks=campaign.track_clicks,
    )


def compiled_of(campaign: Campaign) -> rendering.Compiled:
    """Return the campaign's compiled content; compiled once per process."""
    if campaign.launched_at is None:
        return _compile_draft(campaign)
    return _compile_frozen(campaign.pk, campaign.launched_at.timestamp())


def recipient_of(
    compiled: rendering.Compiled, person: personalising.Person, message: int
) -> Recipient:
    """Return one person's values and headers. Raises rendering.TemplateProblem."""
    url = personalising.unsubscribe_url(message)
    context = personalising.context_of(person, url)
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


def _recipient(compiled: rendering.Compiled, person: Claimed) -> Recipient:
    return recipient_of(compiled, person, person.id)


def _compile_draft(campaign: Campaign) -> rendering.Compiled:
    return rendering.compile_source(
        launching.source_of(campaign),
        names=personalising.known_names(),
        constants=personalising.constants_of(campaign),
    )


@lru_cache(maxsize=32)
def _compile_frozen(campaign: int, _launched_at: float) -> rendering.Compiled:
    """Compile what was frozen. The time keeps a reused id (a restored backup) from a stale hit."""
    content = Content.objects.get(campaign=campaign)
    return rendering.compile_source(
        rendering.Source(**content.as_source()),
        names=content.names,
        constants=content.constants,
    )
