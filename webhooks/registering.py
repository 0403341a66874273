"""Events that our own programs and pages tell: into the same pipe as what providers report.

A program names a person or a message; a page holds a token that names one, and nothing else. An
event with an id that is known already changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.db import transaction

from delivery.models import Message, message_of, token_of
from delivery.providers.base import Event, EventType
from emailplatform import secrets
from emailplatform.errors import InvalidInput
from subscribers import enrolling
from subscribers.models import Subscriber
from webhooks import concluding
from webhooks.models import Tracked
from webhooks.querysets.tracked import Carried

TYPES = {
    "open": EventType.OPENED,
    "click": EventType.CLICKED,
    "conversion": EventType.CONVERTED,
    "reply": EventType.REPLIED,
    "custom": EventType.CUSTOM,
}
"""As programs say it → as it is stored."""
PURPOSE = "track"


@dataclass(frozen=True, slots=True)
class Subject:
    """Whom an event is about: a message of ours with its person, or a person alone."""

    message: int | None = None
    person: int | None = None


@dataclass(frozen=True, slots=True)
class Told:
    """One event as it was told."""

    id: str
    type: str
    subject: Subject
    occurred_at: datetime
    url: str = ""
    ip: str = ""
    user_agent: str = ""
    name: str = ""
    value: Decimal | None = None
    currency: str = ""
    properties: dict[str, Any] = field(default_factory=dict)


# --- Whom it is about --------------------------------------------------------------------


def token_for(person: Subscriber, campaign: int | None = None) -> str:
    """Return a token for a page: of the person's mail of a campaign, or of the person alone.

    Raises InvalidInput if they have no such mail.
    """
    if campaign is None:
        return secrets.sign(PURPOSE, 0, person.pk)
    return secrets.sign(PURPOSE, _mail_of(person.pk, campaign), 0)


def subject_of_token(token: str) -> Subject | None:
    """Return whom a token names; None for one that we have not made."""
    numbers = secrets.unsign(PURPOSE, token)
    if not numbers or len(numbers) != 2:
        return None
    return Subject(numbers[0] or None, numbers[1] or None)


def subject_named(wish: dict[str, Any]) -> Subject:
    """Return whom a program means by `message`, or by `email` or `subscriber` and a `campaign`.

    Raises InvalidInput.
    """
    if message := wish.get("message"):
        number = message_of(message)
        if not number or not Message.objects.filter(pk=number).exists():
            raise InvalidInput("There is no such message.", param="message")
        return Subject(message=number)
    person = _person_named(wish)
    if campaign := wish.get("campaign"):
        return Subject(message=_mail_of(person, campaign))
    return Subject(person=person)


def _person_named(wish: dict[str, Any]) -> int:
    by_email = "email" in wish
    which = {"email": enrolling.clean(wish["email"])} if by_email else {"pk": wish["subscriber"]}
    found = Subscriber.objects.filter(**which).values_list("pk", flat=True).first()
    if found is None:
        param = "email" if by_email else "subscriber"
        raise InvalidInput("Nobody is known by this: make the person first.", param=param)
    return found


def _mail_of(person: int, campaign: int) -> int:
    rows = Message.objects.filter(campaign=campaign, subscriber=person)
    found = rows.values_list("pk", flat=True).first()
    if found is None:
        raise InvalidInput("This person has no mail of that campaign.", param="campaign")
    return found


# --- Taking it in ------------------------------------------------------------------------


def register(told: Sequence[Told], via: str, now: datetime) -> None:
    """Store events and everything they mean; those known by their id change nothing."""
    rows = {_key(each, via): each for each in reversed(told)}
    with transaction.atomic():
        arrivals = [
            concluding.arrival(_event(key, each), None, None, may_wait=False)._replace(
                person=each.subject.person
            )
            for key, each in rows.items()
        ]
        concluding.apply_events(arrivals, now)
        carried = [_carried(key, each, via) for key, each in rows.items() if _has_more(each)]
        if carried:
            Tracked.objects.keep(carried)


def _key(told: Told, via: str) -> str:
    """Return the dedupe key. Pages choose ids of their own: one person's is none of another's."""
    whose = f"{told.subject.message or 0}.{told.subject.person or 0}:"
    return f"track:{whose if via == Tracked.Via.TOKEN else ''}{told.id}"


def _event(key: str, told: Told) -> Event:
    return Event(
        type=TYPES[told.type],
        occurred_at=told.occurred_at,
        recipient="",
        dedupe_key=key,
        message_id=token_of(told.subject.message) if told.subject.message else "",
        url=told.url,
        ip=told.ip,
        user_agent=told.user_agent,
    )


def _has_more(told: Told) -> bool:
    return bool(
        told.type in ("conversion", "custom") or told.name or told.properties or told.currency
    )


def _carried(key: str, told: Told, via: str) -> Carried:
    return Carried(key, via, told.name, told.value, told.currency, told.properties)
