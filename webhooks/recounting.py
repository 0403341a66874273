"""Events in words, as timelines tell them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from campaigns.models import Campaign
from webhooks.models import Event


class Word(NamedTuple):
    label: str
    tone: str


WORDS: Mapping[str, Word] = {
    "queued": Word("Queued at the provider", "quiet"),
    "sent": Word("Sent by the provider", "quiet"),
    "delivered": Word("Delivered", "ok"),
    "opened": Word("Opened", "info"),
    "clicked": Word("Clicked", "info"),
    "bounced": Word("Bounced", "bad"),
    "deferred": Word("Delayed", "warn"),
    "dropped": Word("Dropped by the provider", "bad"),
    "unsubscribed": Word("Unsubscribed", "warn"),
    "spam_report": Word("Reported as spam", "bad"),
    "complained": Word("Reported as spam", "bad"),
    "failed": Word("Failed at the provider", "bad"),
}


class Moment(NamedTuple):
    """One line of a timeline."""

    event: Event
    label: str
    tone: str
    campaign: str


def word_of(event: Event) -> Word:
    """Return an event in words; what a machine did is said and kept quiet."""
    word = WORDS.get(event.type, Word(event.type, "quiet"))
    return Word(f"{word.label} by a machine", "quiet") if event.is_machine else word


def moments(events: list[Event]) -> list[Moment]:
    """Return events as a timeline shows them, with the names of their campaigns."""
    pks = {event.campaign_id for event in events if event.campaign_id}
    names = dict(Campaign.objects.filter(pk__in=pks).values_list("pk", "name")) if pks else {}
    return [
        Moment(event, *word_of(event), names.get(event.campaign_id or 0, "")) for event in events
    ]
