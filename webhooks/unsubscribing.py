"""Our own unsubscribe link: what it names, what using it does, and how to take it back."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from django.db import transaction

from campaigns.personalising import TEST_MESSAGE
from delivery.models import Message
from delivery.providers.base import Event, EventType
from emailplatform import secrets
from subscribers.consents import Proof
from subscribers.models import MailingList
from webhooks import concluding, leaving
from webhooks.leaving import Left

BY_PAGE = Proof("unsubscribe")
UNDO_WITHIN = timedelta(hours=1)


def number_of(token: str) -> int | None:
    """Return the message id of an unsubscribe link; None for what we have not signed."""
    numbers = secrets.unsign("unsubscribe", token)
    return numbers[0] if numbers and len(numbers) == 1 else None


def find_message(number: int) -> Message | None:
    """Return the message; None for a test, and for one that is gone."""
    if number == TEST_MESSAGE:
        return None
    rows = Message.objects.select_related("campaign", "subscriber")
    return rows.filter(pk=number).first()


def lists_of(message: Message) -> list[str]:
    """Return the names of the lists a person leaves by this mail; none: it is everything."""
    lists = message.campaign.audience.get("lists", []) if message.campaign else []
    rows = MailingList.objects.filter(pk__in=lists, subscriptions__subscriber=message.subscriber_id)
    return list(rows.values_list("name", flat=True))


def unsubscribe(message: Message, *, everything: bool, now: datetime, proof: Proof) -> Left:
    """Unsubscribe the message's person and count it; return what they have left.

    All of it is committed on return. The event is stored once; leaving again after coming back
    works all the same.
    """
    with transaction.atomic():
        concluding.apply_own(_event(message, now), now)
        return leaving.leave(message, everything=everything, now=now, proof=proof)


def _event(message: Message, now: datetime) -> Event:
    return Event(
        type=EventType.UNSUBSCRIBED,
        occurred_at=now,
        recipient=message.email,
        dedupe_key=f"unsubscribe:{message.pk}",
        message_id=message.token,
    )


def undo_token(message: Message, left: Left, now: datetime) -> str:
    """Return the token by which exactly this can be undone, for UNDO_WITHIN."""
    numbers = (message.pk, int(now.timestamp()), int(left.everything), *left.lists)
    return secrets.sign("resubscribe", *numbers)


def undo(message: Message, token: str, now: datetime, proof: Proof = BY_PAGE) -> bool:
    """Give back what was left, as the token says; False if it is not good (any more)."""
    numbers = secrets.unsign("resubscribe", token)
    if not numbers or numbers[0] != message.pk:
        return False
    _, signed_at, everything, *lists = numbers
    if now - datetime.fromtimestamp(signed_at, tz=UTC) > UNDO_WITHIN:
        return False
    leaving.come_back(message, Left(tuple(lists), bool(everything)), now, proof)
    return True
