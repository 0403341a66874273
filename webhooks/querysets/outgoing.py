"""Sets of endpoints and of what they are told. The only place with their SQL."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from django.db import connection, models

from webhooks import outgoing_statements as statements

if TYPE_CHECKING:
    from webhooks.outgoing_models import Delivery, Endpoint, Horizon

CHUNK = 10_000
"""Numbers of events that one transaction looks at."""
FORGET_CHUNK = 5_000


class Claimed(NamedTuple):
    """A delivery that is the caller's until its lease is over."""

    id: int
    endpoint: int
    event: int | None
    type: str
    attempts: int


class Told(NamedTuple):
    """What became of one try. The order is that of `statements.RECORD`."""

    id: int
    attempts: int
    outcome: str
    """A `Delivery.Status`; pending: to be tried again at `due_at`."""
    at: datetime
    due_at: datetime | None
    status: int
    took_ms: int
    answer: str
    error: str


class Rating(NamedTuple):
    """How the tries of one endpoint went. The order is that of `statements.RATE`."""

    endpoint: int
    good_at: datetime | None
    bad_at: datetime | None
    bad: int
    error: str
    held_until: datetime | None


class HorizonQuerySet(models.QuerySet["Horizon"]):
    def settled(self) -> int:
        """Return the number up to which no event will come up any more.

        It stays behind while a transaction that adds events is open. Not to be called in one.
        """
        with connection.cursor() as cursor:
            settled = 0
            for _ in range(2):  # to look again shows that those who were at work then have ended
                cursor.execute(statements.LAST_EVENT)
                [last] = cursor.fetchone() or (0,)
                cursor.execute(statements.SETTLE, [last])
                row = cursor.fetchone()
                if row is None:  # somebody of then is still at work
                    cursor.execute(statements.SETTLED)
                    row = cursor.fetchone()
                settled, seen = row
                if settled == seen == last:
                    break
        return int(settled)


class EndpointQuerySet(models.QuerySet["Endpoint"]):
    def enabled(self) -> Self:
        return self.filter(is_enabled=True)

    def dead(self, now: datetime, patience: timedelta) -> Self:
        """Those to which nothing was delivered for so long, although it was tried."""
        return self.enabled().filter(failing_since__lte=now - patience)

    def disable(self, reason: str, now: datetime) -> int:
        """Stop posting to them; return how many were not stopped before."""
        rows = self.enabled()
        return rows.update(is_enabled=False, disabled_at=now, disabled_reason=reason[:300])

    def rate(self, ratings: Sequence[Rating]) -> None:
        """Write down how endpoints are doing."""
        with connection.cursor() as cursor:
            columns = [list(column) for column in zip(*ratings, strict=True)]
            cursor.execute(statements.RATE, columns)


class DeliveryQuerySet(models.QuerySet["Delivery"]):
    def feed(self, settled: int, now: datetime) -> int:
        """Queue the next events of every endpoint; return how many endpoints got on."""
        with connection.cursor() as cursor:
            facts: dict[str, Any] = {"settled": settled, "chunk": CHUNK, "now": now}
            cursor.execute(statements.FEED, facts)
            return int(cursor.rowcount)

    def replay_since(self, endpoint: int, since: datetime, now: datetime) -> int:
        """Queue again what happened since then and was not delivered; return how many."""
        with connection.cursor() as cursor:
            facts: dict[str, Any] = {"endpoint": endpoint, "since": since, "now": now}
            cursor.execute(statements.REPLAY, facts)
            return int(cursor.rowcount)

    def replay(self, now: datetime) -> int:
        """Queue these again, delivered or not; return how many. Their ids stay the same."""
        rows = self.exclude(status=self.model.Status.PENDING).exclude(event_id=None)
        return rows.update(
            status=self.model.Status.PENDING,
            due_at=now,
            attempts=0,
            leased_until=None,
            ended_at=None,
        )

    def claim(
        self, each: int, at_once: int, most: int, now: datetime, lease: timedelta
    ) -> list[Claimed]:
        """Take up to `most` due deliveries, `each` per endpoint; at most `at_once` are under way.

        Endpoints with the fewest under way come first.
        """
        facts: dict[str, Any] = {
            "each": each,
            "at_once": at_once,
            "most": most,
            "now": now,
            "lease": now + lease,
        }
        with connection.cursor() as cursor:
            cursor.execute(statements.CLAIM, facts)
            return [Claimed(*row) for row in cursor.fetchall()]

    def record(self, told: Sequence[Told]) -> None:
        """Write down what became of tries."""
        with connection.cursor() as cursor:
            cursor.execute(statements.RECORD, [list(column) for column in zip(*told, strict=True)])

    def put_off(self, claimed: Sequence[Claimed], due_at: datetime) -> None:
        """Give back what was claimed and could not be begun: it has used up no try."""
        with connection.cursor() as cursor:
            columns = [[each.id for each in claimed], [each.attempts for each in claimed]]
            cursor.execute(statements.PUT_OFF, [due_at, *columns])

    def are_due(self, now: datetime) -> bool:
        """Say whether there is anything to post now."""
        rows = self.filter(status=self.model.Status.PENDING, due_at__lte=now)
        return rows.filter(endpoint__is_enabled=True).exists()

    def drop_of(self, endpoint: int) -> None:
        """Delete everything of an endpoint, with its tries: without loading a single row."""
        with connection.cursor() as cursor:
            cursor.execute(statements.DROP_TRIES, [endpoint])
            cursor.execute(statements.DROP, [endpoint])

    def forget(self, before: datetime) -> int:
        """Delete a chunk of what ended before then, with its tries; return how many."""
        with connection.cursor() as cursor:
            cursor.execute(statements.FORGET, [before, FORGET_CHUNK])
            return int(cursor.rowcount)
