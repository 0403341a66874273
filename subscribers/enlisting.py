"""Many people on and off one list, by their addresses."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from django.db import transaction

from emailplatform.errors import InvalidInput
from subscribers import enrolling
from subscribers.consents import BY_API
from subscribers.enrolling import Manner
from subscribers.models import Import, MailingList, Subscriber, Subscription


class Refused(NamedTuple):
    """An address that was not taken, and why, as a sentence."""

    email: str
    message: str


class Enlisted(NamedTuple):
    """How many were taken, and who was not."""

    accepted: int
    refused: list[Refused]


def add(source: MailingList, emails: Sequence[str], now: datetime) -> Enlisted:
    """Put people on a list, new ones too, each for themselves; nothing of theirs is overwritten.

    Nobody comes back who left, and where a list asks for confirmation they are asked.
    """
    manner, refused = Manner(Import.Known.ADD), []
    for email in emails:
        try:
            enrolling.enrol(email, [source], source="API", now=now, manner=manner)
        except InvalidInput as error:
            refused.append(Refused(email, str(error)))
    return Enlisted(len(emails) - len(refused), refused)


@transaction.atomic
def remove(source: MailingList, emails: Sequence[str], now: datetime) -> int:
    """Unsubscribe people from a list, on record; return how many were on it."""
    addresses = [enrolling.clean(each) for each in emails]
    people = Subscriber.objects.filter(email__in=addresses).order_by("address_key")
    pks = list(people.select_for_update().values_list("pk", flat=True))
    return Subscription.objects.end(pks, [source.pk], now, BY_API, "API")
