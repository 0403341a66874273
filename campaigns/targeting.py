"""Who gets a campaign: from the lists and segments chosen to a set of people.

A choice is plain JSON, so that it can be frozen at launch:
{"lists": [id], "segments": [{"id", "name", "rules"}], "excluded_lists": …, "excluded_segments": …,
 "cap": {"mails", "days"}, "holdout": {"percent", "campaign"},
 "highest": id of the newest person who may be in it, "frozen_at": moment of the launch}
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.core.cache import cache
from django.db.models import CharField, Count, Exists, Max, OuterRef, Q, QuerySet, Value
from django.db.models.functions import MD5, Cast, Collate, Concat, Substr
from django.db.models.lookups import LessThan
from django.utils import timezone

from campaigns.models import Campaign
from subscribers import limiting, segmenting
from subscribers.models import MailingList, Segment, Subscriber, Subscription
from subscribers.querysets import SubscriberQuerySet, SubscriptionQuerySet

Choice = dict[str, Any]
MEASURED_FOR_S = 10
MEASURE_TIMEOUT_MS = 30_000


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
    chosen = choose(
        campaign.lists.all(),
        campaign.segments.all(),
        campaign.excluded_lists.all(),
        campaign.excluded_segments.all(),
    )
    return {**chosen, **spared_by(campaign)}


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


def spared_by(campaign: Campaign) -> Choice:
    """Return the part of a choice that spares some: who had enough mail, and who is held out."""
    found: Choice = {}
    if campaign.cap_mails:
        found["cap"] = {"mails": campaign.cap_mails, "days": campaign.cap_days}
    if campaign.holdout_percent:
        found["holdout"] = {"percent": campaign.holdout_percent, "campaign": campaign.pk}
    return found


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
    people, at = _wanted(choice), _moment(choice)
    rows = Subscription.objects.of_lists(choice.get("excluded_lists", []), left_after=at)
    for group in _groups(rows, choice.get("excluded_segments", []), at):
        people = people.filter(~group)
    return people


def _wanted(choice: Choice) -> SubscriberQuerySet:
    """Return everybody on the lists and in the segments, excluded or not."""
    at = _moment(choice)
    rows = Subscription.objects.of_lists(choice.get("lists", []), joined_by=at)
    wanted = Q(pk__in=[])
    for group in _groups(rows, choice.get("segments", []), at):
        wanted |= Q(group)
    people = Subscriber.objects.filter(wanted)
    return people.filter(pk__lte=choice["highest"]) if "highest" in choice else people


def _moment(choice: Choice) -> datetime | None:
    return datetime.fromisoformat(choice["frozen_at"]) if "frozen_at" in choice else None


def reachable(choice: Choice) -> SubscriberQuerySet:
    """Return the people who could be mailed: chosen, active, and not suppressed."""
    return chosen(choice).mailable(choice.get("lists", []))


def audience(choice: Choice) -> SubscriberQuerySet:
    """Return the people to be mailed, but for those who had enough mail lately.

    Delivery knows the latter, and sets them aside first.
    """
    people = reachable(choice)
    return people.filter(~_is_held_out(choice["holdout"])) if "holdout" in choice else people


def held_out(choice: Choice) -> SubscriberQuerySet:
    """Return who could be mailed and gets nothing, by chance and for good."""
    people = reachable(choice)
    return people.filter(_is_held_out(choice["holdout"])) if "holdout" in choice else people.none()


def is_held_out(choice: Choice, person: Subscriber) -> bool:
    """Say whether somebody would be held out, chosen or not."""
    if "holdout" not in choice:
        return False
    rows = Subscriber.objects.filter(pk=person.pk)
    return rows.filter(_is_held_out(choice["holdout"])).exists()


def _is_held_out(holdout: Mapping[str, int]) -> Q:
    """Return the draw: the same for a campaign and a person whenever it is made.

    The first 32 bits of MD5 over “campaign:person”, as hex, which sorts like the number it is.
    """
    drawn = Concat(Value(f"{holdout['campaign']}:"), Cast("pk", CharField()))
    limit = f"{holdout['percent'] * 2**32 // 100:08x}"
    return Q(LessThan(Collate(Substr(MD5(drawn), 1, 8), "C"), Value(limit)))


OftenMailed = Callable[[Mapping[str, int], datetime], QuerySet[Any, Any]]
"""({"mails", "days"}, at) -> the keys of people who had so many campaigns in the days before."""
_often_mailed: list[OftenMailed] = []


def heed(often_mailed: OftenMailed) -> None:
    """Take in from delivery who is mailed how often: campaigns know nothing of mail."""
    _often_mailed[:] = [often_mailed]


def measure(choice: Choice, now: datetime | None = None) -> Audience:
    """Count the audience and everybody left out, by reason, in the order in which they go.

    Raises InvalidInput for segments that cannot be used, TooSlow after MEASURE_TIMEOUT_MS.
    """
    with limiting.limited(MEASURE_TIMEOUT_MS):
        return _measure(choice, _moment(choice) or now or timezone.now())


def _measure(choice: Choice, now: datetime) -> Audience:
    everybody = chosen(choice)
    by_status = dict(everybody.order_by().values_list("status").annotate(Count("pk")))
    mailable = everybody.mailable(choice.get("lists", [])).count()
    active = by_status.pop(Subscriber.Status.ACTIVE, 0)
    labels = dict(Subscriber.Status.choices)
    left_out = {str(labels[status]): count for status, count in sorted(by_status.items())}
    remaining = active + sum(by_status.values())
    excluded = _wanted(choice).count() - remaining if _excludes(choice) else 0
    if active > mailable:
        held = active - everybody.filter(status=Subscriber.Status.ACTIVE).not_held().count()
        left_out |= {"On the suppression list": active - mailable - held, "Held back": held}
    often, spared = _spared(choice, now)
    left_out |= {
        "On an excluded list or in an excluded segment": excluded,
        "Mailed often lately": often,
        "Held out by chance, to compare with": spared,
    }
    left_out = {reason: count for reason, count in left_out.items() if count > 0}
    return Audience(remaining + excluded, mailable - often - spared, left_out)


def _excludes(choice: Choice) -> bool:
    return bool(choice.get("excluded_lists") or choice.get("excluded_segments"))


def _spared(choice: Choice, now: datetime) -> tuple[int, int]:
    """Return how many had enough mail, and how many of the others are held out."""
    spared, both, often = held_out(choice), 0, 0
    if "cap" in choice and _often_mailed:
        keys = _often_mailed[0](choice["cap"], now)
        often = reachable(choice).filter(pk__in=keys).count()
        both = spared.filter(pk__in=keys).count()
    return often, spared.count() - both


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
