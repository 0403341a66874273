"""Sets of messages, hand-offs and counters: claim, record, sweep. The only place with their SQL.

Measured plans stand in docs/benchmarks.md. `now` is the caller's clock for what people see;
leases use the database's own, so a worker with a wrong clock cannot keep or lose what it claimed.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Self

from django.conf import settings
from django.db import connection, models, transaction
from django.db.models import Q
from django.db.models.functions import Coalesce, Now

from delivery import crashing, statements
from subscribers.mailboxes import Mailbox

if TYPE_CHECKING:
    from campaigns.models import Campaign
    from delivery.models import CampaignStat, Handoff, Message, ProviderAccount
    from subscribers.querysets import SubscriberQuerySet

PREPARE_LEASE = timedelta(seconds=settings.PREPARE_LEASE_S)
"""To compose a batch in memory."""
FLIGHT_LEASE = timedelta(seconds=settings.FLIGHT_LEASE_S)
"""For one call and a slow machine. Renewed while results come."""


@dataclass(frozen=True, slots=True)
class Claimed:
    """A message its worker owns now, and the person as the template sees them."""

    id: int
    email: str
    subscriber_id: int
    first_name: str
    last_name: str
    language: str
    country: str
    time_zone: str
    attributes: dict[str, Any]
    deferrals: int = 0
    """How often the mailbox refused it for now."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What to write for one message of a hand-off."""

    id: int
    status: str
    provider_message_id: str = ""
    error: str = ""
    due_at: datetime | None = None
    """When to try again, for status QUEUED."""
    is_deferral: bool = False
    """The mailbox refused it for now: counted, so that it ends some day."""


class ProviderAccountQuerySet(models.QuerySet["ProviderAccount"]):
    def usable(self, stream: str, now: datetime) -> Self:
        """Accounts that may be given mail of this stream now."""
        ready = Q(cooling_until=None) | Q(cooling_until__lte=now)
        active = self.model.Status.ACTIVE
        rows = self.filter(ready, status=active, streams__contains=[stream])
        # Only the one that is chosen is decrypted.
        return rows.defer("secrets")


class HandoffQuerySet(models.QuerySet["Handoff"]):
    def renew(self, pk: int, lease: timedelta = FLIGHT_LEASE) -> bool:
        """Extend the lease of a call in flight; False: the sweeper was here, stop at once."""
        rows = self.filter(pk=pk, status=self.model.Status.IN_FLIGHT)
        return bool(rows.update(lease_until=Now() + lease))

    def prepare_again(self, refused: Handoff) -> Handoff:
        """Create a hand-off for some of the people of one that was refused as a whole."""
        return self.create(
            provider=refused.provider,
            campaign=refused.campaign,
            stream=refused.stream,
            mailbox=refused.mailbox,
            reason={**refused.reason, "rule": "half of a refused call", "refused": refused.pk},
            lease_until=Now() + PREPARE_LEASE,
        )

    def close(self, pk: int, status: str, accepted: int, error: str) -> bool:
        """End an open hand-off with how it went; False if it was ended already."""
        rows = self.filter(pk=pk, status__in=self.model.sources_of(status))
        return bool(rows.update(status=status, accepted=accepted, error=error, finished_at=Now()))

    def take_off(self, pk: int, size: int, lease: timedelta = FLIGHT_LEASE) -> bool:
        """Say durably that the call begins now; False: the lease ran out and nothing may be sent.

        The guard is what gives a requeued message one owner (design 4.1, step 3).
        """
        rows = self.filter(pk=pk, status=self.model.Status.PREPARING)
        in_flight = self.model.Status.IN_FLIGHT
        return bool(
            rows.update(
                status=in_flight,
                size=size,
                in_flight_at=Now(),
                lease_until=Now() + lease,
            )
        )

    def sweep(self) -> tuple[int, int]:
        """Close hand-offs whose worker died; return how many messages are (queued again, in doubt).

        `preparing`: nothing left the machine, so they are queued. `in_flight`: they may have been
        sent, so they are in doubt and never queued again by us.
        """
        with connection.cursor() as cursor:
            cursor.execute(statements.SWEEP)
            queued, unknown = cursor.fetchone() or (0, 0)
        return queued, unknown


class MessageQuerySet(models.QuerySet["Message"]):
    def enqueue(self, campaign: Campaign, audience: SubscriberQuerySet, due_at: datetime) -> int:
        """Queue one message per person of `audience`; return how many are new.

        One INSERT ... SELECT, so a million rows never pass through Python. Running it again
        adds nobody twice: (campaign, subscriber) is unique.
        """
        rows = audience.order_by("pk").values_list("pk", "email", "address_key", "mailbox")
        select, params = rows.query.sql_with_params()
        insert = f"""
            INSERT INTO delivery_message
                (campaign_id, subscriber_id, email, address_key, mailbox, due_at)
            SELECT %s, person.*, %s FROM ({select}) AS person
            ON CONFLICT (campaign_id, subscriber_id) DO NOTHING
        """  # noqa: S608 (the select is the ORM's)
        with connection.cursor() as cursor:
            cursor.execute(insert, [campaign.pk, due_at, *params])
            return int(cursor.rowcount)

    def analyse(self) -> None:
        """Let PostgreSQL count anew: after a large expansion its plans are those of before.

        It would do so itself, a minute later: too late for reports on a campaign under way.
        """
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE delivery_message")

    def due_lanes(self, now: datetime) -> list[tuple[int, str]]:
        """Return (campaign, mailbox) of every lane with marketing mail due now."""
        sql = """
            SELECT c.id, lane.mailbox
            FROM campaigns_campaign c CROSS JOIN unnest(%s::text[]) AS lane(mailbox)
            CROSS JOIN LATERAL (
                SELECT 1 FROM delivery_message m
                WHERE m.status = 'queued' AND m.campaign_id = c.id
                  AND m.mailbox = lane.mailbox AND m.due_at <= %s
                ORDER BY m.due_at, m.id LIMIT 1
            ) AS first
            WHERE c.status = 'sending'
        """
        # Ordered and limited: EXISTS would become a join with all that is queued.
        with connection.cursor() as cursor:
            cursor.execute(sql, [list(Mailbox.values), now])
            return list(cursor.fetchall())

    def claim(self, handoff: Handoff, limit: int, now: datetime) -> tuple[list[Claimed], int]:
        """Create `handoff` and take up to `limit` due messages of its lane into it.

        Returns what was taken, and how many were left out for a reason found at the last moment
        (suppressed, unsubscribed, erased, too late). Concurrent callers never get the same message
        and never wait for each other. With nothing taken no hand-off is kept.
        """
        campaign = handoff.campaign
        if campaign is None:
            raise ValueError("A claim needs the hand-off's campaign.")
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(
                statements.CLAIM,
                {
                    "campaign": campaign.pk,
                    "mailbox": handoff.mailbox,
                    "now": now,
                    "limit": limit,
                    "lists": campaign.audience.get("lists", []),
                    "launched_at": campaign.launched_at,
                    "provider": handoff.provider_id,
                },
            )
            rows = cursor.fetchall()
            crashing.point("claiming")
            taken = [_claimed(row) for row in rows if not row[-1]]
            if taken:
                # The key is drawn first and the row made last: to delete the row of an empty
                # claim, PostgreSQL would look for its messages among all there are.
                handoff.pk = rows[0][-2]
                handoff.lease_until = Now() + PREPARE_LEASE
                handoff.save(force_insert=True)
        return taken, len(rows) - len(taken)

    def record(self, handoff: int, outcomes: Sequence[Outcome], now: datetime) -> int:
        """Write what became of messages of a hand-off, and count them; return how many took it.

        Fenced: a message that was taken from this hand-off meanwhile is left alone, except that
        a late "sent" settles one in doubt. Commits without waiting for the disk: should the
        database lose it, the messages count as in doubt, never as unsent.
        """
        with connection.cursor() as cursor:
            cursor.execute(
                statements.RECORD,
                {
                    "ids": [outcome.id for outcome in outcomes],
                    "statuses": [outcome.status for outcome in outcomes],
                    "provider_ids": [outcome.provider_message_id for outcome in outcomes],
                    "errors": [outcome.error for outcome in outcomes],
                    "due": [outcome.due_at for outcome in outcomes],
                    "deferrals": [int(outcome.is_deferral) for outcome in outcomes],
                    "handoff": handoff,
                    "now": now,
                },
            )
            row = cursor.fetchone()
        return row[0] if row else 0

    def pass_on(self, old: int, new: int, pks: Sequence[int]) -> int:
        """Give messages of a refused hand-off to another one; return how many went."""
        rows = self.filter(pk__in=pks, handoff=old, status=self.model.Status.SENDING)
        return rows.update(handoff=new)

    def is_under_way(self, campaign: int) -> bool:
        """Say whether a campaign has messages queued or being handed over."""
        with connection.cursor() as cursor:
            cursor.execute(statements.UNDER_WAY, {"campaign": campaign})
            return bool(cursor.fetchone() == (True,))

    def cancel_queued(self, campaign: int, limit: int) -> int:
        """Cancel up to `limit` queued messages of a campaign; return how many."""
        some = self.filter(campaign=campaign, status=self.model.Status.QUEUED)
        with transaction.atomic():
            batch = some.select_for_update(skip_locked=True).values("pk")[:limit]
            return self.filter(pk__in=batch).update(status=self.model.Status.CANCELLED)

    def in_doubt_since(self, before: datetime) -> Self:
        """Messages in doubt about a call that began before then."""
        began_at = Coalesce("handoff__in_flight_at", "created_at")
        rows = self.filter(status=self.model.Status.UNKNOWN)
        return rows.annotate(began_at=began_at).filter(began_at__lt=before)

    def queue_again(self, now: datetime) -> int:
        """Queue these failed or doubtful messages once more; return how many.

        Locked in the order in which reports of providers lock them, and looked at again then: who
        was settled meanwhile is left alone. The provider stays: it may have the first mail, and
        what it tells of it is still heard.
        """
        rows = self.filter(status__in=self.model.sources_of(self.model.Status.QUEUED))
        rows = rows.exclude(status=self.model.Status.SENDING)
        with transaction.atomic():
            locked = rows.order_by("pk").select_for_update(of=("self",)).values("pk")
            again = self.model._default_manager.filter(pk__in=locked)
            status = self.model.Status.QUEUED
            return again.update(status=status, due_at=now, handoff=None, error="", deferrals=0)


class CampaignStatQuerySet(models.QuerySet["CampaignStat"]):
    def sent_by_provider(self, campaign: int) -> dict[int, int]:
        """Return how many messages of a campaign each provider account has accepted."""
        rows = self.filter(campaign=campaign).order_by().values_list("provider")
        return dict(rows.annotate(models.Sum("sent")))


def _claimed(row: tuple[Any, ...]) -> Claimed:
    *facts, attributes, deferrals, _drawn, _obstacle = row
    return Claimed(*(*facts, json.loads(attributes), deferrals))
