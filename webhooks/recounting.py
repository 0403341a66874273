"""Events in words, as timelines tell them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from campaigns.models import Campaign
from webhooks.classifying import REASONS
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
    "visited": Word("Opened a page of ours, like unsubscribe", "quiet"),
    "bounced": Word("Bounced", "bad"),
    "deferred": Word("Delayed", "warn"),
    "dropped": Word("Dropped by the provider", "bad"),
    "unsubscribed": Word("Unsubscribed", "warn"),
    "spam_report": Word("Reported as spam", "bad"),
    "complained": Word("Reported as spam", "bad"),
    "failed": Word("Failed at the provider", "bad"),
    "converted": Word("Converted", "ok"),
    "replied": Word("Replied", "ok"),
    "custom": Word("Did something of your own", "quiet"),
}


_WHOSE: Mapping[str, str] = {
    "person": "A person’s.",
    "machine": "A machine’s.",
    "unsure": "Unsure.",
}


class Moment(NamedTuple):
    """One line of a timeline."""

    event: Event
    label: str
    tone: str
    campaign: str
    why_whose: str


def word_of(event: Event) -> Word:
    """Return an event in words; what a machine did, or may have done, is said and kept quiet."""
    word = WORDS.get(event.type, Word(event.type, "quiet"))
    if event.is_machine:
        return Word(f"{word.label} by a machine", "quiet")
    return Word(f"{word.label}, unsure by whom", "quiet") if event.verdict == "unsure" else word


def why_whose(event: Event) -> str:
    """Return in a few words why an open or a click is called a person's or a machine's; or ""."""
    known = REASONS.get(event.machine_reason)
    return known.short if known else ""


def whose(event: Event) -> str:
    """Return whose an open or a click was and what told it, as a sentence or two; or ""."""
    if event.verdict is None:
        return ""
    known = REASONS.get(event.machine_reason)
    return " ".join(filter(None, [_WHOSE[event.verdict], known.words if known else ""]))


def moments(events: list[Event]) -> list[Moment]:
    """Return events as a timeline shows them, with the names of their campaigns."""
    pks = {event.campaign_id for event in events if event.campaign_id}
    names = dict(Campaign.objects.filter(pk__in=pks).values_list("pk", "name")) if pks else {}
    return [
        Moment(event, *word_of(event), names.get(event.campaign_id or 0, ""), why_whose(event))
        for event in events
    ]
