"""The journal of hand-offs: lease, take off, close, sweep.

Leases use the database's clock, so a worker with a wrong one cannot keep or lose what it claimed.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.db import connection, models
from django.db.models import Count, Q
from django.db.models.functions import Now

from delivery import pace_statements, routing_statements, statements
from delivery.scoring import Calls
from delivery.windows import Window
from emailplatform.preparing import prepared_cursor

if TYPE_CHECKING:
    from delivery.models import Handoff

PREPARE_LEASE = timedelta(seconds=settings.PREPARE_LEASE_S)
"""To compose a batch in memory."""
FLIGHT_LEASE = timedelta(seconds=settings.FLIGHT_LEASE_S)
"""For one call and a slow machine. Renewed while results come."""
HEALTH_WINDOW = timedelta(hours=1)
MOST_CALLS = 500
"""The last calls of an account that count for its health."""


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
            reason={**refused.reason, "refused": refused.pk},
            lease_until=Now() + PREPARE_LEASE,
        )

    def close(self, pk: int, status: str, accepted: int, error: str, trouble: str = "") -> bool:
        """End an open hand-off with how it went; False if it was ended already."""
        facts: dict[str, Any] = {
            "id": pk,
            "status": status,
            "accepted": accepted,
            "error": error,
            "trouble": trouble,
            "from": self.model.sources_of(status),
        }
        with prepared_cursor() as cursor:
            cursor.execute(statements.CLOSE, facts)
            return bool(cursor.rowcount)

    def calls_since(self, provider: int, since: datetime) -> tuple[int, int]:
        """Return how many calls to an account ended since then, and how many of them failed.

        What the provider refused because of the mail, or wanted slower, is no failure of its own.
        """
        trouble = self.model.Trouble
        failures = Q(trouble__in=[trouble.UNAVAILABLE, trouble.ACCOUNT, trouble.SILENT])
        rows = self.filter(provider=provider, started_at__gt=since, in_flight_at__isnull=False)
        row = rows.filter(finished_at__isnull=False).aggregate(
            calls=Count("pk"), failures=Count("pk", filter=failures)
        )
        return row["calls"], row["failures"]

    def health(self, now: datetime) -> dict[int, Calls]:
        """Return account -> its calls of the last hour, at most its last MOST_CALLS."""
        facts: dict[str, Any] = {"now": now, "since": now - HEALTH_WINDOW, "most": MOST_CALLS}
        with connection.cursor() as cursor:
            cursor.execute(routing_statements.HEALTH, facts)
            return {pk: Calls(*numbers) for pk, *numbers in cursor.fetchall()}

    def take_off(self, pk: int, size: int, lease: timedelta = FLIGHT_LEASE) -> bool:
        """Say durably that the call begins now; False: the lease ran out and nothing may be sent.

        The guard is what gives a requeued message one owner (design 4.1, step 3).
        """
        facts: dict[str, Any] = {"id": pk, "size": size, "lease": lease}
        with prepared_cursor() as cursor:
            cursor.execute(statements.TAKE_OFF, facts)
            return bool(cursor.rowcount)

    def sweep(self) -> tuple[int, int]:
        """Close hand-offs whose worker died; return how many messages are (queued again, in doubt).

        `preparing`: nothing left the machine, so they are queued. `in_flight`: they may have been
        sent, so they are in doubt and never queued again by us.
        """
        with connection.cursor() as cursor:
            cursor.execute(statements.SWEEP)
            queued, unknown = cursor.fetchone() or (0, 0)
        return queued, unknown

    def history(self, window: Window) -> dict[int, int]:
        """Return what was handed over within a window's time: {moment in ms: how many}.

        By the database's clock, in steps as fine as the window's parts.
        """
        scope = {"provider_id": None, "stream": None, "mailbox": None, **(window.scope or {})}
        facts = {**scope, "width_ms": window.width_ms, "seconds": window.seconds}
        with connection.cursor() as cursor:
            cursor.execute(pace_statements.HISTORY, facts)
            return dict(cursor.fetchall())

    def pace(self, window: timedelta) -> list[tuple[str, str, int, int, int]]:
        """Return, per stream and mailbox, what the journal of the last minutes says.

        Messages accepted in the last minute, hand-offs under way, and hand-offs in doubt.
        """
        with connection.cursor() as cursor:
            cursor.execute(pace_statements.PACE, {"window": f"{window.total_seconds()} seconds"})
            rows: list[Any] = cursor.fetchall()
        return rows
