"""Tags of many people: counted, given, taken, renamed. In chunks, so that nobody waits for long.

Whoever is being written by somebody else is passed over for now; `more` says that some are left.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, NamedTuple

from django.db import transaction
from django.db.models import Count, F, Func, Q, QuerySet, Value
from django.db.models.functions import Now

from subscribers.converting import MOST_TAGS
from subscribers.models import Subscriber

CHUNK = 5_000
MOST = 100_000
"""People per call."""


class Changed(NamedTuple):
    """How many people were changed, and whether there are more: call again."""

    changed: int
    more: bool


def counts(most: int = 1_000) -> dict[str, int]:
    """Return tag → how many people have it, the most first."""
    tag = Func(F("tags"), function="unnest", set_returning=True)
    rows = Subscriber.objects.exclude(tags=[]).order_by().annotate(tag=tag).values("tag")
    counted = rows.annotate(count=Count("pk")).order_by("-count", "tag")
    return {row["tag"]: row["count"] for row in counted[:most]}


def give(people: QuerySet[Subscriber], tag: str) -> Changed:
    """Give people a tag; those who have as many as one may have are passed over."""
    without = people.filter(~Q(tags__contains=[tag]), tags__len__lt=MOST_TAGS)
    return _change(without, _appended(F("tags"), tag))


def take(people: QuerySet[Subscriber], tags: Collection[str]) -> Changed:
    """Take tags away."""
    tagged = people.filter(tags__overlap=list(tags)).exclude(tags=[])
    return _change(tagged, _removed(F("tags"), tags))


def rename(old: Collection[str], new: str) -> Changed:
    """Make one tag of several: whoever has any of them has the new one once."""
    tagged = Subscriber.objects.filter(tags__overlap=list(old)).exclude(tags=[])
    return _change(tagged, _appended(_removed(F("tags"), {*old, new}), new))


def _removed(tags: Any, gone: Collection[str]) -> Any:
    for tag in sorted(gone):
        tags = Func(tags, Value(tag), function="array_remove")
    return tags


def _appended(tags: Any, tag: str) -> Any:
    return Func(tags, Value(tag), function="array_append")


def _change(people: QuerySet[Subscriber], tags: Any) -> Changed:
    """Set the tags of people who then are no longer among them."""
    changed = 0
    while changed < MOST:
        with transaction.atomic():
            locked = people.select_for_update(skip_locked=True, of=("self",)).order_by("pk")
            pks = list(locked.values_list("pk", flat=True)[:CHUNK])
            Subscriber.objects.filter(pk__in=pks).update(tags=tags, updated_at=Now())
        changed += len(pks)
        if len(pks) < CHUNK:
            break
    return Changed(changed, people.exists())
