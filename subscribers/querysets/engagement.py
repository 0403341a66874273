"""What people did, scored: the bulk statements of every night."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import TYPE_CHECKING, Any, NamedTuple

from django.db import connection, models

from subscribers import score_statements as statements

if TYPE_CHECKING:
    from subscribers.models import Engagement


class Change(NamedTuple):
    """People who came from one stage to another, or stayed, and how many rows were written."""

    before: str
    after: str
    people: int
    written: int


class EngagementQuerySet(models.QuerySet["Engagement"]):
    def bring_up(self, first: int, last: int, terms: Mapping[str, Any]) -> list[Change]:
        """Score everybody whose id is above `first`, up to `last`; see `scoring.terms`."""
        with connection.cursor() as cursor:
            cursor.execute(statements.BRING_UP, {**terms, "first": first, "last": last})
            return [Change(*row) for row in cursor.fetchall()]

    def remember(self, after: date, until: date) -> int:
        """Take points of history of these days for the score of 30 days ago; return how many."""
        with connection.cursor() as cursor:
            cursor.execute(statements.REMEMBER, {"after": after, "until": until})
            return int(cursor.rowcount)

    def usual_hour(self) -> int | None:
        """Return the best hour of most people, by their own clocks; None while nobody has one."""
        with connection.cursor() as cursor:
            cursor.execute(statements.USUAL_HOUR)
            row = cursor.fetchone()
        return row[0] if row else None
