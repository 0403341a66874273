"""Who may be mailed: people leave lists, or everything; addresses are suppressed and let back in.

Saying a thing twice changes nothing. Everybody locks people before subscriptions, as imports do.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from django.db import transaction

from emailplatform.errors import InvalidInput
from emailplatform.secrets import address_key
from subscribers.consents import BY_PROVIDER, BY_SYSTEM, Proof
from subscribers.models import ConsentRecord, Subscriber, Subscription, Suppression
from subscribers.querysets import EVERYTHING, STOPPING, Reach
from subscribers.validating import InvalidAddress, clean_address


@transaction.atomic
def unsubscribe(
    subscriber: Subscriber,
    lists: Collection[int],
    now: datetime,
    source: str = "unsubscribed",
    proof: Proof = BY_SYSTEM,
) -> bool:
    """Take a person off `lists` (keys of MailingList), or with no lists off everything.

    Off everything means: every subscription ends, the status says so, and the address is
    suppressed, so that no import brings the person back. Returns whether anything changed.
    """
    # The row's lock: an import or a second click that comes at the same moment waits here.
    Subscriber.objects.select_for_update().filter(pk=subscriber.pk).first()
    if lists:
        return bool(Subscription.objects.end([subscriber.pk], lists, now, proof, source))
    key = bytes(subscriber.address_key)
    row = (key, Suppression.Reason.UNSUBSCRIBED.value, source)
    suppressed = Suppression.objects.suppress_many([row], now, proof=None)
    ended = Subscription.objects.end_all(subscriber.pk, now)
    if suppressed or ended:
        left = ConsentRecord.Action.LEFT_ALL
        ConsentRecord.objects.write(left, (key, subscriber.pk), ended, now, proof, source)
    subscriber.refresh_from_db(fields=["status", "status_changed_at", "updated_at"])
    return bool(suppressed or ended)


def suppress(
    address: str | bytes,
    reason: str,
    source: str,
    now: datetime,
    proof: Proof = BY_PROVIDER,
    reach: Reach = EVERYTHING,
) -> bool:
    """Stop mail to an address (or its key), of `reach`; say if this is new.

    Whoever has the address gets the status of the same name, if all mail stops for good; the
    first such status stays. Raises InvalidInput for what is no address, no reason or no reach.
    """
    check_reach(reason, reach, now)
    rows = [(_key(address), reason, source)]
    return bool(Suppression.objects.suppress_many(rows, now, proof, reach))


def check_reach(reason: str, reach: Reach, now: datetime) -> None:
    """Raise InvalidInput unless mail can be stopped so."""
    if reason not in Suppression.Reason:
        raise InvalidInput(
            f"“{reason}” is none of {', '.join(Suppression.Reason)}.", param="reason"
        )
    if reach.stream and reach.stream not in Suppression.Stream:
        known = ", ".join(Suppression.Stream)
        raise InvalidInput(f"“{reach.stream}” is none of {known}.", param="stream")
    if reach.stream and reason not in STOPPING[reach.stream]:
        raise InvalidInput(
            f"“{reason}” never stops {reach.stream} mail: use “blocked”.", param="stream"
        )
    if reach.stream and reach.list:
        raise InvalidInput("Name a stream or a list, not both.", param="list")
    if reach.expires_at and reach.expires_at <= now:
        raise InvalidInput("It would be over already: name a time to come.", param="expires_at")
    if reason == Suppression.Reason.SOFT_BOUNCED and not reach.expires_at:
        raise InvalidInput(
            "Soft bounces stop mail for a time only: say until when.", param="expires_at"
        )


def _key(address: str | bytes) -> bytes:
    if isinstance(address, bytes):
        return address
    try:
        return address_key(clean_address(address))
    except InvalidAddress as error:
        raise InvalidInput(f"This is no e-mail address: {error}.", param="email") from error


@transaction.atomic
def lift(
    suppression: Suppression, now: datetime, proof: Proof = BY_SYSTEM, source: str = ""
) -> None:
    """Take one suppression away, and reopen the person it closed unless another one does.

    Lists the person left stay left. A status with another reason than the suppression's stands.
    """
    key = bytes(suppression.address_key)
    if not Suppression.objects.filter(pk=suppression.pk).delete()[0]:
        return
    if suppression.is_closing:
        _reopen(key, suppression.reason, now)
    person = Subscriber.objects.filter(address_key=key).values_list("pk", flat=True).first()
    words = f"was {suppression.reason}{source and f'; {source}'}"
    lists = [suppression.list_id] if suppression.list_id else []
    let_back = ConsentRecord.Action.LET_BACK
    ConsentRecord.objects.write(let_back, (key, person), lists, now, proof, words)


def _reopen(key: bytes, reason: str, now: datetime) -> None:
    """Open a person, or give them the status of the next reason that closes them."""
    other = Suppression.objects.gravest([key]).get(key)
    Subscriber.objects.reopen(key, reason, now, other or Subscriber.Status.ACTIVE)


@transaction.atomic
def come_back(
    subscriber: Subscriber,
    lists: Collection[int],
    now: datetime,
    proof: Proof,
    source: str = "",
    *,
    everything: bool = False,
) -> list[int]:
    """Put a person back on lists they left; return on which they were not.

    With `everything` they take back as well that they wanted no mail at all. Bounces, complaints
    and the team's blocks stay.
    """
    Subscriber.objects.select_for_update().filter(pk=subscriber.pk).first()
    key = bytes(subscriber.address_key)
    if everything:
        for suppression in Suppression.objects.said_no(key, lists):
            lift(suppression, now, proof, source)
    back = Subscription.objects.resume(subscriber.pk, lists, now)
    if back:
        returned = ConsentRecord.Action.RETURNED
        ConsentRecord.objects.write(returned, (key, subscriber.pk), back, now, proof, source)
    return back
