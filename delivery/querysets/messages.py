"""The queue of messages: enqueue, claim, record. `now` is the clock of what people see."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Self

from django.db import connection, models, transaction
from django.db.models import Case, F, Value, When
from django.db.models.functions import Coalesce

from delivery import crashing, pace_statements, routing_statements, sparing_statements, statements
from delivery.lanes import Lane
from delivery.querysets.handoffs import PREPARE_LEASE
from delivery.querysets.limits import Quota
from delivery.querysets.rows import Claimed, Outcome
from delivery.querysets.rules import NO_STAMP, Stamp
from emailplatform.preparing import prepared_cursor
from subscribers.querysets import STOPPING

if TYPE_CHECKING:
    from campaigns.models import Campaign
    from delivery.models import Handoff, Message
    from subscribers.querysets import SubscriberQuerySet

SECOND_LIFE = timedelta(hours=24)
"""How long a message that was too late has when a person queues it again."""


class MessageQuerySet(models.QuerySet["Message"]):
    def enqueue(
        self,
        campaign: Campaign,
        audience: SubscriberQuerySet,
        due_at: datetime,
        stamp: Stamp = NO_STAMP,
    ) -> int:
        """Queue one message per person of `audience`, stamped; return how many are new.

        One INSERT ... SELECT, so a million rows never pass through Python. Running it again
        adds nobody twice: (campaign, subscriber) is unique.
        """
        columns = ["pk", "email", "address_key", "mailbox"]
        columns += ["engaged_at", "created_at"] if stamp.needs_tier else []
        select, params = audience.order_by("pk").values_list(*columns).query.sql_with_params()
        insert = f"""
            INSERT INTO delivery_message
                (campaign_id, subscriber_id, email, address_key, mailbox, due_at, route)
            SELECT %s, person.id, person.email, person.address_key, person.mailbox, %s, {stamp.sql}
            FROM ({select}) AS person ({", ".join(["id", *columns[1:]])})
            ON CONFLICT (campaign_id, subscriber_id) DO NOTHING
        """  # noqa: S608 (the select is the ORM's)
        with connection.cursor() as cursor:
            cursor.execute(insert, [campaign.pk, due_at, *stamp.params, *params])
            return int(cursor.rowcount)

    def of_campaigns_since(self, since: datetime) -> Self:
        """Campaign mail that went out since then, by the index of when what was sent."""
        return self.filter(sent_at__gt=since, campaign__isnull=False, subscriber__isnull=False)

    def set_aside(self, campaign: Campaign, people: SubscriberQuerySet, reason: str) -> int:
        """Write down that people are left out of a campaign, and why; return how many are new."""
        columns = people.order_by("pk").values_list("pk", "email", "address_key", "mailbox")
        select, params = columns.query.sql_with_params()
        sql = sparing_statements.SET_ASIDE.format(people=select)
        return _changed(sql, [campaign.pk, reason, *params])

    def set_aside_often(
        self,
        campaign: Campaign,
        people: SubscriberQuerySet,
        span: tuple[int, int],
        cap: Mapping[str, int],
        at: datetime,
    ) -> int:
        """The same for those of a key range (after, up to) who had `cap["mails"]` lately."""
        columns = people.order_by("pk").values_list("pk", "email", "address_key", "mailbox")
        select, params = columns.query.sql_with_params()
        sql = sparing_statements.SET_ASIDE_OFTEN.format(people=select)
        since = at - timedelta(days=cap["days"])
        values = [*params, *span, campaign.pk, since, cap["mails"], campaign.pk, cap["days"]]
        return _changed(sql, values)

    def queued_lanes(self) -> list[Lane]:
        """Return every lane with mail that is queued, due or not; none of one account only."""
        everything: dict[str, Any] = {
            "streams": list(STOPPING),
            "now": datetime.max.replace(tzinfo=UTC),
        }
        found: list[Lane] = []
        with connection.cursor() as cursor:
            for sql in (statements.MAIL_LANES, statements.QUEUED_LANES):
                cursor.execute(sql, everything)
                found += [Lane(*row) for row in cursor.fetchall()]
        return [lane for lane in found if not lane.only_account]

    def stamp_lane(self, lane: Lane, stamp: Stamp, chunk: int) -> int:
        """Give the messages of a lane their stamp anew; return how many changed.

        `chunk` messages and one commit at a time: nobody who sends waits for it.
        """
        of_lane = "m.campaign_id IS NULL AND m.stream = %(stream)s"
        if lane.campaign:
            of_lane = "m.campaign_id = %(campaign)s"
        names = {f"stamp{at}": value for at, value in enumerate(stamp.params)}
        sql = routing_statements.STAMP.format(
            lane=of_lane, stamp=stamp.sql.replace("%s", "%({})s").format(*names)
        )
        facts = {**asdict(lane), **names, "limit": chunk}
        last, changed = (datetime.min.replace(tzinfo=UTC), 0), 0
        with connection.cursor() as cursor:
            while True:
                cursor.execute(sql, {**facts, "due_at": last[0], "id": last[1]})
                row = cursor.fetchone()
                if row is None:
                    return changed
                changed, last = changed + row[0], row[1:]

    def senders(self, lane: Lane, limit: int, now: datetime, but: Sequence[str] = ()) -> list[str]:
        """Return the From domains of the first `limit` due mails of a lane, the first one first.

        Mails from the domains `but` are passed over.
        """
        facts = {**asdict(lane), "limit": limit, "now": now, "but": list(but)}
        with connection.cursor() as cursor:
            cursor.execute(routing_statements.SENDERS, facts)
            return [row[0] for row in cursor.fetchall()]

    def analyse(self) -> None:
        """Let PostgreSQL count anew: after a large expansion its plans are those of before.

        It would do so itself, a minute later: too late for reports on a campaign under way.
        """
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE delivery_message")

    def due_lanes(self, streams: Collection[str], now: datetime) -> list[Lane]:
        """Return every lane of these streams with mail due now."""
        found: list[Lane] = []
        with connection.cursor() as cursor:
            cursor.execute(statements.MAIL_LANES, {"streams": list(streams), "now": now})
            found += [Lane(*row) for row in cursor.fetchall()]
            if "marketing" in streams:
                cursor.execute(statements.CAMPAIGN_LANES, {"now": now})
                found += [Lane(*row) for row in cursor.fetchall()]
        return found

    def depths(self, now: datetime, counted: int) -> list[tuple[str, str, int, bool, datetime]]:
        """Return (stream, mailbox, due, whether there are more, oldest) where something is due.

        Counts no further than `counted`.
        """
        lanes = self.due_lanes([*STOPPING], now)
        facts: dict[str, Any] = {
            "streams": [lane.stream for lane in lanes],
            "mailboxes": [lane.mailbox for lane in lanes],
            "campaigns": [lane.campaign for lane in lanes],
            "routes": [lane.route for lane in lanes],
            "now": now,
            "counted": counted,
        }
        with connection.cursor() as cursor:
            cursor.execute(pace_statements.DEPTHS, facts)
            rows: list[Any] = cursor.fetchall()
        return rows

    def claim(
        self,
        handoff: Handoff,
        lane: Lane,
        limit: int,
        now: datetime,
        quota: Quota | None = None,
        domain: str = "",
    ) -> tuple[list[Claimed], int]:
        """Create `handoff` and take up to `limit` due messages of a lane into it.

        Returns what was taken, and how many were left out for a reason found at the last moment
        (suppressed, unsubscribed, erased, too late). `domain`: of mail sent by API, only what comes
        from there. Concurrent callers never get the same message and never wait for each other,
        except for the same `quota`. With nothing taken no hand-off is kept. Commits without
        waiting for the disk: `take_off` waits for both. Raises QuotaUsed.
        """
        facts: dict[str, Any] = {
            "mailbox": lane.mailbox,
            "route": lane.route,
            "now": now,
            "limit": limit,
            "provider": handoff.provider_id,
        }
        campaign = handoff.campaign
        if campaign is None:
            sql = statements.CLAIM_MAIL_FROM if domain else statements.CLAIM_MAIL
            facts |= {"stream": lane.stream, "sender": domain, "reasons": STOPPING[lane.stream]}
        else:
            sql = statements.CLAIM
            facts |= {
                "campaign": campaign.pk,
                "lists": campaign.audience.get("lists", []),
                "launched_at": campaign.launched_at,
                "reasons": STOPPING["marketing"],
            }
            if cap := campaign.audience.get("cap"):
                sql = sparing_statements.CLAIM_CAPPED
                facts |= {"cap_mails": cap["mails"], "cap_days": cap["days"]}
                facts["had_enough"] = f"mailed {cap['mails']} times in {cap['days']} days"
        with transaction.atomic(), prepared_cursor() as cursor:
            if quota is not None:
                facts["limit"] = quota.take(limit, now)
            cursor.execute(sql, facts)
            rows = cursor.fetchall()
            crashing.point("claiming")
            taken = [_claimed(row) for row in rows if not row[-1]]
            if taken:
                # The key is drawn first and the row made last: to delete the row of an empty
                # claim, PostgreSQL would look for its messages among all there are.
                handoff.pk = rows[0][-2]
                cursor.execute(statements.PREPARE, _facts_of(handoff))
                if quota is not None:
                    quota.use(len(taken), now)
        return taken, len(rows) - len(taken)

    def record(self, handoff: int, outcomes: Sequence[Outcome], now: datetime) -> int:
        """Write what became of messages of a hand-off, and count them; return how many took it.

        Fenced: a message that was taken from this hand-off meanwhile is left alone, except that
        a late "sent" settles one in doubt. Commits without waiting for the disk: should the
        database lose it, the messages count as in doubt, never as unsent.
        """
        with prepared_cursor() as cursor:
            cursor.execute(
                statements.RECORD,
                {
                    "ids": f"{{{','.join(str(outcome.id) for outcome in outcomes)}}}",
                    "statuses": [outcome.status for outcome in outcomes],
                    "provider_ids": [outcome.provider_message_id for outcome in outcomes],
                    "errors": _unless_empty([outcome.error for outcome in outcomes]),
                    "due": _unless_empty([outcome.due_at for outcome in outcomes]),
                    "deferrals": _unless_empty([int(each.is_deferral) for each in outcomes]),
                    "faults": _unless_empty([outcome.fault for outcome in outcomes]),
                    "handoff": handoff,
                    "now": now,
                },
            )
            row = cursor.fetchone()
        return row[0] if row else 0

    def may_have_left(self) -> Self:
        """Messages that a provider has, may have, or is being given."""
        status = self.model.Status
        return self.filter(status__in=[status.SENT, status.UNKNOWN, status.SENDING])

    def swept(self, since: int) -> Self:
        """Messages that the sweeper took from a dead worker's hand-off before its call.

        Of hand-offs from `since` on: their quota is given back already.
        """
        return self.filter(
            failed_attempts__handoff__gte=since,
            failed_attempts__handoff__error=statements.NEVER_LEFT,
        )

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

    def dead(self) -> Self:
        """Messages that failed for good: dead letters."""
        status = self.model.Status
        return self.filter(status__in=[status.FAILED, status.EXPIRED])

    def recoverable(self) -> Self:
        """Dead letters that may arrive if they are tried again: the address is not at fault."""
        return self.dead().exclude(fault=self.model.Fault.ADDRESS).exclude(email="")

    def forget(self, messages: Collection[int]) -> int:
        """Take the person out of these messages; return how many. What is queued is not sent.

        What became of them stays, and counts; the keyed hash of the address does too, so that a
        bounce or complaint that comes later still has its effect.
        """
        rows = self.filter(pk__in=messages).exclude(email="", subscriber=None)
        status = self.model.Status
        rows.filter(status=status.QUEUED).update(status=status.SKIPPED, error="erased")
        return rows.update(email="", subscriber=None)

    def in_doubt_since(self, before: datetime) -> Self:
        """Messages in doubt about a call that began before then."""
        began_at = Coalesce("handoff__in_flight_at", "created_at")
        rows = self.filter(status=self.model.Status.UNKNOWN)
        return rows.annotate(began_at=began_at).filter(began_at__lt=before)

    def queue_again(self, now: datetime) -> int:
        """Queue these failed, expired or doubtful messages once more; return how many.

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
            in_time = Case(
                When(expires_at__lte=now, then=Value(now + SECOND_LIFE)), default=F("expires_at")
            )
            return again.update(
                status=status,
                due_at=now,
                expires_at=in_time,
                handoff=None,
                error="",
                fault="",
                deferrals=0,
            )

    def send_doubtful_again(self, before: datetime, most: int, now: datetime) -> int:
        """Queue transactional mail that is in doubt since before then once more; return how many.

        Only `most` times each, only while it is not too late, and only for the same provider.
        """
        with connection.cursor() as cursor:
            cursor.execute(statements.DOUBT_AGAIN, {"before": before, "most": most, "now": now})
            return int(cursor.rowcount)

    def expire(self, now: datetime, limit: int = 10_000) -> int:
        """Give up queued messages whose time is over; return how many."""
        with connection.cursor() as cursor:
            cursor.execute(statements.EXPIRE, {"now": now, "limit": limit})
            return int(cursor.rowcount)


def _claimed(row: tuple[Any, ...]) -> Claimed:
    *facts, attributes, deferrals, _drawn, _obstacle = row
    return Claimed(*(*facts, json.loads(attributes), deferrals))


def _unless_empty(column: list[Any]) -> list[Any] | None:
    """Return the column, or None if it says nothing: most do not, and each value costs time."""
    return column if any(column) else None


def _facts_of(handoff: Handoff) -> dict[str, Any]:
    return {
        "id": handoff.pk,
        "provider": handoff.provider_id,
        "campaign": handoff.campaign_id,
        "stream": handoff.stream,
        "mailbox": handoff.mailbox,
        "reason": json.dumps(handoff.reason),
        "lease": PREPARE_LEASE,
    }


def _changed(sql: str, values: Sequence[Any]) -> int:
    with connection.cursor() as cursor:
        cursor.execute(sql, values)
        return int(cursor.rowcount)
