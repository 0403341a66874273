"""One segment against another, what stands in people's fields, and who uses a segment."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from django.utils import timezone

from emailplatform.errors import DomainError
from subscribers import limiting, segmenting
from subscribers.models import Segment, Subscriber

SUGGESTED = 50
LOOKED_AT = 5_000
"""Of so many people, the newest, values are suggested: a million would take too long to ask."""


@dataclass(frozen=True, slots=True)
class Overlap:
    """How many may be mailed of either of two segments, of both, of one alone."""

    first: int
    second: int
    both: int

    @property
    def only_first(self) -> int:
        return self.first - self.both

    @property
    def only_second(self) -> int:
        return self.second - self.both

    @property
    def either(self) -> int:
        return self.first + self.second - self.both


def overlap(first: object, second: object) -> Overlap:
    """Return how the rules of two segments meet. Raises InvalidInput, and TooSlow."""
    now = timezone.now()
    one, other = (segmenting.people(rules, now).mailable() for rules in (first, second))
    both = segmenting.people_of_all([first, second], now).mailable()
    with limiting.limited(3 * segmenting.COUNT_TIMEOUT_MS):
        return Overlap(one.count(), other.count(), both.count())


def suggestions(field: str) -> list[str]:
    """Return what the newest people have there, what is most frequent first."""
    newest = Subscriber.objects.order_by("-pk")
    _, is_attribute, name = field.partition("attributes.")
    if is_attribute:
        rows = newest.values_list("attributes", flat=True)[:LOOKED_AT]
        found = Counter(row[name] for row in rows if isinstance(row.get(name), str))
    elif field == "tag":
        tagged = newest.exclude(tags=[]).values_list("tags", flat=True)[:LOOKED_AT]
        found = Counter(tag for tags in tagged for tag in tags)
    elif field in _SUGGESTED_COLUMNS:
        found = Counter(newest.values_list(field, flat=True)[:LOOKED_AT])
    else:
        return []
    return [value for value, _count in found.most_common(SUGGESTED) if value]


_SUGGESTED_COLUMNS = frozenset({"language", "country", "time_zone", "source"})


# --- Who uses a segment ------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Use:
    """Somewhere a segment is used."""

    label: str
    """“Campaign November, draft”."""
    is_open: bool
    """It still reads the segment: what has started keeps what the segment was."""
    url: str = ""
    """Name of the page in the admin, and the key of what is there."""
    key: int = 0


class InUse(DomainError):
    """A segment cannot go, since something still reads it."""

    code = "in_use"


_offered: dict[str, Callable[[Segment], Iterable[Use]]] = {}


def offer(name: str, uses_of: Callable[[Segment], Iterable[Use]]) -> None:
    """Take in who else uses segments: people know nothing of campaigns."""
    _offered[name] = uses_of


def uses(segment: Segment) -> list[Use]:
    """Return where a segment is used, other segments first."""
    page = "admin:subscribers_segment_change"
    found = [
        Use(f"Segment {each}", is_open=True, url=page, key=each.pk)
        for each in Segment.objects.exclude(pk=segment.pk)
        if segment.pk in segmenting.asked_for(each.rules)
    ]
    for uses_of in _offered.values():
        found += uses_of(segment)
    return found


def delete(segment: Segment) -> None:
    """Delete a segment that nothing reads any more. Raises InUse."""
    still = [use.label for use in uses(segment) if use.is_open]
    if still:
        raise InUse(f"“{segment}” is still used: {', '.join(still[:3])}. Take it out there first.")
    segment.delete()
