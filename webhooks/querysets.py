"""Sets of raw requests and events: stored, taken, applied. The only place with their SQL."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

from django.db import InterfaceError, OperationalError, connection, models
from django.db.models.functions import Length, Now

from delivery.counting import Delta
from webhooks import statements

if TYPE_CHECKING:
    from webhooks.models import Event, RawRequest, Silence, WebhookCount

LOCK_TIMEOUT_MS = 500
"""Applying gives way before PostgreSQL looks for deadlocks (1 s): no sender is ever the victim."""


class NewRequest(NamedTuple):
    """A genuine request, as it is stored."""

    account: int
    headers: str
    """A JSON object."""
    body: bytes
    replay_key: str | None
    is_late: bool


class Lag(NamedTuple):
    """Seconds from taking a request to its events being applied."""

    account: int
    p50_s: float
    max_s: float
    requests: int


class Queue(NamedTuple):
    waiting: int
    oldest_due: datetime | None
    active: int


class Outcome(NamedTuple):
    """What became of a raw request."""

    id: int
    status: str
    error: str = ""
    due_at: datetime | None = None
    """When to look again, if it is still pending."""
    failures: int = 0
    traceback: str = ""


class Arrival(NamedTuple):
    """An event on its way into the database. The order is that of `statements.HEARD`."""

    request: int | None
    may_wait: bool
    """A message that is not there may still come: leave the event for later."""
    account: int | None
    dedupe_key: str
    type: str
    occurred_at: datetime
    message: int | None
    recipient: str
    provider_message_id: str
    url: str
    ip: str | None
    user_agent: str
    is_machine: bool | None
    bounce_class: str
    reason: str
    complaint_type: str
    country: str
    device: str
    client: str
    browser: str
    os: str


class Taken(NamedTuple):
    """How many events an account told in a batch, and how many of them were new."""

    account: int
    told: int
    new: int


class CopyEnded(NamedTuple):
    """A copy of a mail that bounced for good, or was complained about."""

    type: str
    account: int | None
    recipient: str


class Consequence(NamedTuple):
    """What a new event means for the person, beyond the message."""

    type: str
    account: int | None
    campaign: int | None
    subscriber: int | None
    address_key: bytes
    mailed_at: datetime
    """Not later than the mail: its message was made then."""


def _store(new: NewRequest) -> bool:
    with connection.cursor() as cursor:
        cursor.execute(statements.STORE, new)
        return bool(cursor.rowcount)


class RawRequestQuerySet(models.QuerySet["RawRequest"]):
    def wait_since(self, before: datetime) -> bool:
        """Say whether a request that could be applied has been waiting since then."""
        return self.filter(status=self.model.Status.PENDING, due_at__lte=before).exists()

    def store(self, new: NewRequest) -> bool:
        """Insert one request in one statement; False if its single-use key was used before.

        The connection is not asked first whether it lives: that costs as much as a third of the
        INSERT. If it proves to be dead, a new one is used; stored twice is applied once.
        """
        connection.health_check_done = True  # type: ignore[attr-defined]  # missing in the stubs
        try:
            return _store(new)
        except (OperationalError, InterfaceError):
            if connection.in_atomic_block:
                raise
            connection.close()
            return _store(new)

    def take(self, limit: int, most_bytes: int, now: datetime) -> list[RawRequest]:
        """Lock up to `limit` requests that are due, of `most_bytes` together, but at least one.

        For the rest of the transaction they are the caller's; nobody waits for them.
        """
        due = self.filter(status=self.model.Status.PENDING, due_at__lte=now)
        due = due.order_by("due_at", "pk").select_for_update(skip_locked=True)
        taken: list[int] = []
        total = 0
        for pk, size in due.annotate(size=Length("body")).values_list("pk", "size")[:limit]:
            total += size
            if taken and total > most_bytes:
                break
            taken.append(pk)
        rows = self.filter(pk__in=taken).select_related("account")
        return list(rows.order_by("due_at", "pk"))

    def lags(self, since: datetime, most: int) -> list[Lag]:
        """Return how long requests waited to be applied, of the last `most` since then."""
        with connection.cursor() as cursor:
            cursor.execute(statements.LAGS, [most, since])
            return [Lag(row[0], float(row[1]), float(row[2]), row[3]) for row in cursor.fetchall()]

    def queue(self, now: datetime) -> Queue:
        """Return what waits, since when, and what is being applied."""
        with connection.cursor() as cursor:
            cursor.execute(statements.QUEUE, {"now": now})
            return Queue(*(cursor.fetchone() or (0, None, 0)))

    def finish(self, outcomes: Sequence[Outcome], now: datetime) -> None:
        """Write what became of requests the caller has taken."""
        with connection.cursor() as cursor:
            columns = [list(column) for column in zip(*outcomes, strict=True)]
            cursor.execute(statements.FINISH, [now, *columns])

    def replay(self) -> int:
        """Put these requests back in line; return how many. What is known is not applied twice."""
        rows = self.exclude(status=self.model.Status.PENDING)
        return rows.update(status=self.model.Status.PENDING, due_at=Now(), attempts=0, error="")


class EventQuerySet(models.QuerySet["Event"]):
    """One batch at a time: `arrive`, then the rest in this order, in one transaction."""

    def arrive(self, arrivals: Iterable[Arrival]) -> None:
        """Bring a batch to the database: COPY into a table that lasts as long as the transaction.

        COPY costs half as much as JSON and a seventh of arrays. Safe behind PgBouncer: each
        transaction makes the table if it is not there.
        """
        with connection.wrap_database_errors, connection.cursor() as cursor:
            cursor.execute(statements.MAKE_ROOM)
            with cursor.copy(statements.COPY_HEARD) as copy:
                for arrival in arrivals:
                    copy.write_row(arrival)

    def hold_back(self) -> dict[int, int]:
        """Leave out events of messages that may still come; return how many, by raw request."""
        with connection.cursor() as cursor:
            cursor.execute(statements.HOLD_BACK)
            return dict(cursor.fetchall())

    def take_in(self) -> int:
        """Insert the events that are new; return how many."""
        with connection.cursor() as cursor:
            cursor.execute(statements.TAKE_IN)
            inserted: int = cursor.rowcount
        return inserted

    def unmatched(self) -> dict[str, dict[int, int]]:
        """Return how many new events are foreign or orphans: by standing, then by request."""
        counted: dict[str, dict[int, int]] = {}
        with connection.cursor() as cursor:
            cursor.execute(statements.UNMATCHED)
            for standing, request, number in cursor.fetchall():
                counted.setdefault(standing, {})[request] = number
        return counted

    def taken(self) -> list[Taken]:
        """Return what was told and what of it was new, by account."""
        with connection.cursor() as cursor:
            cursor.execute(statements.TAKEN)
            return [Taken(*row) for row in cursor.fetchall()]

    def copies_ended(self) -> list[CopyEnded]:
        """Return the addresses of copies which the new events end."""
        with connection.cursor() as cursor:
            cursor.execute(statements.COPIES_ENDED)
            return [CopyEnded(*row) for row in cursor.fetchall()]

    def mark_messages(self) -> list[Delta]:
        """Write what the new events say into their messages; return how the counters change."""
        with connection.cursor() as cursor:
            cursor.execute(statements.MARK)
            return [Delta(*row) for row in cursor.fetchall()]

    def consequences(self) -> list[Consequence]:
        """Return the new events that end somebody's mail."""
        with connection.cursor() as cursor:
            cursor.execute(statements.CONSEQUENCES)
            return [Consequence(*row) for row in cursor.fetchall()]

    def note_engagement(self) -> None:
        """Remember when people have last opened or clicked, as far as the new events say."""
        with connection.cursor() as cursor:
            cursor.execute(statements.ENGAGED)

    def count_soft_bounces(self) -> None:
        """Count anew the soft bounces in a row of the people whom the new events change."""
        with connection.cursor() as cursor:
            cursor.execute(statements.SOFT_BOUNCES)

    def settle_doubts(self) -> list[Delta]:
        """Mark messages in doubt as sent if an event showed it before they came into doubt.

        Whatever comes afterwards settles them as it is applied.
        """
        with connection.cursor() as cursor:
            cursor.execute(statements.SETTLE)
            return [Delta(*row) for row in cursor.fetchall()]


class SilenceQuerySet(models.QuerySet["Silence"]):
    def count_hours(self, since: datetime, until: datetime) -> None:
        """Count what was sent in these hours and what of it nobody told anything; once or again."""
        with connection.cursor() as cursor:
            cursor.execute(statements.COUNT_SILENCE, [since, until])


class WebhookCountQuerySet(models.QuerySet["WebhookCount"]):
    def add(self, account: int | None, outcome: str, hour: datetime, requests: int = 1) -> None:
        """Count requests. Not worth waiting for the disk."""
        with connection.cursor() as cursor:
            cursor.execute(statements.COUNT, [account, outcome, hour, requests])
