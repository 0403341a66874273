"""Unsubscribing by a mail: from the lists of its campaign, or from everything; and coming back.

Whoever left is never mailed as if they had not: if leaving the campaign's lists would change
nothing (it has none, or the person got the mail without being on them), it is everything.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db import transaction

from campaigns.models import Campaign
from delivery.models import Message
from subscribers import consenting
from subscribers.consents import BY_PROVIDER, Proof
from subscribers.models import Subscriber, Subscription, Suppression
from webhooks.querysets import Consequence

SOURCE = "unsubscribed by a mail"


@dataclass(frozen=True, slots=True)
class Left:
    """What a person has left by a mail: these lists, or everything, which ended these."""

    lists: tuple[int, ...] = ()
    everything: bool = False


@transaction.atomic
def leave(message: Message, *, everything: bool, now: datetime, proof: Proof = BY_PROVIDER) -> Left:
    """Unsubscribe the person of one message; return what they have left, now or before."""
    wish = Consequence(
        type="unsubscribed",
        account=None,
        campaign=None if everything else message.campaign_id,
        subscriber=message.subscriber_id,
        address_key=bytes(message.address_key),
        mailed_at=message.created_at,
    )
    if leave_many([wish], now, proof):
        return _everything_of(message)
    return Left(tuple(_ended_by([wish], _lists_of([wish])[wish])[message.subscriber_id or 0]))


def leave_many(
    wishes: Sequence[Consequence], now: datetime, proof: Proof = BY_PROVIDER
) -> list[Consequence]:
    """Let people leave, in the caller's transaction; return those who left everything.

    To repeat it changes nothing.
    """
    people = sorted({wish.subscriber for wish in wishes if wish.subscriber})
    # Everybody locks people before subscriptions.
    list(Subscriber.objects.select_for_update().filter(pk__in=people).order_by("pk"))
    by_lists: dict[tuple[int, ...], list[Consequence]] = defaultdict(list)
    for wish, lists in _lists_of(wishes).items():
        by_lists[lists].append(wish)
    rest = [wish for lists, group in by_lists.items() for wish in _end(group, lists, now, proof)]
    persons = Subscriber.objects.in_bulk([wish.subscriber for wish in rest if wish.subscriber])
    for wish in rest:
        if wish.subscriber in persons:
            consenting.unsubscribe(persons[wish.subscriber], [], now, SOURCE, proof)
        else:
            unsubscribed = Suppression.Reason.UNSUBSCRIBED
            consenting.suppress(wish.address_key, unsubscribed, SOURCE, now, proof)
    return rest


def _lists_of(wishes: Sequence[Consequence]) -> dict[Consequence, tuple[int, ...]]:
    """Return the lists that each person wants to leave; none of them means everything."""
    campaigns = {wish.campaign for wish in wishes if wish.campaign}
    rows = Campaign.objects.filter(pk__in=campaigns).values_list("pk", "audience")
    lists = {pk: tuple(audience.get("lists", [])) for pk, audience in rows}
    return {wish: lists.get(wish.campaign or 0, ()) for wish in wishes}


def _end(
    wishes: Sequence[Consequence], lists: Collection[int], now: datetime, proof: Proof
) -> list[Consequence]:
    """End subscriptions to these lists; return those who have none to end."""
    people = [wish.subscriber for wish in wishes if wish.subscriber]
    Subscription.objects.end(people, lists, now, proof, SOURCE)
    ended = _ended_by(wishes, lists)
    return [wish for wish in wishes if not ended[wish.subscriber or 0]]


def _ended_by(wishes: Sequence[Consequence], lists: Collection[int]) -> dict[int, list[int]]:
    """Return the lists that each person has left since they were mailed.

    One left before does not count: the person got this mail in another way.
    """
    mailed_at = {wish.subscriber: wish.mailed_at for wish in wishes}
    rows = Subscription.objects.filter(
        subscriber__in=[person for person in mailed_at if person],
        list__in=lists,
        status=Subscription.Status.UNSUBSCRIBED,
    )
    ended: dict[int, list[int]] = defaultdict(list)
    for person, each, when in rows.values_list("subscriber", "list", "changed_at"):
        if when >= mailed_at[person]:
            ended[person].append(each)
    return ended


def _everything_of(message: Message) -> Left:
    """Return the lists that ended when the person left everything: both bear the same time."""
    person = Subscriber.objects.filter(pk=message.subscriber_id or 0).first()
    if person is None or person.status != Subscriber.Status.UNSUBSCRIBED:
        return Left(everything=True)
    ended = Subscription.objects.filter(
        subscriber=person,
        status=Subscription.Status.UNSUBSCRIBED,
        changed_at=person.status_changed_at,
    )
    return Left(tuple(ended.values_list("list", flat=True)), everything=True)


def come_back(message: Message, left: Left, now: datetime, proof: Proof) -> None:
    """Undo what `leave` did. Bounces, complaints and the team's blocks stay."""
    words = "took back that they unsubscribed"
    if message.subscriber:
        consenting.come_back(
            message.subscriber, left.lists, now, proof, words, everything=left.everything
        )
    elif left.everything:
        for suppression in Suppression.objects.said_no(bytes(message.address_key), left.lists):
            consenting.lift(suppression, now, proof, words)
