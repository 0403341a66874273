"""What people choose on their preference page: lists, language, how often, a rest, or nothing."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Q

from emailplatform import secrets
from subscribers import consenting
from subscribers.consents import Proof
from subscribers.models import ConsentRecord, MailingList, Subscriber, Subscription

SOURCE = "on the preference page"
OFTEN = (0, 7, 30)
"""Days between two campaigns that can be chosen; 0: every one."""
RESTS = (7, 30, 90)
"""Days of a rest that can be chosen."""
OPEN = (Subscriber.Status.ACTIVE, Subscriber.Status.PENDING, Subscriber.Status.UNSUBSCRIBED)
"""Who may choose: the other states were not the person's own wish, or end what cannot arrive."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What was chosen; lists by key, those not offered are passed over."""

    lists: Collection[int]
    language: str = ""
    days_between: int = 0
    rest_days: int | None = None
    """0: end the rest; None: leave it as it is."""


@dataclass(frozen=True, slots=True)
class Offer:
    """A list as the page shows it."""

    key: int
    name: str
    description: str
    is_on: bool


def offers(person: Subscriber) -> list[Offer]:
    """Return the lists a person may choose from: those they were ever on, and the open ones."""
    standings = dict(person.subscriptions.values_list("list", "status"))
    rows = MailingList.objects.filter(Q(pk__in=standings) | Q(is_open=True))
    active = Subscription.Status.ACTIVE
    return [
        Offer(each.pk, each.name, each.description, standings.get(each.pk) == active)
        for each in rows
    ]


@transaction.atomic
def save(person: Subscriber, choice: Choice, now: datetime, proof: Proof) -> None:
    """Do what a person chose, and put it on record.

    The link came to their mailbox, so joining needs no other confirmation. Choosing a list takes
    back having left everything.
    """
    person = Subscriber.objects.select_for_update().get(pk=person.pk)
    if person.status not in OPEN:
        return
    offered = offers(person)
    wanted = {each.key for each in offered if each.key in choice.lists}
    on = {each.key for each in offered if each.is_on}
    waiting = _waiting(person)
    if on - wanted or waiting - wanted:
        left = (on | waiting) - wanted
        Subscription.objects.end([person.pk], left, now, proof, SOURCE)
    if wanted:
        _come_in(person, now, proof)
        joined = Subscription.objects.join(person.pk, wanted - on, now, SOURCE)
        _record(person, ConsentRecord.Action.SUBSCRIBED, joined, now, proof)
    _set(person, choice, now, proof)


def _waiting(person: Subscriber) -> set[int]:
    pending = person.subscriptions.filter(status=Subscription.Status.PENDING)
    return set(pending.values_list("list", flat=True))


def _come_in(person: Subscriber, now: datetime, proof: Proof) -> None:
    """Open a person who waited, or who had left everything."""
    if person.status == Subscriber.Status.UNSUBSCRIBED:
        consenting.come_back(person, [], now, proof, SOURCE, everything=True)
    for status in (Subscriber.Status.PENDING, Subscriber.Status.UNSUBSCRIBED):
        Subscriber.objects.reopen(bytes(person.address_key), status, now)


def _record(
    person: Subscriber, action: str, lists: Collection[int], now: datetime, proof: Proof
) -> None:
    if lists:
        who = (bytes(person.address_key), person.pk)
        ConsentRecord.objects.write(action, who, lists, now, proof, SOURCE)


def _set(person: Subscriber, choice: Choice, now: datetime, proof: Proof) -> None:
    """Write language, frequency and rest, and put on record which of them changed."""
    facts = {
        "language": choice.language or person.language,
        "days_between": choice.days_between if choice.days_between in OFTEN else 0,
        "paused_until": _rest(person, choice, now),
    }
    changed = {name: value for name, value in facts.items() if getattr(person, name) != value}
    if not changed:
        return
    Subscriber.objects.filter(pk=person.pk).update(**changed, updated_at=now)
    said = "; ".join(f"{name} {value or 'none'}" for name, value in changed.items())
    who = (bytes(person.address_key), person.pk)
    ConsentRecord.objects.write(ConsentRecord.Action.CHOSE, who, [], now, proof, said)


def _rest(person: Subscriber, choice: Choice, now: datetime) -> datetime | None:
    if choice.rest_days is None:
        return person.paused_until
    return now + timedelta(days=choice.rest_days) if choice.rest_days in RESTS else None


def token_of(person: Subscriber) -> str:
    """Return the token of a person's page, for mail that belongs to no message."""
    return secrets.sign("preferences of person", person.pk)


def person_of(token: str) -> int | None:
    """Return the key of the person whose token this is; None for anything else."""
    numbers = secrets.unsign("preferences of person", token)
    return numbers[0] if numbers and len(numbers) == 1 else None
