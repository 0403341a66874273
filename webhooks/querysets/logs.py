"""Where logs were read to, and which queue ids of mail servers stand for our mail."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

from django.db import models

if TYPE_CHECKING:
    from webhooks.models import LogPosition, MailboxPosition, QueueId


class Queued(NamedTuple):
    """The mail that a queue id stands for."""

    message: int
    waiting_for: str = ""
    """Whose server has put it off, last."""
    said: str = ""


class LogPositionQuerySet(models.QuerySet["LogPosition"]):
    def move(self, log: LogPosition, inode: int, offset: int, head: str, now: datetime) -> bool:
        """Move on from where `log` was read to; False if somebody else has moved it."""
        rows = self.filter(pk=log.pk, inode=log.inode, offset=log.offset, head=log.head)
        return bool(rows.update(inode=inode, offset=offset, head=head, read_at=now))


class MailboxPositionQuerySet(models.QuerySet["MailboxPosition"]):
    def move(self, box: MailboxPosition, uid_validity: int, uid: int, now: datetime) -> bool:
        """Move on from what `box` says; False if somebody else has moved it."""
        rows = self.filter(pk=box.pk, uid_validity=box.uid_validity, last_uid=box.last_uid)
        return bool(rows.update(uid_validity=uid_validity, last_uid=uid, fetched_at=now))


class QueueIdQuerySet(models.QuerySet["QueueId"]):
    def known(self, keys: Collection[str]) -> dict[str, Queued]:
        """Return what these queue ids stand for, as far as they stand for our mail."""
        rows = self.filter(key__in=keys)
        return {
            key: Queued(message, waiting_for, said)
            for key, message, waiting_for, said in rows.values_list(
                "key", "message_id", "waiting_for", "said"
            )
        }

    def remember(self, queued: dict[str, Queued], now: datetime) -> None:
        """Write what queue ids stand for from now on."""
        fields = ["message_id", "waiting_for", "said", "seen_at"]
        self.bulk_create(
            [
                self.model(
                    key=key,
                    message_id=each.message,
                    waiting_for=each.waiting_for[:320],
                    said=each.said[:300],
                    seen_at=now,
                )
                for key, each in sorted(queued.items())
            ],
            batch_size=2000,
            update_conflicts=True,
            unique_fields=["key"],
            update_fields=fields,
        )
