"""Counts per day, slowed lanes, and the processes that send."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any, Self

from django.db import connection, models
from django.db.models import F, Value
from django.db.models.functions import Greatest, Now

if TYPE_CHECKING:
    from delivery.models import DailyCount, LaneState, Worker

LIVE_FOR = timedelta(seconds=10)
"""A process that was not seen for so long counts no more."""

_BEGIN_DAY = """
INSERT INTO delivery_dailycount (account_id, day, used)
SELECT %(account)s, %(day)s, COALESCE(SUM(
    CASE WHEN status IN ('done', 'refused') THEN accepted ELSE size END), 0)
FROM delivery_handoff WHERE provider_id = %(account)s AND started_at >= %(midnight)s
ON CONFLICT (account_id, day) DO NOTHING
"""
"""The first count of a day knows what was handed over before the account had a quota."""

_SLOW = """
INSERT INTO delivery_lanestate AS lane
    (account_id, stream, mailbox, base, rate, reason, since, changed_at, held_until)
VALUES (%(account)s, %(stream)s, %(mailbox)s, %(base)s, GREATEST(1, %(base)s / 2), %(reason)s,
        %(now)s, %(now)s, %(held_until)s)
ON CONFLICT (account_id, stream, mailbox) DO UPDATE SET (base, rate, since) = (
        SELECT
            CASE WHEN climbed >= lane.base THEN excluded.base ELSE lane.base END,
            CASE WHEN climbed >= lane.base THEN excluded.rate
                 ELSE GREATEST(1, floor(climbed / 2)) END,
            CASE WHEN climbed >= lane.base THEN excluded.since ELSE lane.since END
        FROM (SELECT lane.rate * power(%(climb)s::float, LEAST(500, floor(
            extract(epoch FROM excluded.changed_at - lane.changed_at)
            / %(climb_every_s)s))) AS climbed) AS so_far
    ),
    reason = excluded.reason, changed_at = excluded.changed_at,
    held_until = GREATEST(lane.held_until, excluded.held_until)
WHERE lane.changed_at <= excluded.changed_at - %(halve_every)s::interval
"""

_BEAT = """
INSERT INTO delivery_worker (name, kind, streams, host, pid, has_redis, started_at, seen_at)
VALUES (%(name)s, %(kind)s, %(streams)s, %(host)s, %(pid)s, %(has_redis)s, %(started_at)s, now())
ON CONFLICT (name) DO UPDATE SET
    seen_at = now(), kind = excluded.kind, streams = excluded.streams,
    has_redis = excluded.has_redis, started_at = excluded.started_at
"""


class DailyCountQuerySet(models.QuerySet["DailyCount"]):
    def left(self, account: int, quota: int, now: datetime) -> int:
        """Lock an account's count of the day, and return how many messages its quota has left.

        In a transaction: whoever claims for the same account waits until it has ended.
        """
        day = now.astimezone(UTC).date()
        used = self._locked(account, day)
        if used is None:
            midnight = datetime(day.year, day.month, day.day, tzinfo=UTC)
            facts: dict[str, Any] = {"account": account, "day": day, "midnight": midnight}
            with connection.cursor() as cursor:
                cursor.execute(_BEGIN_DAY, facts)
            used = self._locked(account, day)
        return max(0, quota - (used or 0))

    def use(self, account: int, count: int, now: datetime) -> None:
        """Count messages that were taken from what is left."""
        rows = self.filter(account=account, day=now.astimezone(UTC).date())
        rows.update(used=F("used") + count)

    def give_back(self, account: int, count: int, taken_at: datetime) -> None:
        """Uncount messages that were certainly not accepted."""
        rows = self.filter(account=account, day=taken_at.astimezone(UTC).date())
        rows.update(used=Greatest(F("used") - count, Value(0)))

    def used_on(self, day: date) -> dict[int, int]:
        """Return account -> how many messages it was given on a day."""
        return dict(self.filter(day=day).values_list("account", "used"))

    def _locked(self, account: int, day: date) -> int | None:
        rows = self.filter(account=account, day=day).select_for_update()
        return rows.values_list("used", flat=True).first()


class QuotaUsed(Exception):
    """An account may be given nothing more today."""


@dataclass(slots=True)
class Quota:
    """An account's messages per day, as its claims count them."""

    days: DailyCountQuerySet
    account: int
    most: int
    rest: int | None = None
    """What the last claim left of it."""
    taken_at: datetime | None = None

    def take(self, want: int, now: datetime) -> int:
        """Return how many of `want` there are left, in the claim's transaction. QuotaUsed: none."""
        self.rest, self.taken_at = self.days.left(self.account, self.most, now), now
        if not self.rest:
            raise QuotaUsed
        return min(want, self.rest)

    def use(self, count: int, now: datetime) -> None:
        """Count what was claimed, in the same transaction."""
        self.days.use(self.account, count, now)
        self.rest = max(0, (self.rest or 0) - count)

    def give_back(self, count: int) -> None:
        """Uncount what was certainly not accepted."""
        if self.taken_at is not None:
            self.days.give_back(self.account, count, self.taken_at)


class LaneStateQuerySet(models.QuerySet["LaneState"]):
    def slow(
        self,
        account: int,
        lane: tuple[str, str],
        base: int,
        reason: str,
        now: datetime,
        held_until: datetime | None,
    ) -> bool:
        """Halve the rate of a lane (stream, mailbox); False: that was done a moment ago.

        `base` (per minute) is what is halved if the lane was not slowed before. One statement,
        so of many workers that are told the same only the first one halves.
        """
        with connection.cursor() as cursor:
            facts: dict[str, Any] = {
                "account": account,
                "stream": lane[0],
                "mailbox": lane[1],
                "base": base,
                "reason": reason[:300],
                "now": now,
                "held_until": held_until,
                "halve_every": self.model.HALVE_EVERY,
                "climb": self.model.CLIMB,
                "climb_every_s": self.model.CLIMB_EVERY.total_seconds(),
            }
            cursor.execute(_SLOW, facts)
            return bool(cursor.rowcount)

    def recent(self, now: datetime) -> Self:
        """Lanes that were slowed and may not have recovered."""
        return self.filter(changed_at__gt=now - timedelta(days=1))


class WorkerQuerySet(models.QuerySet["Worker"]):
    def beat(self, facts: dict[str, Any]) -> None:
        """Say that a process is there: one upsert."""
        with connection.cursor() as cursor:
            cursor.execute(_BEAT, facts)

    def live(self) -> Self:
        """Processes that were seen a moment ago, by the database's clock."""
        return self.filter(seen_at__gt=Now() - LIVE_FOR)

    def names(self) -> Sequence[str]:
        """Return the names of those that live, the oldest first."""
        return list(self.live().order_by("started_at", "name").values_list("name", flat=True))

    def forget_dead(self) -> int:
        """Delete those that were not seen for a day."""
        return self.filter(seen_at__lt=Now() - timedelta(days=1)).delete()[0]
