"""One person at a time, from the API or by hand: created, or updated in what is given."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any

from django.db import transaction

from emailplatform.errors import InvalidInput
from emailplatform.secrets import address_key
from subscribers import attributing, confirming
from subscribers.consents import BY_API, Proof
from subscribers.mailboxes import mailbox_of
from subscribers.models import (
    ConsentRecord,
    MailingList,
    Subscriber,
    Subscription,
    Suppression,
)
from subscribers.validating import InvalidAddress, clean_address


@transaction.atomic
def enrol(
    email: str,
    lists: Collection[MailingList] = (),
    *,
    source: str,
    now: datetime,
    proof: Proof = BY_API,
    **facts: Any,
) -> tuple[Subscriber, bool]:
    """Return (person, whether new). `facts` are fields to set; attributes are merged key by key.

    An attribute given as None is taken away. Two callers at once take turns: neither overwrites
    what the other said. Nobody who left is revived: a suppressed address gets the standing its
    suppression says, a list the person unsubscribed from stays unsubscribed, and who said no to
    everything is on no list. For a list that asks for confirmation they wait until they have
    given it. Raises InvalidInput.
    """
    address = clean(email)
    given = attributing.checked(facts.pop("attributes", {}))
    person, is_new = Subscriber.objects.select_for_update().get_or_create(
        email=address,
        defaults={
            "address_key": address_key(address),
            "mailbox": mailbox_of(address),
            "source": source,
            "status": _standing_of(address),
        },
    )
    attributes = attributing.merged(person.attributes, given)
    _set(person, {**facts, "attributes": attributes}, now)
    _join(person, lists, source, now, proof)
    return person, is_new


def clean(email: str) -> str:
    """Return the normalised address. Raises InvalidInput with the reason."""
    try:
        return clean_address(email)
    except InvalidAddress as error:
        raise InvalidInput(
            f"“{email[:80]}” is no e-mail address: {error}.", param="email"
        ) from error


def _standing_of(address: str) -> str:
    """Return the status a new person has: suppressions outlive erasure."""
    suppression = Suppression.objects.filter(address_key=address_key(address)).first()
    return suppression.reason if suppression else Subscriber.Status.ACTIVE


def _join(
    person: Subscriber, lists: Collection[MailingList], source: str, now: datetime, proof: Proof
) -> None:
    """Put a person on the lists they have never been on, as imports do: no is said for all."""
    known = set(person.subscriptions.filter(list__in=lists).values_list("list", flat=True))
    new = [each for each in lists if each.pk not in known]
    said_no = {Subscriber.Status.UNSUBSCRIBED, Subscriber.Status.COMPLAINED}
    standing = Subscription.Status
    if person.status in said_no:
        _add(person, new, standing.UNSUBSCRIBED, source, now)
        return
    asking = [each for each in new if each.double_opt_in]
    at_once = [each for each in new if not each.double_opt_in]
    if at_once:
        _add(person, at_once, standing.ACTIVE, source, now)
        joined = [each.pk for each in at_once]
        who = (bytes(person.address_key), person.pk)
        subscribed = ConsentRecord.Action.SUBSCRIBED
        ConsentRecord.objects.write(subscribed, who, joined, now, proof, source)
    if asking:
        confirming.ask(person, [each.pk for each in asking], now, proof)


def _add(
    person: Subscriber, lists: Collection[MailingList], standing: str, source: str, now: datetime
) -> None:
    rows = [
        Subscription(subscriber=person, list=each, source=source, status=standing) for each in lists
    ]
    Subscription.objects.bulk_create(rows, ignore_conflicts=True)
    if person.status == Subscriber.Status.PENDING and standing == Subscription.Status.ACTIVE:
        Subscriber.objects.reopen(bytes(person.address_key), person.status, now)
        person.refresh_from_db(fields=["status", "status_changed_at"])


def _set(person: Subscriber, facts: dict[str, Any], now: datetime) -> None:
    """Write what changed, in one UPDATE of those columns alone."""
    changed = {name: value for name, value in facts.items() if getattr(person, name) != value}
    if changed:
        Subscriber.objects.filter(pk=person.pk).update(**changed, updated_at=now)
        for name, value in changed.items():
            setattr(person, name, value)
