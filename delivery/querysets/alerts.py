"""Sets of alerts and of what tells them."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Self

from django.db import connection, models, transaction
from django.db.models import BooleanField, Exists, ExpressionWrapper, F, OuterRef, Q

if TYPE_CHECKING:
    from delivery.models import Alert, Notice

_RAISE = """
INSERT INTO delivery_alert AS known
    (kind, subject, text, payload, count, raised_at, last_at, tellings, is_settled)
VALUES (%(kind)s, %(subject)s, %(text)s, %(payload)s, GREATEST(1, %(times)s), %(now)s, %(now)s,
    0, false)
ON CONFLICT (kind, subject) WHERE resolved_at IS NULL DO UPDATE
SET text = excluded.text, payload = excluded.payload, last_at = excluded.last_at,
    count = known.count + %(times)s
RETURNING id
"""


class AlertQuerySet(models.QuerySet["Alert"]):
    def open(self) -> Self:
        return self.filter(resolved_at=None)

    def raise_one(
        self,
        kind: str,
        subject: str,
        text: str,
        payload: Mapping[str, Any],
        now: datetime,
        times: int,
    ) -> int:
        """Open an alert, or add `times` to the one that is open; return its id."""
        facts: dict[str, Any] = {
            "kind": kind,
            "subject": subject[:200],
            "text": text,
            "payload": json.dumps(payload, default=str),
            "times": times,
            "now": now,
        }
        with connection.cursor() as cursor:
            cursor.execute(_RAISE, facts)
            [pk] = cursor.fetchone() or (0,)
        return int(pk)

    def resolve(self, kind: str, now: datetime, *, keep: Collection[str] = ()) -> int:
        """End the open alerts of a kind but those about the subjects to `keep`; return how many."""
        rows = self.open().filter(kind=kind).exclude(subject__in=[each[:200] for each in keep])
        # Nobody was told: there is nothing to take back.
        is_settled = ExpressionWrapper(Q(tellings=0), BooleanField())
        return rows.update(resolved_at=now, is_settled=is_settled)

    def to_tell(self, now: datetime, every: timedelta) -> Self:
        """Lock the alerts of which operators should be told now, or told that they are over.

        A new one waits while the last of its kind and subject was told less than `every` ago.
        """
        lately = self.model._default_manager.filter(
            kind=OuterRef("kind"), subject=OuterRef("subject"), told_at__gt=now - every
        )
        is_new = Q(resolved_at=None, tellings=0) & ~Exists(lately)
        is_over = Q(resolved_at__isnull=False)
        goes_on = Q(resolved_at=None, tellings__gt=0, told_at__lte=now - every)
        rows = self.filter(is_new | is_over | goes_on, is_settled=False)
        return rows.order_by("pk").select_for_update(skip_locked=True)


class NoticeQuerySet(models.QuerySet["Notice"]):
    def take(self, now: datetime, lease: timedelta, channel: str) -> Notice | None:
        """Take the next notice that is due: nobody else does before the lease is over."""
        with transaction.atomic():
            rows = self.filter(due_at__lte=now, sent_at=None, given_up_at=None, channel=channel)
            notice = rows.order_by("due_at").select_for_update(skip_locked=True).first()
            if notice is not None:
                self.filter(pk=notice.pk).update(due_at=now + lease, attempts=F("attempts") + 1)
                notice.attempts += 1
        return notice
