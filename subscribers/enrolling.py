"""One person at a time, from the API or by hand: created, or updated in what is given."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import transaction

from emailplatform.errors import InvalidInput
from emailplatform.secrets import address_key
from subscribers import attributing, checking, confirming
from subscribers.checking import Decision
from subscribers.consents import BY_API, Proof
from subscribers.flagging import Policy
from subscribers.mailboxes import mailbox_of
from subscribers.models import (
    ConsentRecord,
    Import,
    MailingList,
    Subscriber,
    Subscription,
    Suppression,
)
from subscribers.validating import InvalidAddress, clean_address


@dataclass(frozen=True, slots=True)
class Manner:
    """How somebody is met who is there already."""

    known: str = Import.Known.UPDATE
    """As for imports: they are updated, only put on the lists, or passed over."""
    replaces: bool = False
    """What is given is everything: attributes that are left out are taken away."""
    check: Callable[[Subscriber], None] | None = None
    """Sees the person as they stand, locked; it may raise."""


UPDATING = Manner()


@transaction.atomic
def enrol(
    email: str,
    lists: Collection[MailingList] = (),
    *,
    source: str,
    now: datetime,
    proof: Proof = BY_API,
    manner: Manner = UPDATING,
    **facts: Any,
) -> tuple[Subscriber, bool]:
    """Return (person, whether new). `facts` are fields to set; attributes are merged key by key.

    An attribute given as None is taken away. Two callers at once take turns: neither overwrites
    what the other said. Nobody who left is revived: a suppressed address gets the standing its
    suppression says, a list the person unsubscribed from stays unsubscribed, and who said no to
    everything is on no list. For a list that asks for confirmation they wait until they have
    given it. Lists refuse or hold back flagged addresses. Raises InvalidInput.
    """
    address = clean(email)
    given = attributing.checked(facts.pop("attributes", {}))
    decisions = checking.decide(address, lists)
    _check_none_refuses(address, lists, decisions)
    person, is_new = Subscriber.objects.select_for_update().get_or_create(
        email=address,
        defaults={
            "address_key": address_key(address),
            "mailbox": mailbox_of(address),
            "source": source,
            "status": _standing_of(address),
        },
    )
    if manner.check:
        manner.check(person)
    if not is_new and manner.known == Import.Known.SKIP:
        return person, False
    if is_new or manner.known == Import.Known.UPDATE:
        attributes = attributing.merged({} if manner.replaces else person.attributes, given)
        _set(person, {**facts, "attributes": attributes}, now)
    joined = _join(person, lists, source, now, proof)
    _hold(person, {pk: decisions[pk] for pk in joined}, source, now)
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
    key = address_key(address)
    return Suppression.objects.gravest([key]).get(key, Subscriber.Status.ACTIVE)


def _join(
    person: Subscriber, lists: Collection[MailingList], source: str, now: datetime, proof: Proof
) -> list[int]:
    """Put a person on the lists they have never been on, as imports do: no is said for all.

    Returns the lists they are on at once.
    """
    known = set(person.subscriptions.filter(list__in=lists).values_list("list", flat=True))
    new = [each for each in lists if each.pk not in known]
    said_no = {Subscriber.Status.UNSUBSCRIBED, Subscriber.Status.COMPLAINED}
    standing = Subscription.Status
    if person.status in said_no:
        _add(person, new, standing.UNSUBSCRIBED, source, now)
        return []
    closed = Suppression.objects.closed_lists(bytes(person.address_key), now)
    _add(person, [each for each in new if each.pk in closed], standing.UNSUBSCRIBED, source, now)
    new = [each for each in new if each.pk not in closed]
    asking = [each for each in new if each.double_opt_in]
    at_once = [each for each in new if not each.double_opt_in]
    joined = [each.pk for each in at_once]
    if at_once:
        _add(person, at_once, standing.ACTIVE, source, now)
        who = (bytes(person.address_key), person.pk)
        subscribed = ConsentRecord.Action.SUBSCRIBED
        ConsentRecord.objects.write(subscribed, who, joined, now, proof, source)
    if asking:
        confirming.ask(person, [each.pk for each in asking], now, proof)
    return joined


def _hold(
    person: Subscriber, decisions: Mapping[int, Decision], source: str, now: datetime
) -> None:
    """Hold the person back on lists that want their address looked at first."""
    for pk, decision in decisions.items():
        if decision.policy == Policy.HOLD and decision.flag:
            held = {person.email: decision.flag.kind.value}
            Subscription.objects.hold_addresses(held, pk, source, now)


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


def _check_none_refuses(
    address: str, lists: Collection[MailingList], decisions: Mapping[int, Decision]
) -> None:
    for each in lists:
        decision = decisions[each.pk]
        if decision.flag and decision.policy == Policy.REFUSE and not _is_on(address, each):
            raise InvalidInput(
                f"“{each.name}” does not take this address. {decision.flag.reason}", param="email"
            )


def _is_on(address: str, source: MailingList) -> bool:
    return Subscription.objects.filter(subscriber__email=address, list=source).exists()


def _set(person: Subscriber, facts: dict[str, Any], now: datetime) -> None:
    """Write what changed, in one UPDATE of those columns alone."""
    changed = {name: value for name, value in facts.items() if getattr(person, name) != value}
    if changed:
        Subscriber.objects.filter(pk=person.pk).update(**changed, updated_at=now)
        for name, value in changed.items():
            setattr(person, name, value)
