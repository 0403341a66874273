"""The log of a Postfix → events about our mail, the usual way: stored first, applied later.

What a batch of lines says, what its queue ids stand for, and how far the log was read are one
transaction: after a kill -9 nothing is missing and nothing is told twice.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any

from django.db import transaction

from delivery.models import Message, ProviderAccount, message_of, token_of
from delivery.providers.base import BounceClass, EventType
from delivery.providers.postfix_log import Expired, Line, Named, Reader, Removed, Tried
from emailplatform.errors import DomainError
from webhooks import taking
from webhooks.following import Follower, Place
from webhooks.models import LogPosition, QueueId, RawRequest
from webhooks.querysets import NewRequest, Queued

KEPT_FOR = timedelta(days=10)
"""Queue ids that were not heard of for so long are forgotten; Postfix gives up after five days."""
EVENTS_EACH = 2000
"""In one stored request."""
_HEADERS = json.dumps({"content-type": "application/json", "x-read-from": "postfix log"})


class TakenOver(DomainError):
    """Somebody else reads the same log."""

    code = "taken_over"


class Tail:
    """Reads one log from where it was read to."""

    def __init__(
        self,
        path: Path,
        account: ProviderAccount | None,
        *,
        zone: tzinfo | None,
        relays: Iterable[str],
        say: Callable[[str], None],
    ) -> None:
        """Tell of mail of `account` alone; None: of the account that each mail went through."""
        self._account, self._zone, self._relays = account, zone, list(relays)
        self._log, _ = LogPosition.objects.get_or_create(path=str(path))
        place = Place(self._log.inode, self._log.offset, self._log.head)
        self._follower = Follower(path, place, say)

    def close(self) -> None:
        """Let go of the file."""
        self._follower.close()

    def read(self, now: datetime) -> int:
        """Take in the next lines; return how many there were, 0 if nothing new is there.

        Raises TakenOver, OSError if the log cannot be read, and what the database raises: then
        nothing was taken in, and a new Tail begins at the same place.
        """
        lines = self._follower.read()
        place = self._follower.place
        if lines:
            self._take_in(list(Reader(self._zone, self._relays, now).read(lines)), place, now)
        return len(lines)

    def forget(self, now: datetime) -> int:
        """Delete queue ids that Postfix must be done with; return how many."""
        return QueueId.objects.filter(seen_at__lt=now - KEPT_FOR).delete()[0]

    @transaction.atomic
    def _take_in(self, said: list[Line], place: Place, now: datetime) -> None:
        if not LogPosition.objects.move(self._log, *_fields(place), now):
            raise TakenOver(f"Somebody else reads {self._log.path}. Stop one of the two.")
        entries = _Ledger(said)
        entries.store(now)
        for account, events in self._by_account(entries.events).items():
            for start in range(0, len(events), EVENTS_EACH):
                body = json.dumps(events[start : start + EVENTS_EACH]).encode()
                RawRequest.objects.store(NewRequest(account, _HEADERS, body, None, False))
            taking.note_heard(account, now)
        self._log.inode, self._log.offset, self._log.head = _fields(place)

    def _by_account(self, events: list[dict[str, Any]]) -> dict[int, list[dict[str, Any]]]:
        """Return events by the account that they are told of."""
        if not events:
            return {}
        if self._account is not None:
            return {self._account.pk: events}
        smtp = set(ProviderAccount.objects.filter(kind="smtp").values_list("pk", flat=True))
        first = taking.account_named("").pk
        messages = {message_of(each["message_id"]) or 0 for each in events}
        carriers = dict(
            Message.objects.filter(pk__in=messages, provider__in=smtp).values_list("pk", "provider")
        )
        grouped: dict[int, list[dict[str, Any]]] = defaultdict(list)
        for event in events:
            carrier = carriers.get(message_of(event["message_id"]) or 0)
            grouped[carrier or first].append(event)
        return grouped


def _fields(place: Place) -> tuple[int, int, str]:
    return place.inode, place.offset, place.head


class _Ledger:
    """What the lines of a batch change: what queue ids stand for, and the events they tell."""

    def __init__(self, said: list[Line]) -> None:
        self.events: list[dict[str, Any]] = []
        self._queued: dict[str, Queued | None] = dict(
            QueueId.objects.known({each.queue_id for each in said})
        )
        self._known = dict(self._queued)
        for each in said:
            self._add(each)

    def store(self, now: datetime) -> None:
        """Write what is different now."""
        now_known = self._queued
        new = {key: each for key, each in now_known.items() if each != self._known.get(key)}
        QueueId.objects.remember({key: each for key, each in new.items() if each}, now)
        gone = [key for key, each in new.items() if each is None]
        if gone:
            QueueId.objects.filter(key__in=gone).delete()

    def _add(self, said: Line) -> None:
        if isinstance(said, Named):
            message = message_of(said.message_id) or None
            self._queued[said.queue_id] = Queued(message) if message else None
            return
        queued = self._queued.get(said.queue_id)
        if queued is None:
            return  # Mail of others.
        if isinstance(said, Removed):
            self._queued[said.queue_id] = None
        elif isinstance(said, Tried):
            self._tried(said, queued)
        elif queued.waiting_for:
            self._expired(said, queued)

    def _tried(self, said: Tried, queued: Queued) -> None:
        self.events.append(
            _event(said.queue_id, queued.message, said.type, said.at)
            | {"recipient": said.recipient, "reason": said.said, "status": said.status}
        )
        if said.type is EventType.DEFERRED:
            if said.recipient != queued.waiting_for:
                queued = queued._replace(waiting_for=said.recipient, said=said.said[:300])
        elif said.recipient == queued.waiting_for:
            queued = queued._replace(waiting_for="", said="")
        self._queued[said.queue_id] = queued

    def _expired(self, said: Expired, queued: Queued) -> None:
        self.events.append(
            _event(said.queue_id, queued.message, EventType.BOUNCED, said.at)
            | {
                "recipient": queued.waiting_for,
                "reason": f"Not delivered in time: {queued.said}",
                "bounce_class": str(BounceClass.SOFT),
            }
        )


def _event(queue_id: str, message: int, kind: EventType, at: datetime) -> dict[str, Any]:
    """Return an event in the words of `generic_events`."""
    return {
        "type": str(kind),
        "occurred_at": at.isoformat(),
        "message_id": token_of(message),
        "provider_message_id": queue_id.rpartition(":")[2],
    }
