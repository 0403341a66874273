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
from subscribers.models import Subscriber, Subscription, Suppression
from webhooks.querysets import Consequence


@dataclass(frozen=True, slots=True)
class Left:
    """What a person has left by a mail."""

    lists: tuple[int, ...] = ()
    everything: bool = False


def leave(message: Message, *, everything: bool, now: datetime) -> Left:
    """Unsubscribe the person of one message; return what they have left, now or before."""
    wish = Consequence(
        type="unsubscribed",
        account=None,
        campaign=None if everything else message.campaign_id,
        subscriber=message.subscriber_id,
        address_key=bytes(message.address_key),
        mailed_at=message.created_at,
    )
    with transaction.atomic():
        return leave_many([wish], now)[0]


def leave_many(wishes: Sequence[Consequence], now: datetime) -> list[Left]:
    """Let people leave; return what each has left. To repeat it changes nothing."""
    lists = _lists_of({wish.campaign for wish in wishes if wish.campaign})
    by_campaign: dict[int | None, list[Consequence]] = defaultdict(list)
    for wish in wishes:
        by_campaign[wish.campaign if lists.get(wish.campaign or 0) else None].append(wish)
    left: dict[Consequence, Left] = {}
    for campaign, group in sorted(by_campaign.items(), key=lambda item: item[0] or 0):
        left.update(_leave_lists(group, lists.get(campaign or 0, []), now))
    _leave_everything([wish for wish in wishes if left[wish].everything], now)
    return [left[wish] for wish in wishes]


def _lists_of(campaigns: Collection[int]) -> dict[int, list[int]]:
    rows = Campaign.objects.filter(pk__in=campaigns).values_list("pk", "audience")
    return {pk: audience.get("lists", []) for pk, audience in rows}


def _leave_lists(
    wishes: Sequence[Consequence], lists: Collection[int], now: datetime
) -> dict[Consequence, Left]:
    """End subscriptions to these lists; who has none to end leaves everything.

    A list left before the mail was made does not count: the person got this mail in another way.
    """
    gone = Subscription.Status.UNSUBSCRIBED
    people = [wish.subscriber for wish in wishes if wish.subscriber]
    rows = Subscription.objects.filter(subscriber__in=people, list__in=lists).order_by()
    rows.exclude(status=gone).update(status=gone, changed_at=now)
    ended: dict[int, list[tuple[int, datetime]]] = defaultdict(list)
    for person, each, when in rows.filter(status=gone).values_list(
        "subscriber", "list", "changed_at"
    ):
        ended[person].append((each, when))
    return {wish: _left(ended[wish.subscriber or 0], wish.mailed_at) for wish in wishes}


def _left(ended: Sequence[tuple[int, datetime]], since: datetime) -> Left:
    lists = tuple(sorted(each for each, when in ended if when >= since))
    return Left(lists, everything=not lists)


def _leave_everything(wishes: Sequence[Consequence], now: datetime) -> None:
    if not wishes:
        return
    reason = Suppression.Reason.UNSUBSCRIBED
    Suppression.objects.suppress_many(
        [(wish.address_key, reason, "The person unsubscribed by a mail") for wish in wishes], now
    )
    people = [wish.subscriber for wish in wishes if wish.subscriber]
    Subscriber.objects.close(people, Subscriber.Status.UNSUBSCRIBED, now)


def come_back(message: Message, left: Left, now: datetime) -> None:
    """Undo what `leave` did. Bounces, complaints and the team's blocks stay."""
    with transaction.atomic():
        gone = Subscription.objects.filter(
            subscriber=message.subscriber_id,
            list__in=left.lists,
            status=Subscription.Status.UNSUBSCRIBED,
        )
        gone.update(status=Subscription.Status.ACTIVE, changed_at=now)
        if left.everything:
            Suppression.objects.filter(
                address_key=message.address_key, reason=Suppression.Reason.UNSUBSCRIBED
            ).delete()
            Subscriber.objects.filter(
                pk=message.subscriber_id or 0, status=Subscriber.Status.UNSUBSCRIBED
            ).update(status=Subscriber.Status.ACTIVE, status_changed_at=now, updated_at=now)
