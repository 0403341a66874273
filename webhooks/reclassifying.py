"""History judged again, after the rules or the lists of known machines have changed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from typing import NamedTuple

from django.db import transaction
from django.utils import timezone

from delivery import counting
from webhooks import feeling, weighing
from webhooks.classifying import LOOKS, Verdict
from webhooks.models import Event

CHUNK = 2000
"""Opens and clicks per transaction: well under a second, so that nobody waits long."""


class Turn(NamedTuple):
    """A verdict that changes, from one to another, of a type of event."""

    type: str
    before: str
    after: str


class Chunk(NamedTuple):
    last: int
    """The event up to which all is judged: where to go on."""
    events: int
    turns: Counter[Turn]


def first_since(since: datetime) -> int:
    """Return the first event that came since then; 0 if there is none."""
    rows = Event.objects.filter(received_at__gte=since).order_by("received_at", "pk")
    return rows.values_list("pk", flat=True).first() or 0


def reclassify(first: int, campaign: int | None, *, is_dry: bool) -> Iterator[Chunk]:
    """Judge opens and clicks again, from this event on, and all others of their messages.

    Yields after each transaction. Marks, counters and people follow the verdicts. Safe to repeat
    and to break off. `is_dry`: everything is tried, and nothing kept.
    """
    rows = Event.objects.filter(type__in=LOOKS).order_by("pk")
    if campaign is not None:
        rows = rows.filter(campaign_id=campaign)
    known: set[int] = set()
    last = first - 1
    while found := list(
        rows.filter(pk__gt=last).values_list("pk", "message_id", "standing")[:CHUNK]
    ):
        start, last = last, found[-1][0]
        messages = sorted({message for _, message, standing in found if message and not standing})
        lonely = [pk for pk, message, standing in found if not message or standing]
        with transaction.atomic():
            feeling.make_room()
            weighed = weighing.weigh(messages, lonely)
            feeling.feel(timezone.now())
            counting.add(weighed.deltas)
            transaction.set_rollback(is_dry)
        # Nothing is kept of a dry run: what is met in several chunks is counted in one.
        fresh = [each for each in weighed.changes if not is_dry or each.event not in known]
        known.update(each.event for each in fresh if is_dry and not start < each.event <= last)
        yield Chunk(last, len(found), Counter(map(_turn, fresh)))


def _turn(change: weighing.Change) -> Turn:
    return Turn(change.type, word_of(change.before), word_of(change.after))


def word_of(verdict: Verdict) -> str:
    """Return a verdict as tables show it: `machine (many_links)`."""
    whose = {True: "machine", False: "person", None: "unsure"}[verdict.is_machine]
    return f"{whose} ({verdict.reason})" if verdict.reason else whose
