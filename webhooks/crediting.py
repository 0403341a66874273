"""What we saw ourselves → events, times on messages, counters: the same pipe as what others tell.

A batch is one transaction: sightings are taken away in the one that stores their events, so a
worker that dies has done nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime

import psycopg
from django.db import OperationalError, transaction

from campaigns.models import Link
from delivery.models import token_of
from delivery.providers.base import Event, EventType
from webhooks.concluding import apply_events, arrival
from webhooks.models import AnonymousCount, Sighting
from webhooks.querysets import AnonymousEvent, AnonymousHit, Seen

logger = logging.getLogger(__name__)

BATCH = 2_000

Urls = dict[tuple[int, int], str]
"""(campaign, number of the link) → its address."""


def credit_sightings(now: datetime, limit: int = BATCH) -> int:
    """Turn up to `limit` sightings into events; return how many were looked at.

    Zero also if somebody else holds rows that are needed: the next call tries again. What our code
    fails with is put aside, found by halves, and holds up nothing else.
    """
    seen: list[Seen] = []
    try:
        with transaction.atomic():
            seen = Sighting.objects.take(limit)
            if seen:
                _credit(seen, now)
    except OperationalError as error:
        if isinstance(error.__cause__, psycopg.errors.LockNotAvailable):
            return 0
        raise
    except Exception:
        if len(seen) > 1:
            return credit_sightings(now, len(seen) // 2)
        logger.exception("sighting_put_aside: %s", seen)
        if not Sighting.objects.filter(pk__in=[each.id for each in seen]).update(is_aside=True):
            raise
    return len(seen)


def _credit(seen: Sequence[Seen], now: datetime) -> None:
    urls = _urls(seen)
    named = [each for each in seen if each.message]
    if named:
        events = [_event(each, urls) for each in named]
        apply_events([arrival(each, None, None, may_wait=False) for each in events], now)
    nameless = [each for each in seen if not each.message and each.campaign]
    if nameless:
        Sighting.objects.store_anonymous([_nameless(each, urls) for each in nameless])
        AnonymousCount.objects.add([_hit(each) for each in nameless])


def _urls(seen: Sequence[Seen]) -> Urls:
    wanted = {each.campaign for each in seen if each.number and each.campaign}
    rows = Link.objects.filter(campaign__in=wanted).values_list("campaign", "number", "url")
    return {(campaign, number): url for campaign, number, url in rows} if wanted else {}


def _event(seen: Seen, urls: Urls) -> Event:
    return Event(
        type=_type(seen),
        occurred_at=seen.seen_at,
        recipient="",
        dedupe_key=f"own:{seen.id}",
        message_id=token_of(seen.message or 0),
        url=_url(seen, urls),
        ip=seen.ip or "",
        user_agent=seen.user_agent,
        is_machine=seen.is_machine,
        reason=seen.reason,
    )


def _type(seen: Seen) -> EventType:
    return EventType.OPENED if seen.number is None else EventType.CLICKED


def _url(seen: Seen, urls: Urls) -> str:
    """Return the address as the campaign has it: one link is one, whatever is personal in it."""
    return urls.get((seen.campaign or 0, seen.number or 0), seen.url)


def _nameless(seen: Seen, urls: Urls) -> AnonymousEvent:
    return AnonymousEvent(
        f"own:{seen.id}",
        _type(seen),
        seen.seen_at,
        seen.campaign or 0,
        _url(seen, urls),
        seen.device,
        seen.is_machine,
        seen.reason,
    )


def _hit(seen: Seen) -> AnonymousHit:
    number = AnonymousCount.OPENS if seen.number is None else seen.number
    return AnonymousHit(seen.campaign or 0, number, seen.seen_at, bool(seen.is_machine))
