"""Dead letters, and how they get another try: one, many, all of a kind, all of a campaign."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from django.db import transaction
from django.db.models import Count, Q

from campaigns.models import Campaign
from delivery.models import Message
from delivery.querysets import MessageQuerySet

EXPIRED = "expired"
"""The class of what nobody refused: it was too late."""
CLASSES = {
    Message.Fault.ADDRESS.value: "The address",
    Message.Fault.CONTENT.value: "The mail itself",
    Message.Fault.TEMPLATE.value: "The template",
    Message.Fault.MAILBOX.value: "A mailbox that kept refusing",
    EXPIRED: "Too late",
    Message.Fault.OTHER.value: "Something else",
}
"""Class of error -> what it is called."""
MOST_AT_ONCE = 100_000
"""Messages that one call queues again: a few seconds of work."""
BATCH = 5_000
"""Messages per transaction."""
FRESH = timedelta(days=7)
"""Single mail that failed longer ago asks for nobody any more: it is only listed."""


@dataclass(frozen=True, slots=True)
class Choice:
    """Which dead letters: those that fit everything that is given."""

    fault: str = ""
    """A key of CLASSES."""
    provider: int | None = None
    campaign: int | None = None
    stream: str = ""
    type: str = ""
    """The name of a message type."""
    ids: Sequence[int] = ()

    @property
    def is_everything(self) -> bool:
        return self == Choice()

    def rows(self) -> MessageQuerySet:
        """Return the dead letters that are chosen."""
        return self.narrow(Message.objects.dead())

    def in_words(self) -> str:
        """Return what is chosen, for a log.

        >>> Choice(fault="mailbox", campaign=7).in_words(), Choice(ids=[3, 4]).in_words()
        ('fault mailbox, campaign 7', 'ids 3, 4')
        """
        ids = ", ".join(map(str, self.ids[:20]))
        given = [f"ids {ids}"] if ids else []
        names = ("fault", "provider", "campaign", "stream", "type")
        given += [f"{name} {getattr(self, name)}" for name in names if getattr(self, name)]
        return ", ".join(given) or "all"

    def narrow(self, rows: MessageQuerySet) -> MessageQuerySet:
        """Return those of the rows that fit."""
        if self.ids:
            rows = rows.filter(pk__in=self.ids)
        if self.fault:
            rows = rows.filter(_of_class(self.fault))
        exact = {
            "provider": self.provider,
            "campaign": self.campaign,
            "stream": self.stream,
            "type__name": self.type,
        }
        return rows.filter(**{name: value for name, value in exact.items() if value})


class Revived(NamedTuple):
    """How many messages were queued again, and whether there are more of the kind."""

    queued: int
    is_rest: bool


def class_of(message: Message) -> str:
    """Return the class of a dead letter's error, a key of CLASSES."""
    return _class(message.status, message.fault)


def died_at(message: Message) -> datetime | None:
    """Return when a dead letter was given up."""
    if message.status == Message.Status.EXPIRED:
        return message.expires_at
    return message.handoff.finished_at if message.handoff else None


def by_class(choice: Choice) -> dict[str, int]:
    """Return class of error -> how many dead letters of it are chosen, the most first."""
    counts: dict[str, int] = {}
    groups = choice.rows().order_by().values_list("status", "fault").annotate(count=Count("pk"))
    for status, fault, count in groups:
        name = _class(status, fault)
        counts[name] = counts.get(name, 0) + count
    return dict(sorted(counts.items(), key=lambda item: -item[1]))


def revivable(choice: Choice) -> MessageQuerySet:
    """Return those of the chosen that are queued again by `revive`.

    Not of campaigns that were stopped for good. Addresses that do not work only if they were
    chosen for that, or one by one: mailing them again and again costs reputation.
    """
    rows = choice.rows()
    if not choice.ids and choice.fault != Message.Fault.ADDRESS:
        rows = rows.recoverable()
    return rows.exclude(campaign__status=Campaign.Status.CANCELLED)


def revive(choice: Choice, now: datetime, most: int = MOST_AT_ONCE) -> Revived:
    """Queue dead letters again, the oldest first; their campaigns are sending again.

    In small transactions: whoever is interrupted goes on by calling again.
    """
    total = 0
    rows = revivable(choice).order_by("pk")
    while total < most:
        pks = list(rows.values_list("pk", flat=True)[: min(BATCH, most - total)])
        if not pks:
            return Revived(total, is_rest=False)
        total += _revive(pks, now)
    return Revived(total, is_rest=rows.exists())


def waiting(now: datetime, most: int) -> int:
    """Return how many dead letters wait for a person, counted up to `most`.

    Of campaigns that are held or under way, and single mail of the last days; not addresses that
    do not work.
    """
    status = Campaign.Status
    open_ones = Campaign.objects.filter(status__in=[status.SENDING, status.PAUSED, status.HELD])
    dead = Message.objects.recoverable()
    single = dead.filter(campaign=None, created_at__gt=now - FRESH)
    of_campaigns = dead.filter(campaign__in=open_ones.values("pk"))
    count = single[:most].count()
    return count + of_campaigns[: most - count].count()


def campaigns_of(rows: MessageQuerySet) -> list[str]:
    """Return the names of the campaigns that these messages are of."""
    named = rows.order_by().filter(campaign__isnull=False)
    return list(named.values_list("campaign__name", flat=True).distinct())


def _revive(pks: Iterable[int], now: datetime) -> int:
    """Queue some messages and reopen their campaigns, or neither.

    The campaigns are locked first: one that is being finished at this moment is finished before
    or after, and in both cases is sending once these are queued.
    """
    rows = Message.objects.filter(pk__in=pks)
    with transaction.atomic():
        concerned = rows.order_by().values("campaign").distinct()
        locked = Campaign.objects.filter(pk__in=concerned).order_by("pk").select_for_update()
        stopped = []
        for campaign in locked:
            if campaign.is_over:
                campaign.reopen()
            elif campaign.status == Campaign.Status.CANCELLED:
                stopped.append(campaign.pk)
        return rows.exclude(campaign__in=stopped).dead().queue_again(now)


def _of_class(name: str) -> Q:
    if name == EXPIRED:
        return Q(status=Message.Status.EXPIRED)
    faults = [name, ""] if name == Message.Fault.OTHER else [name]
    return Q(status=Message.Status.FAILED, fault__in=faults)


def _class(status: str, fault: str) -> str:
    if status == Message.Status.EXPIRED:
        return EXPIRED
    return fault or Message.Fault.OTHER.value
