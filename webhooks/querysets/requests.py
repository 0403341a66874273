"""Raw requests: stored, taken, finished, put back in line."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

from django.db import InterfaceError, OperationalError, connection, models
from django.db.models.functions import Now

from webhooks import statements

if TYPE_CHECKING:
    from webhooks.models import RawRequest


class NewRequest(NamedTuple):
    """A genuine request, as it is stored."""

    account: int
    headers: str
    """A JSON object."""
    body: bytes
    replay_key: str | None
    is_late: bool


class Stored(NamedTuple):
    """A request as it is taken to be applied. The order is that of `statements.READ`."""

    id: int
    account: int
    headers: str
    """A JSON object."""
    body: bytes
    received_at: datetime
    is_late: bool
    is_new: bool
    """Nobody has looked at it yet: every later look moves `due_at`."""
    attempts: int


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

    @property
    def is_plain(self) -> bool:
        """Say whether there is nothing to tell but that it was applied."""
        return self.status == "applied" and not (self.error or self.failures or self.traceback)


LOCKED_AT_ONCE = 100
"""Requests that are locked by one step of a cursor: so many too many at most."""


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

    def take(self, limit: int, most_bytes: int, now: datetime) -> list[Stored]:
        """Lock up to `limit` requests that are due, of `most_bytes` together, but at least one.

        For the rest of the transaction they are the caller's; nobody waits for them. They come as
        plain rows: what a model costs, twice with its account, was a third of applying an event.
        """
        taken = self._lock(limit, most_bytes, now)
        if not taken:
            return []
        with connection.cursor() as cursor:
            cursor.execute(statements.READ, [taken])
            return [Stored(*row) for row in cursor.fetchall()]

    def _lock(self, limit: int, most_bytes: int, now: datetime) -> list[int]:
        taken: list[int] = []
        total = 0
        with connection.chunked_cursor() as cursor:
            cursor.execute(statements.LOCK_DUE, [now])
            while rows := cursor.fetchmany(min(LOCKED_AT_ONCE, limit - len(taken))):
                for pk, size in rows:
                    total += size
                    if taken and total > most_bytes:
                        return taken
                    taken.append(pk)
                if len(taken) >= limit:
                    break
        return taken

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

    def naming(self, pattern: str) -> list[int]:
        """Return the keys of requests in which a pattern is found: reads all that are kept."""
        with connection.cursor() as cursor:
            cursor.execute(statements.NAMING, {"pattern": pattern})
            return [row[0] for row in cursor.fetchall()]

    def finish(self, outcomes: Sequence[Outcome], now: datetime) -> None:
        """Write what became of requests the caller has taken."""
        plain = [each.id for each in outcomes if each.is_plain]
        others = [each for each in outcomes if not each.is_plain]
        with connection.cursor() as cursor:
            if plain:
                cursor.execute(statements.FINISH_PLAIN, [now, plain])
            if others:
                columns = [list(column) for column in zip(*others, strict=True)]
                cursor.execute(statements.FINISH, [now, *columns])

    def replay(self) -> int:
        """Put these requests back in line; return how many. What is known is not applied twice."""
        rows = self.exclude(status=self.model.Status.PENDING)
        return rows.update(status=self.model.Status.PENDING, due_at=Now(), attempts=0, error="")
