"""Sets of people, subscriptions and suppressions: the only place with SQL and bulk writes."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Self

from django.db import connection, models
from django.db.models import Exists, OuterRef

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

        subscribed = Subscription.objects.filter(
            subscriber=OuterRef("pk"),
            list__in=lists,
            status=Subscription.Status.ACTIVE,
        )
        return self.filter(Exists(subscribed))

    def close(self, pks: Sequence[int], status: str, now: datetime) -> int:
        """End mailing people for good, from ACTIVE only; return how many changed.

        The first reason stays: somebody who complained does not become merely unsubscribed.
        """
        rows = self.filter(pk__in=pks, status=self.model.Status.ACTIVE)
        return rows.update(status=status, status_changed_at=now, updated_at=now)


class SubscriptionQuerySet(models.QuerySet["Subscription"]):
    def end(self, subscriber: int, lists: Collection[int], now: datetime) -> int:
        """Unsubscribe one person from lists; return how many subscriptions ended."""
        gone = self.model.Status.UNSUBSCRIBED
        rows = self.filter(subscriber=subscriber, list__in=lists).exclude(status=gone)
        return rows.update(status=gone, changed_at=now)


class SuppressionQuerySet(models.QuerySet["Suppression"]):
    def suppress_many(self, rows: Iterable[tuple[bytes, str, str]], now: datetime) -> int:
        """Suppress (address_key, reason, source) rows in one statement; return how many are new.

        The first reason stays. Saying it again changes nothing.
        """
        keys, reasons, sources = zip(*rows, strict=True) if rows else ((), (), ())
        sql = """
            INSERT INTO subscribers_suppression (address_key, reason, source, created_at)
            SELECT DISTINCT ON (1) key, reason, source, %s
            FROM unnest(%s::bytea[], %s::text[], %s::text[]) AS row(key, reason, source)
            ON CONFLICT (address_key) DO NOTHING
        """
        with connection.cursor() as cursor:
            cursor.execute(sql, [now, list(keys), list(reasons), list(sources)])
            return cursor.rowcount


class ImportQuerySet(models.QuerySet["Import"]):
    pass
