"""Sets of people, subscriptions and suppressions: the only place with SQL and bulk writes."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Self

from django.db import connection, models
from django.db.models import Exists, F, OuterRef, Q, Value
from django.db.models.functions import Coalesce

if TYPE_CHECKING:
    from subscribers.models import Import, Subscriber, Subscription, Suppression


class SubscriberQuerySet(models.QuerySet["Subscriber"]):
    def mailable(self) -> Self:
        """People we may mail: active, and no suppression stands against their address."""
        from subscribers.models import Suppression

        stands = Suppression.objects.filter(address_key=OuterRef("address_key"))
        return self.filter(~Exists(stands), status=self.model.Status.ACTIVE)

    def on_lists(self, lists: Collection[int]) -> Self:
        """People subscribed to at least one of the lists; everybody once."""
        from subscribers.models import Subscription

        rows = Subscription.objects.of_lists(lists).filter(subscriber=OuterRef("pk"))
        return self.filter(Exists(rows))

    def close(self, pks: Sequence[int], status: str, now: datetime) -> int:
        """End mailing people for good, from ACTIVE only; return how many changed.

        The first reason stays: somebody who complained does not become merely unsubscribed.
        """
        rows = self.filter(pk__in=pks, status=self.model.Status.ACTIVE)
        return rows.update(status=status, status_changed_at=now, updated_at=now)

    def reopen(self, key: bytes, status: str, now: datetime) -> int:
        """Let people with an address be mailed again whom `status` had closed; return how many."""
        rows = self.filter(address_key=key, status=status)
        return rows.update(
            status=self.model.Status.ACTIVE, status_changed_at=now, updated_at=now, soft_bounces=0
        )


class SubscriptionQuerySet(models.QuerySet["Subscription"]):
    def of_lists(
        self,
        lists: Collection[int],
        *,
        joined_by: datetime | None = None,
        left_after: datetime | None = None,
    ) -> Self:
        """Active subscriptions of the lists.

        With `joined_by` those that have been since then or longer; with `left_after` also those
        whose standing changed since.
        """
        wanted = Q(status=self.model.Status.ACTIVE)
        if joined_by:
            wanted &= Q(changed_at__lte=joined_by)
        if left_after:
            wanted |= Q(changed_at__gt=left_after)
        return self.filter(wanted, list__in=lists)

    def end(self, subscriber: int, lists: Collection[int], now: datetime) -> int:
        """Unsubscribe one person from lists; return how many subscriptions ended."""
        gone = self.model.Status.UNSUBSCRIBED
        rows = self.filter(subscriber=subscriber, list__in=lists).exclude(status=gone)
        return rows.update(status=gone, changed_at=now)

    def end_all(self, subscriber: int, now: datetime) -> int:
        """Unsubscribe one person from every list; return how many subscriptions ended."""
        gone = self.model.Status.UNSUBSCRIBED
        rows = self.filter(subscriber=subscriber).exclude(status=gone)
        return rows.update(status=gone, changed_at=now)


class SuppressionQuerySet(models.QuerySet["Suppression"]):
    def suppress_many(self, rows: Sequence[tuple[bytes, str, str]], now: datetime) -> int:
        """Suppress (address_key, reason, source) rows, close the people; return how many are new.

        One statement. The first reason stays, of the suppression and of the person's status, and of
        rows with one address the first counts. Saying it again changes nothing.
        """
        if not rows:
            return 0
        keys, reasons, sources = zip(*rows, strict=True)
        sql = """
            WITH said AS (
                SELECT DISTINCT ON (key) key, reason, left(source, 200) AS source
                FROM unnest(%(keys)s::bytea[], %(reasons)s::text[], %(sources)s::text[])
                    WITH ORDINALITY AS row(key, reason, source, place)
                ORDER BY key, place
            ), suppressed AS (
                INSERT INTO subscribers_suppression (address_key, reason, source, created_at)
                SELECT key, reason, source, %(now)s FROM said
                ON CONFLICT (address_key) DO NOTHING
                RETURNING 1
            ), closed AS (
                UPDATE subscribers_subscriber AS person
                SET status = said.reason, status_changed_at = %(now)s, updated_at = %(now)s
                FROM said
                WHERE person.address_key = said.key AND person.status = 'active'
            )
            SELECT count(*) FROM suppressed
        """
        values: dict[str, Any] = {
            "keys": list(keys),
            "reasons": list(reasons),
            "sources": list(sources),
            "now": now,
        }
        with connection.cursor() as cursor:
            cursor.execute(sql, values)
            count: int = cursor.fetchone()[0]
            return count


class ImportQuerySet(models.QuerySet["Import"]):
    def workable(self, now: datetime) -> Self:
        """Imports a worker may take: queued, or running with nobody's lease on them."""
        status = self.model.Status
        free = Q(lease_until=None) | Q(lease_until__lte=now)
        return self.filter(Q(status=status.QUEUED) | Q(free, status=status.RUNNING))

    def waiting_longest(self) -> list[int]:
        """Return the keys, those first that nobody has worked on for longest."""
        oldest = F("lease_until").asc(nulls_first=True)
        return list(self.order_by(oldest, "pk").values_list("pk", flat=True))

    def lease(self, pk: int, now: datetime, until: datetime) -> Import | None:
        """Take an import for the caller until `until`; None if it is not to be had (any more)."""
        rows = self.workable(now).filter(pk=pk)
        taken = rows.update(
            status=self.model.Status.RUNNING,
            lease_until=until,
            started_at=Coalesce("started_at", Value(now)),
        )
        return self.select_related("list").get(pk=pk) if taken else None

    def advance(self, pk: int, done: int, **fields: Any) -> bool:
        """Move a running import on from byte `done`; False if it does not run, or is elsewhere.

        Called last in the transaction that wrote the rows: of two workers who did the same rows,
        whatever became of their leases, one commits them and the other takes its rows back.
        """
        rows = self.filter(pk=pk, offset=done, status=self.model.Status.RUNNING)
        return bool(rows.update(**fields))

    def release(self, pk: int, now: datetime) -> None:
        """Let another worker take a running import at once."""
        self.filter(pk=pk, status=self.model.Status.RUNNING).update(lease_until=now)
