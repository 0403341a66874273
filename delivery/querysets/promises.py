"""Sets of late mails, and of what counts how late mail is."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from django.db import connection, models
from django.db.models import Sum

from delivery import sla_statements

if TYPE_CHECKING:
    from delivery.models import SlaBreach, SlaStat

STEP = timedelta(hours=1)
"""Looked at by one statement: after a long rest it is many small ones."""
MARGIN = timedelta(seconds=10)
"""Mail is looked at no sooner, so that what is being committed just now is seen as well."""
BATCH = 10_000


@dataclass(frozen=True, slots=True)
class Waiting:
    """Mail of one type that waits longer than operators want to know."""

    type: int
    name: str
    label: str
    alert_after: timedelta
    fresh: int
    """Found just now, mail included that was taken in the meantime."""
    mails: int
    """Waiting at this moment."""
    oldest: datetime | None


class Stuck(NamedTuple):
    """A campaign of which nothing moves to some kinds of mailboxes."""

    campaign: int
    name: str
    mailboxes: list[str]
    since: datetime


class SlaBreachQuerySet(models.QuerySet["SlaBreach"]):
    def examine(self, now: datetime) -> tuple[int, int]:
        """Look at all mail whose deadline is over; return how many were looked at and were late."""
        total = late = 0
        facts: dict[str, Any] = {"now": now, "step": STEP, "margin": MARGIN}
        with connection.cursor() as cursor:
            while True:
                cursor.execute(sla_statements.EXAMINE, facts)
                marks, mails, found = cursor.fetchone() or (0, 0, 0)
                if not marks:
                    return total, late
                total, late = total + mails, late + found

    def settle(self, now: datetime) -> int:
        """Close the breaches of mail that was taken or given up since; return how many."""
        total, count = 0, BATCH
        with connection.cursor() as cursor:
            while count == BATCH:
                cursor.execute(sla_statements.SETTLE, {"now": now, "limit": BATCH})
                [count] = cursor.fetchone() or (0,)
                total += count
        return total

    def alert(self, now: datetime) -> list[Waiting]:
        """Mark the breaches operators should know of; return what each type has of them."""
        with connection.cursor() as cursor:
            cursor.execute(sla_statements.ALERT, {"now": now})
            return [Waiting(*row) for row in cursor.fetchall()]

    def stuck(self, before: datetime, mailboxes: Collection[str]) -> list[Stuck]:
        """Return the campaigns that have stood still since before then."""
        facts: dict[str, Any] = {"before": before, "mailboxes": list(mailboxes)}
        with connection.cursor() as cursor:
            cursor.execute(sla_statements.STUCK, facts)
            return [Stuck(*row) for row in cursor.fetchall()]


class SlaStatQuerySet(models.QuerySet["SlaStat"]):
    def histogram(self, since: datetime) -> list[tuple[int, int, int, int]]:
        """Return (type, bucket, mails, late) of the mail that was wanted since then."""
        rows = self.filter(hour__gte=since).order_by("type", "bucket")
        sums = rows.values_list("type", "bucket").annotate(Sum("mails"), Sum("late"))
        return [(kind, bucket, mails, late) for kind, bucket, mails, late in sums]
