"""Whether one person belongs to a campaign's audience, and through what: `targeting`, explained.

Everything is told as of now, by the rules that are frozen. The audience itself was read once,
after the launch: what a segment asks for may have been otherwise then.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from campaigns import targeting
from campaigns.targeting import Choice
from emailplatform.errors import InvalidInput
from subscribers import explaining
from subscribers.explaining import Answer
from subscribers.models import MailingList, Subscriber, Subscription


@dataclass(frozen=True, slots=True)
class OnList:
    """One list of the choice, and the person's standing there."""

    id: int
    name: str
    counts: bool
    """Whether it takes the person in (or, excluded, out)."""
    standing: str
    """A `Subscription.Status`; "" for somebody who never was on it."""
    since: datetime | None
    source: str
    note: str = ""
    """Why a subscription does not count, or one that ended still does, as a sentence."""

    @property
    def label(self) -> str:
        return str(Subscription.Status(self.standing).label) if self.standing else "Never on it"


@dataclass(frozen=True, slots=True)
class InSegment:
    """One segment of the choice, and whether its rules hold for the person."""

    id: int
    name: str
    answer: Answer | None
    problem: str = ""
    """Why the rules cannot be asked any more; then there is no answer."""

    @property
    def counts(self) -> bool:
        return self.answer is not None and self.answer.holds


@dataclass(frozen=True, slots=True)
class Belonging:
    """What takes a person into an audience, and what keeps them out."""

    lists: list[OnList]
    segments: list[InSegment]
    excluded_lists: list[OnList]
    excluded_segments: list[InSegment]
    came_late: bool
    """They became known after the launch."""
    is_held_out: bool = False
    """By chance they are among those who get nothing, to compare with."""

    @property
    def is_wanted(self) -> bool:
        places: list[OnList | InSegment] = [*self.lists, *self.segments]
        return any(each.counts for each in places)

    @property
    def exclusions(self) -> list[OnList | InSegment]:
        places: list[OnList | InSegment] = [*self.excluded_lists, *self.excluded_segments]
        return [each for each in places if each.counts]

    @property
    def is_in(self) -> bool:
        """Whether `targeting.chosen` has them: mailable or not."""
        return self.is_wanted and not self.exclusions and not self.came_late


def explain(choice: Choice, person: Subscriber, now: datetime) -> Belonging:
    """Return how a choice, frozen or not, sees a person."""
    frozen_at = datetime.fromisoformat(choice["frozen_at"]) if "frozen_at" in choice else None
    lists = _Lists(person, choice, frozen_at)
    as_of = frozen_at or now
    return Belonging(
        lists=[lists.included(pk) for pk in choice.get("lists", [])],
        segments=_segments(choice.get("segments", []), person, as_of),
        excluded_lists=[lists.excluded(pk) for pk in choice.get("excluded_lists", [])],
        excluded_segments=_segments(choice.get("excluded_segments", []), person, as_of),
        came_late="highest" in choice and person.pk > choice["highest"],
        is_held_out=targeting.is_held_out(choice, person),
    )


class _Lists:
    """The lists of a choice with one person's subscriptions, read in two statements."""

    def __init__(self, person: Subscriber, choice: Choice, frozen_at: datetime | None) -> None:
        pks = {*choice.get("lists", []), *choice.get("excluded_lists", [])}
        self._frozen_at = frozen_at
        self._names = dict(MailingList.objects.filter(pk__in=pks).values_list("pk", "name"))
        rows = Subscription.objects.filter(subscriber=person, list__in=pks)
        self._known = {row.list_id: row for row in rows}

    def included(self, pk: int) -> OnList:
        row = self._known.get(pk)
        if row is None:
            return self._told(pk, None, counts=False)
        is_active = row.status == Subscription.Status.ACTIVE
        is_late = self._changed_since(row)
        note = ""
        if is_late:
            note = "Joined after the launch." if is_active else "Changed after the launch."
        return self._told(pk, row, counts=is_active and not is_late, note=note)

    def excluded(self, pk: int) -> OnList:
        row = self._known.get(pk)
        if row is None:
            return self._told(pk, None, counts=False)
        is_active, is_late = row.status == Subscription.Status.ACTIVE, self._changed_since(row)
        note = "Changed after the launch: it counts as it was." if is_late else ""
        return self._told(pk, row, counts=is_active or is_late, note=note)

    def _changed_since(self, row: Subscription) -> bool:
        return self._frozen_at is not None and row.changed_at > self._frozen_at

    def _told(self, pk: int, row: Subscription | None, *, counts: bool, note: str = "") -> OnList:
        name = self._names.get(pk, "a list that is gone")
        if row is None:
            return OnList(pk, name, counts, "", None, "", note)
        return OnList(pk, name, counts, row.status, row.changed_at, row.source, note)


def _segments(
    segments: Iterable[dict[str, Any]], person: Subscriber, as_of: datetime
) -> list[InSegment]:
    return [_segment(each, person, as_of) for each in segments]


def _segment(segment: dict[str, Any], person: Subscriber, as_of: datetime) -> InSegment:
    pk, name = segment.get("id", 0), segment.get("name", "a segment")
    try:
        return InSegment(pk, name, explaining.explain(segment["rules"], person, as_of))
    except InvalidInput as error:
        return InSegment(pk, name, None, str(error))
