"""Who gets a campaign: from the lists and segments chosen to a set of people.

A choice is plain JSON, so that it can be frozen at launch:
{"lists": [id], "segments": [{"id", "name", "rules"}], "excluded_lists": …, "excluded_segments": …,
 "highest": id of the newest person who may be in it, "frozen_at": moment of the launch}
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.core.cache import cache
from django.db.models import Count, Exists, Max, OuterRef, Q

from campaigns.models import Campaign
from subscribers import segmenting
from subscribers.models import MailingList, Segment, Subscriber, Subscription
from subscribers.querysets import SubscriberQuerySet, SubscriptionQuerySet

Choice = dict[str, Any]
MEASURED_FOR_S = 10


@dataclass(frozen=True, slots=True)
class Audience:
    """How many people a choice reaches, and who is left out for what."""

    chosen: int
    reached: int
    left_out: dict[str, int]
    """Reason in words -> people; reached + left_out add up to chosen."""


def choice_of(campaign: Campaign) -> Choice:
    """Return what is chosen now: of a draft as edited, later as frozen."""
    if campaign.audience:
        return dict(campaign.audience)
    return choose(
        campaign.lists.all(),
        campaign.segments.all(),
        campaign.excluded_lists.all(),
        campaign.excluded_segments.all(),
    )


def choose(
    lists: Iterable[MailingList],
    segments: Iterable[Segment],
    excluded_lists: Iterable[MailingList],
    excluded_segments: Iterable[Segment],
) -> Choice:
    """Return the choice of these lists and segments."""
    return {
        "lists": [each.pk for each in lists],
        "segments": _rules(segments),
        "excluded_lists": [each.pk for each in excluded_lists],
        "excluded_segments": _rules(excluded_segments),
    }


def frozen(choice: Choice, now: datetime) -> Choice:
    """Return the choice as of `now`: nobody joins a campaign later.

    New people and new subscriptions do not count, and “the last 7 days” end at `now`. Who leaves
    a chosen list is out all the same, and so is who was on an excluded one or comes on it. Other
    facts that segments ask for are those of the moment the audience is read.
    """
    highest = Subscriber.objects.aggregate(highest=Max("pk"))["highest"] or 0
    kept = {name: _kept(choice.get(name, [])) for name in ("segments", "excluded_segments")}
    return {**choice, **kept, "highest": highest, "frozen_at": now.isoformat()}


def _kept(segments: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return segments that stay as they are, whatever becomes of those they ask for."""
    return [
        {**each, "rules": {"resolved": segmenting.resolved(each["rules"])}} for each in segments
    ]


def chosen(choice: Choice) -> SubscriberQuerySet:
    """Return everybody the choice names, mailable or not, each once."""
    at = datetime.fromisoformat(choice["frozen_at"]) if "frozen_at" in choice else None
    rows = Subscription.objects.of_lists(choice.get("lists", []), joined_by=at)
    wanted = Q(pk__in=[])
    for group in _groups(rows, choice.get("segments", []), at):
        wanted |= Q(group)
    people = Subscriber.objects.filter(wanted)
    rows = Subscription.objects.of_lists(choice.get("excluded_lists", []), left_after=at)
    for group in _groups(rows, choice.get("excluded_segments", []), at):
        people = people.filter(~group)
    if "highest" in choice:
        people = people.filter(pk__lte=choice["highest"])
    return people


def audience(choice: Choice) -> SubscriberQuerySet:
    """Return the people to be mailed: chosen, active, and not suppressed."""
    return chosen(choice).mailable()


def measure(choice: Choice) -> Audience:
    """Count the audience and everybody left out, by reason."""
    everybody = chosen(choice)
    by_status = dict(everybody.order_by().values_list("status").annotate(Count("pk")))
    reached = everybody.mailable().count()
    active = by_status.pop(Subscriber.Status.ACTIVE, 0)
    labels = dict(Subscriber.Status.choices)
    left_out = {str(labels[status]): count for status, count in sorted(by_status.items())}
    if active > reached:
        left_out["On the suppression list"] = active - reached
    return Audience(chosen=active + sum(by_status.values()), reached=reached, left_out=left_out)


def measured(choice: Choice) -> Audience:
    """Return `measure(choice)`, at most MEASURED_FOR_S old: for pages that are looked at again."""
    text = json.dumps(choice, sort_keys=True)
    key = f"audience:{hashlib.sha256(text.encode()).hexdigest()}"
    known: Audience | None = cache.get(key)
    if known is None:
        known = measure(choice)
        cache.set(key, known, MEASURED_FOR_S)
    return known


def waiting_on_lists(choice: Choice) -> dict[str, int]:
    """Return how many subscriptions of the chosen lists are not active, by their state in words."""
    rows = Subscription.objects.filter(list__in=choice.get("lists", []))
    rows = rows.exclude(status=Subscription.Status.ACTIVE).order_by()
    labels = dict(Subscription.Status.choices)
    return {str(labels[s]): count for s, count in rows.values_list("status").annotate(Count("pk"))}


def _groups(
    subscriptions: SubscriptionQuerySet, segments: Iterable[dict[str, Any]], at: datetime | None
) -> Iterator[Exists]:
    """Yield for the subscriptions, then each segment as of `at`, whether a person is among them.

    EXISTS, because PostgreSQL reads all of a large “NOT IN” anew for every person.
    """
    yield Exists(subscriptions.filter(subscriber=OuterRef("pk")))
    for segment in segments:
        yield Exists(segmenting.people(segment["rules"], at).filter(pk=OuterRef("pk")))


def _rules(segments: Iterable[Segment]) -> list[dict[str, Any]]:
    return [{"id": each.pk, "name": each.name, "rules": each.rules} for each in segments]
