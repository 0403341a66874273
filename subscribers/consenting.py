"""Who may be mailed: people leave lists, or everything; addresses are suppressed and let back in.

Saying a thing twice changes nothing. Everybody locks people before subscriptions, as imports do.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from django.db import transaction

from emailplatform.errors import InvalidInput
from emailplatform.secrets import address_key
from subscribers.models import Subscriber, Subscription, Suppression
from subscribers.validating import InvalidAddress, clean_address


@transaction.atomic
def unsubscribe(
    subscriber: Subscriber, lists: Collection[int], now: datetime, source: str = "unsubscribed"
) -> bool:
    """Take a person off `lists` (keys of MailingList), or with no lists off everything.

    Off everything means: every subscription ends, the status says so, and the address is
    suppressed, so that no import brings the person back. Returns whether anything changed.
    """
    # The row's lock: an import or a second click that comes at the same moment waits here.
    Subscriber.objects.select_for_update().filter(pk=subscriber.pk).first()
    if lists:
        return bool(Subscription.objects.end(subscriber.pk, lists, now))
    row = (bytes(subscriber.address_key), Suppression.Reason.UNSUBSCRIBED.value, source)
    suppressed = Suppression.objects.suppress_many([row], now)
    ended = Subscription.objects.end_all(subscriber.pk, now)
    subscriber.refresh_from_db(fields=["status", "status_changed_at", "updated_at"])
    return bool(suppressed or ended)


def suppress(address: str | bytes, reason: str, source: str, now: datetime) -> bool:
    """Never mail an address (or its key) again; say if this is new.

    Whoever has the address gets the status of the same name. The
    first reason stays. Raises InvalidInput for what is no address or no reason.
    """
    if reason not in Suppression.Reason:
        raise InvalidInput(
            f"“{reason}” is none of {', '.join(Suppression.Reason)}.", param="reason"
        )
    return bool(Suppression.objects.suppress_many([(_key(address), reason, source)], now))


def _key(address: str | bytes) -> bytes:
    if isinstance(address, bytes):
        return address
    try:
        return address_key(clean_address(address))
    except InvalidAddress as error:
        raise InvalidInput(f"This is no e-mail address: {error}.", param="email") from error


@transaction.atomic
def lift(suppression: Suppression, now: datetime) -> None:
    """Let an address be mailed again: delete the suppression and reopen the person it closed.

    Lists the person left stay left. A status with another reason than the suppression's stands.
    """
    Subscriber.objects.reopen(bytes(suppression.address_key), suppression.reason, now)
    Suppression.objects.filter(address_key=suppression.address_key).delete()
