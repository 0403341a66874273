"""One person at a time, from the API or by hand: created, or updated in what is given."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any

from django.db import transaction

from emailplatform.errors import InvalidInput
from emailplatform.secrets import address_key
from subscribers import attributing
from subscribers.mailboxes import mailbox_of
from subscribers.models import MailingList, Subscriber, Subscription, Suppression
from subscribers.validating import InvalidAddress, clean_address


@transaction.atomic
def enrol(
    email: str, lists: Collection[MailingList] = (), *, source: str, now: datetime, **facts: Any
) -> tuple[Subscriber, bool]:
    """Return (person, whether new). `facts` are fields to set; attributes are merged key by key.

    An attribute given as None is taken away. Two callers at once take turns: neither overwrites
    what the other said. Nobody who left is revived: a suppressed address gets the standing its
    suppression says, a list the person unsubscribed from stays unsubscribed, and who said no to
    everything is on no list. Raises InvalidInput.
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
    standing = _standing_on_lists(person)
    rows = [
        Subscription(subscriber=person, list=each, source=source, status=standing) for each in lists
    ]
    Subscription.objects.bulk_create(rows, ignore_conflicts=True)
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


def _standing_on_lists(person: Subscriber) -> str:
    """Return the status of new subscriptions, as imports have it: no is said for every list."""
    said_no = {Subscriber.Status.UNSUBSCRIBED, Subscriber.Status.COMPLAINED}
    standing = Subscription.Status
    return standing.UNSUBSCRIBED if person.status in said_no else standing.ACTIVE


def _set(person: Subscriber, facts: dict[str, Any], now: datetime) -> None:
    """Write what changed, in one UPDATE of those columns alone."""
    changed = {name: value for name, value in facts.items() if getattr(person, name) != value}
    if changed:
        Subscriber.objects.filter(pk=person.pk).update(**changed, updated_at=now)
        for name, value in changed.items():
            setattr(person, name, value)
