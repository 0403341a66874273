"""Events in their order, for whoever keeps a number: none is passed by, none told twice."""

from __future__ import annotations

from typing import NamedTuple

from django.db.models import QuerySet

from webhooks import managing
from webhooks.models import Event, Horizon

MOST = 500


class Slice(NamedTuple):
    """Events after a number, the oldest first, and the number to ask with next."""

    events: list[Event]
    next: int
    is_more: bool


class Wish(NamedTuple):
    """Which events somebody wants; "" and 0: all."""

    type: str = ""
    campaign: int = 0


RECENT = 200_000
"""Numbers that a look at the newest goes back: a rare type is not looked for in millions."""


def after(number: int | None, wish: Wish, most: int) -> Slice:
    """Return what follows a number; None: the newest. Not to be called inside of a transaction.

    Only what can no longer change its order is told: an event whose transaction is still open
    holds back those with higher numbers. Where no event fits, `next` moves on all the same.
    """
    settled = Horizon.objects.settled()
    rows = _rows(wish).filter(pk__lte=settled)
    if number is None:
        found = list(rows.filter(pk__gt=settled - RECENT).order_by("-pk")[:most])
        return Slice(found[::-1], settled, False)
    found = list(rows.filter(pk__gt=number).order_by("pk")[: most + 1])
    events, is_more = found[:most], len(found) > most
    return Slice(events, events[-1].pk if is_more else max(settled, number), is_more)


def newest(wish: Wish, most: int) -> list[Event]:
    """Return the newest events, the newest first: to look at, so their order may still change."""
    rows = _rows(wish).filter(pk__gt=managing.last_event() - RECENT)
    return list(rows.order_by("-pk")[:most])


def _rows(wish: Wish) -> QuerySet[Event]:
    rows = Event.objects.filter(standing=Event.Standing.OWN)
    if wish.type:
        rows = rows.filter(type=wish.type)
    if wish.campaign:
        rows = rows.filter(campaign_id=wish.campaign)
    return rows.select_related("account").defer("account__secrets", "account__config")
