"""What people did → their engagement: as events are applied, swept where none come, or anew."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from django.conf import settings
from django.db import connection, transaction
from django.db.models import Max, Min

from delivery.models import Handoff, ProviderAccount
from subscribers.models import Subscriber
from webhooks import feeling_statements as statements
from webhooks.models import Event, QuietAccount

CHUNK = 20_000
"""Ids of people that are counted anew in one transaction: appliers wait so long."""
SWEEP_SPAN = timedelta(hours=6)
"""So much of what was sent is swept in one transaction."""


def make_room() -> None:
    """Begin to note what changes for people, in this transaction; a batch of events does it."""
    with connection.cursor() as cursor:
        cursor.execute(statements.MAKE_ROOM)


def feel(now: datetime) -> None:
    """Write into people's rows what this transaction noted and what its new events say."""
    given = _terms(now)
    with connection.cursor() as cursor:
        cursor.execute(statements.GREET, given)
        cursor.execute(statements.FEEL, given)
        cursor.execute(statements.UNSEE, given)


def _terms(now: datetime) -> dict[str, Any]:
    return {"now": now, "half_life": settings.SCORE_HALF_LIFE.total_seconds()}


# --- Anew --------------------------------------------------------------------------------


class Counted(NamedTuple):
    """A range of people, and who of them had something else than their messages and events say."""

    last: int
    highest: int
    wrong: int
    some: list[int]


def rebuild(now: datetime, *, is_check: bool) -> Iterator[Counted]:
    """Count everybody's engagement from stored messages and events; yield after each chunk.

    `is_check`: change nothing. Safe while events are applied, to repeat and to break off.
    """
    highest = Subscriber.objects.aggregate(most=Max("pk"))["most"] or 0
    for first in range(0, highest, CHUNK):
        last = min(first + CHUNK, highest)
        given = {**_terms(now), "first": first, "last": last}
        with transaction.atomic(), connection.cursor() as cursor:
            if is_check:
                cursor.execute(statements.CHECK, given)  # one statement: it sees one moment
            else:
                cursor.execute(statements.ALONE)
                cursor.execute(statements.GREET_AGAIN, given)
                cursor.execute(statements.REBUILD, given)
            wrong, some = cursor.fetchone() or (0, None)
        yield Counted(last, highest, wrong, some or [])


# --- Where nobody tells of deliveries ----------------------------------------------------


def sweep(now: datetime) -> None:
    """Count mail as received that was sent long enough ago by accounts nobody hears deliveries of.

    Costs nothing where providers tell. In chunks; how far it came is kept per account.
    """
    until = now - timedelta(hours=settings.SILENCE_AFTER_H)
    for account in ProviderAccount.objects.order_by("pk"):
        if not Event.objects.filter(account=account, type="delivered").exists():
            while _sweep_span(account, until, now):
                pass


def _sweep_span(account: ProviderAccount, until: datetime, now: datetime) -> bool:
    """Count one span of an account; return whether there is more."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statements.ALONE)
        cursor.execute(statements.MAKE_ROOM)
        since = _swept_until(account)
        if since is None or since >= until:
            return False
        end = min(since + SWEEP_SPAN, until)
        given: dict[str, Any] = {"account": account.pk, "since": since, "until": end}
        cursor.execute(statements.SWEEP, given)
        feel(now)
        QuietAccount.objects.update_or_create(account=account, defaults={"swept_until": end})
    return end < until


def _swept_until(account: ProviderAccount) -> datetime | None:
    """Return how far an account was swept: at first, its first call; None without any."""
    known = QuietAccount.objects.filter(account=account).first()
    if known:
        return known.swept_until
    calls = Handoff.objects.filter(provider=account).aggregate(first=Min("started_at"))
    first: datetime | None = calls["first"]
    return first
