"""Double opt-in: a wish to join waits for a yes from the mailbox itself.

`ask` writes the wish down; delivery finds it and sends the mail. The link carries a signed token,
and only the button of its page confirms: mail scanners open links.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from django.db import transaction

from emailplatform import secrets
from subscribers.consents import Proof
from subscribers.models import (
    Confirmation,
    ConsentRecord,
    SignupDay,
    SignupForm,
    Subscriber,
    Subscription,
    Suppression,
)

GOOD_FOR = timedelta(days=7)
PER_DAY = 3
"""Confirmation mails to one address in 24 hours, over all lists."""
PER_LIST = 1
"""The same for one list; who asks for it on the page gets one more."""
_PURPOSE = "confirm"


@transaction.atomic
def ask(
    person: Subscriber,
    lists: Collection[int],
    now: datetime,
    proof: Proof,
    form: SignupForm | None = None,
    *,
    is_again: bool = False,
) -> Confirmation | None:
    """Want a confirmation for these lists (keys); None if the address was asked often enough.

    Over the form's hourly limit it is held until somebody of the team decides. Nobody's standing
    changes, save that who is not on a list yet is shown as waiting for it.
    """
    Subscriber.objects.select_for_update().filter(pk=person.pk).first()
    wanted = _not_asked_lately(person, lists, now, PER_LIST + is_again)
    if not wanted:
        return None
    _show_as_waiting(person, wanted, now, "sign-up")
    is_over = form is not None and _in_last_hour(form, now) >= form.hourly_limit
    key = bytes(person.address_key)
    about = f"form “{form.name}”" if form else ""
    asked = ConsentRecord.Action.ASKED
    ConsentRecord.objects.write(asked, (key, person.pk), wanted, now, proof, about)
    return Confirmation.objects.create(
        subscriber=person,
        form=form,
        lists=sorted(wanted),
        language=proof.language or person.language,
        text=proof.text or "",
        created_at=now,
        expires_at=now + GOOD_FOR,
        held_at=now if is_over else None,
    )


def _not_asked_lately(
    person: Subscriber, lists: Collection[int], now: datetime, per_list: int
) -> list[int]:
    day = Confirmation.objects.filter(subscriber=person).since(now - timedelta(days=1))
    asked = list(day.values_list("lists", flat=True))
    if len(asked) >= PER_DAY:
        return []
    counts = Counter(each for some in asked for each in some)
    return [each for each in lists if counts[each] < per_list]


def _show_as_waiting(
    person: Subscriber, lists: Collection[int], now: datetime, source: str
) -> None:
    rows = [
        Subscription(
            subscriber=person, list_id=each, status=Subscription.Status.PENDING, source=source
        )
        for each in lists
    ]
    Subscription.objects.bulk_create(rows, ignore_conflicts=True)


def _in_last_hour(form: SignupForm, now: datetime) -> int:
    rows = Confirmation.objects.filter(form=form).since(now - timedelta(hours=1))
    return rows.count()


# --- The link ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Link:
    """What a token says: whose confirmation, and until when it is good."""

    number: int
    expires_at: datetime


def token_of(confirmation: Confirmation) -> str:
    expires = int(confirmation.expires_at.timestamp())
    return secrets.sign(_PURPOSE, confirmation.pk, expires)


def link_of(token: str) -> Link | None:
    """Return what a token of ours says; None for anything else."""
    numbers = secrets.unsign(_PURPOSE, token)
    if not numbers or len(numbers) != 2:
        return None
    return Link(numbers[0], datetime.fromtimestamp(numbers[1], tz=UTC))


def find(link: Link) -> Confirmation | None:
    """Return the confirmation with its person and form; None once the person is erased."""
    rows = Confirmation.objects.select_related("subscriber", "form")
    return rows.filter(pk=link.number).first()


@transaction.atomic
def confirm(confirmation: Confirmation, now: datetime, proof: Proof) -> list[int]:
    """Say yes, once: put the person on the lists; return on which they were not before.

    Who had unsubscribed from everything takes that back. Bounces, complaints and the team's blocks
    stay. A link that was used, or whose time is over, changes nothing.
    """
    person = Subscriber.objects.select_for_update().get(pk=confirmation.subscriber_id)
    fresh = Confirmation.objects.filter(
        pk=confirmation.pk, confirmed_at=None, expires_at__gt=now
    ).update(confirmed_at=now)
    if not fresh:
        return []
    _let_in(person, confirmation.lists, now)
    joined = Subscription.objects.join(person.pk, confirmation.lists, now, "confirmed")
    key = bytes(person.address_key)
    ConsentRecord.objects.write(
        ConsentRecord.Action.CONFIRMED,
        (key, person.pk),
        confirmation.lists,
        now,
        Proof(
            proof.via,
            proof.ip,
            proof.user_agent,
            proof.language,
            confirmation.text or None,
            {"confirmation": confirmation.pk, "asked_at": confirmation.created_at.isoformat()},
        ),
    )
    if confirmation.form_id:
        SignupDay.objects.add(confirmation.form_id, now, "confirmed")
    return joined


def _let_in(person: Subscriber, lists: Collection[int], now: datetime) -> None:
    """Open a person who waited, or who had said no to everything."""
    Subscriber.objects.reopen(bytes(person.address_key), Subscriber.Status.PENDING, now)
    reason = Suppression.Reason.UNSUBSCRIBED
    key = bytes(person.address_key)
    said_no = Suppression.objects.said_no(key, lists).delete()[0]
    if Suppression.objects.gravest([key]):
        return
    if said_no or person.status == Subscriber.Status.UNSUBSCRIBED:
        Subscriber.objects.reopen(bytes(person.address_key), reason, now)


# --- The team, and time ------------------------------------------------------------------


def release(form: SignupForm) -> int:
    """Let the held confirmations of a form be sent; return how many."""
    return Confirmation.objects.filter(form=form).held().update(held_at=None)


def drop(form: SignupForm) -> int:
    """Throw the held confirmations of a form away; return how many."""
    return Confirmation.objects.filter(form=form).held().delete()[0]


def lapse(now: datetime, limit: int = 10_000) -> int:
    """End waiting for those whose link is long over; return how many standings went.

    A wish that nobody confirmed leaves no trace on the list; the record keeps that it was made.
    """
    old = Subscription.objects.filter(
        status=Subscription.Status.PENDING, changed_at__lt=now - GOOD_FOR - timedelta(days=1)
    )
    again = Confirmation.objects.filter(expires_at__gt=now).values("subscriber")
    chosen = old.exclude(subscriber__in=again).order_by("pk").values_list("pk", flat=True)[:limit]
    return Subscription.objects.filter(pk__in=list(chosen)).delete()[0]
