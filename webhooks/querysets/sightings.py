"""What we see ourselves: noted, taken, counted."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

from django.db import InterfaceError, OperationalError, connection, models, transaction

from webhooks import sighting_statements as statements
from webhooks.querysets.events import LOCK_TIMEOUT_MS

if TYPE_CHECKING:
    from webhooks.models import AnonymousCount, Sighting


class NewSighting(NamedTuple):
    """Somebody opened a mail or followed a link."""

    message: int | None
    campaign: int | None
    number: int | None
    url: str
    ip: str | None
    user_agent: str
    device: str
    is_machine: bool | None
    reason: str
    seen_at: datetime


class Seen(NamedTuple):
    """The same, as it is taken: with its id in front."""

    id: int
    message: int | None
    campaign: int | None
    number: int | None
    url: str
    ip: str | None
    user_agent: str
    device: str
    is_machine: bool | None
    reason: str
    seen_at: datetime


class AnonymousEvent(NamedTuple):
    """An event that says of nobody who it was."""

    dedupe_key: str
    type: str
    occurred_at: datetime
    campaign: int
    url: str
    device: str
    is_machine: bool | None
    reason: str


class AnonymousHit(NamedTuple):
    campaign: int
    number: int
    at: datetime
    is_machine: bool


def _note(new: Sequence[NewSighting]) -> None:
    if len(new) == 1:
        with connection.cursor() as cursor:
            cursor.execute(statements.NOTE, new[0])
    else:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.executemany(statements.NOTE, new)


class SightingQuerySet(models.QuerySet["Sighting"]):
    def note(self, new: Sequence[NewSighting]) -> None:
        """Insert sightings: all of them or none. One alone is one statement.

        The connection is not asked first whether it lives: if it is dead, a new one is used.
        """
        connection.health_check_done = True  # type: ignore[attr-defined]  # missing in the stubs
        try:
            _note(new)
        except (OperationalError, InterfaceError):
            if connection.in_atomic_block:
                raise
            connection.close()
            _note(new)

    def take(self, limit: int) -> list[Seen]:
        """Take up to `limit` sightings away, within the caller's transaction; nobody waits."""
        with connection.cursor() as cursor:
            cursor.execute(statements.BE_MODEST.format(LOCK_TIMEOUT_MS))
            cursor.execute(statements.TAKE, [limit])
            return [Seen(*row) for row in cursor.fetchall()]

    def store_anonymous(self, events: Sequence[AnonymousEvent]) -> None:
        """Insert events that name nobody."""
        with connection.cursor() as cursor:
            cursor.execute(
                statements.STORE_ANONYMOUS, [list(each) for each in zip(*events, strict=True)]
            )


class AnonymousCountQuerySet(models.QuerySet["AnonymousCount"]):
    def add(self, hits: Sequence[AnonymousHit]) -> None:
        """Count opens and clicks of nobody in particular."""
        with connection.cursor() as cursor:
            cursor.execute(
                statements.ADD_ANONYMOUS, [list(each) for each in zip(*hits, strict=True)]
            )

    def recount(self, campaign: int) -> int:
        """Count a campaign anew from its stored events; return by how much it was wrong."""
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("LOCK TABLE webhooks_anonymouscount IN SHARE ROW EXCLUSIVE MODE")
            wrong = self.drift(campaign)
            if wrong:
                self.filter(campaign_id=campaign).delete()
                cursor.execute(statements.RECOUNT_ANONYMOUS, self._wanted(campaign))
        return wrong

    def drift(self, campaign: int) -> int:
        """Return by how much a campaign's counts differ from its stored events; one snapshot."""
        with connection.cursor() as cursor:
            cursor.execute(statements.DRIFT_ANONYMOUS, self._wanted(campaign))
            return int((cursor.fetchone() or (0,))[0])

    def _wanted(self, campaign: int) -> dict[str, int]:
        return {"campaign": campaign, "opens": self.model.OPENS}
