"""Everything that happened with a person in one line of time: mails, events, consent.

Read page by page, the newest first. Each source is asked only for as many rows as a page has, out
of its own index; what is merged here is never more than that from each.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import Any, NamedTuple

from django.db.models import Q, QuerySet

from delivery.models import Message, token_of
from emailplatform.errors import InvalidInput
from subscribers.models import ConsentRecord, Subscriber
from webhooks.models import Event, Tracked


class Place(NamedTuple):
    """Where in the line something stands: no two things share one."""

    at: datetime
    kind: str
    pk: int


class Moment(NamedTuple):
    """One thing that happened."""

    place: Place
    type: str
    campaign: int | None
    details: dict[str, Any]


Source = Callable[[Subscriber], tuple[QuerySet[Any], str]]
"""person → their rows, and the column of the time."""


def _mails(person: Subscriber) -> tuple[QuerySet[Any], str]:
    return Message.objects.filter(subscriber=person), "created_at"


def _events(person: Subscriber) -> tuple[QuerySet[Any], str]:
    own = Event.objects.filter(subscriber_id=person.pk, standing=Event.Standing.OWN)
    return own.select_related("account").defer("account__secrets", "account__config"), "occurred_at"


def _consents(person: Subscriber) -> tuple[QuerySet[Any], str]:
    return ConsentRecord.objects.of(bytes(person.address_key), person.pk), "at"


SOURCES: Mapping[str, Source] = MappingProxyType(
    {"consent": _consents, "event": _events, "message": _mails}
)


def history(
    person: Subscriber, before: Place | None, most: int, kinds: Sequence[str] = ()
) -> tuple[list[Moment], Place | None]:
    """Return up to `most` moments before a place, the newest first, and where to go on.

    What happens meanwhile comes before the first page, so pages neither skip nor repeat.
    """
    found: list[tuple[Place, Any]] = []
    for kind in kinds or SOURCES:
        rows, column = SOURCES[kind](person)
        if before:
            rows = rows.filter(_before(kind, column, before))
        newest = rows.order_by(f"-{column}", "-pk")[: most + 1]
        found.extend((Place(getattr(row, column), kind, row.pk), row) for row in newest)
    found.sort(key=lambda each: each[0], reverse=True)
    page = found[:most]
    carried = _carried([row.pk for place, row in page if place.kind == "event"])
    moments = [_told(place, row, carried) for place, row in page]
    return moments, page[-1][0] if len(found) > most else None


def _before(kind: str, column: str, place: Place) -> Q:
    earlier = Q(**{f"{column}__lt": place.at})
    if kind > place.kind:
        return earlier
    same = Q(**{column: place.at})
    return earlier | (same & Q(pk__lt=place.pk) if kind == place.kind else same)


def _carried(events: Sequence[int]) -> dict[int, Tracked]:
    return Tracked.objects.in_bulk(events) if events else {}


def _told(place: Place, row: Any, carried: Mapping[int, Tracked]) -> Moment:
    details: dict[str, Any]
    if isinstance(row, Message):
        details = {"message": token_of(row.pk), "error": row.error, "sent_at": row.sent_at}
        return Moment(place, row.status, row.campaign_id, details)
    if isinstance(row, ConsentRecord):
        details = {"lists": row.lists, "via": row.via, "source": row.source}
        return Moment(place, row.action, None, details)
    return Moment(place, row.type, row.campaign_id, _of_event(row, carried.get(row.pk)))


def _of_event(event: Event, more: Tracked | None) -> dict[str, Any]:
    details: dict[str, Any] = {
        "message": event.message_token,
        "provider": event.account.name if event.account else None,
        "verdict": event.verdict,
        "url": event.url,
        "reason": event.reason,
        "bounce_class": event.bounce_class,
    }
    if more:
        details |= {
            "name": more.name,
            "value": None if more.value is None else str(more.value),
            "currency": more.currency,
            "properties": more.properties,
        }
    return {name: value for name, value in details.items() if value not in ("", None, {})}


# --- Pages -------------------------------------------------------------------------------


def cursor_of(place: Place) -> str:
    """Return a place as text for an address."""
    text = json.dumps([place.at.isoformat(), place.kind, place.pk])
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def place_of(cursor: str) -> Place:
    """Return the place a cursor names. Raises InvalidInput."""
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        at, kind, pk = json.loads(text)
        place = Place(datetime.fromisoformat(at), kind, pk)
        good = isinstance(pk, int) and 0 <= pk < 2**63 and kind in SOURCES and place.at.tzinfo
    except (ValueError, TypeError, RecursionError) as error:
        raise _bad_cursor() from error
    if not good:
        raise _bad_cursor()
    return place


def _bad_cursor() -> InvalidInput:
    return InvalidInput("This cursor is none of ours: take it from `next`.", param="cursor")
