"""Write down what a provider says while it says it: the second half of a hand-off (design 4.1)."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import TypeVar

from django.conf import settings
from django.db import InterfaceError, OperationalError, connection
from django.utils import timezone

from delivery import crashing
from delivery.models import Handoff, Mail, Message, message_of
from delivery.providers.base import Batch, Fault, Provider, Result, Verdict
from delivery.querysets import FLIGHT_LEASE, Claimed, Outcome
from emailplatform.env import Retries

logger = logging.getLogger(__name__)

T = TypeVar("T")

PATIENCE_S = 300.0
"""How long what a provider said is kept in memory while the database is away."""
RECORD_EVERY_S = 0.2
"""How long results of one call are gathered before they are written."""
RECORD_EACH_S = 0.05
"""The same where each result is a conversation: what a crash can leave in doubt beside the last."""
RENEW_EVERY_S = FLIGHT_LEASE.total_seconds() / 9
"""How old a lease may get while answers come: a small part of FLIGHT_LEASE."""

STATUS_OF = {
    Verdict.ACCEPTED: Message.Status.SENT,
    Verdict.REJECTED: Message.Status.FAILED,
    Verdict.UNAVAILABLE: Message.Status.QUEUED,
    Verdict.UNKNOWN: Message.Status.UNKNOWN,
}


class LeaseLost(Exception):
    """The sweeper took this hand-off for dead: whoever holds it must stop at once."""


def lease_of(provider: Provider | type[Provider]) -> timedelta:
    """Return how long one call may be silent before its worker is taken for dead."""
    return max(FLIGHT_LEASE, timedelta(seconds=provider.longest_call_s * 1.25 + RENEW_EVERY_S))


def insist(write: Callable[[], T]) -> T:
    """Return `write()`, tried again while the database is away, for PATIENCE_S at most.

    What a provider said is nowhere else. Every write of the journal is guarded, so one that was
    committed although nothing was heard of it changes nothing the second time. Inside a
    transaction it is tried once: the rest of that is gone. Raises what the database said last.
    """
    give_up_at, pause = time.monotonic() + PATIENCE_S, 0.1
    while True:
        try:
            return write()
        except (OperationalError, InterfaceError):
            if connection.in_atomic_block or time.monotonic() + pause > give_up_at:
                raise
            logger.warning("database_away")
        connection.close()
        time.sleep(pause)
        pause = min(2 * pause, 5.0)


class Journal:
    """The results of one hand-off, written in groups, the smaller where each is a conversation.

    A write of one result costs PostgreSQL as much as one of twenty.
    """

    def __init__(self, handoff: Handoff, provider: Provider, people: Iterable[Claimed]) -> None:
        self.handoff = handoff
        self.accepted = 0
        self.rejected = ""
        """What the provider said of the last person it will never take."""
        self.throttled = ""
        """What was said last by somebody who found us too fast."""
        self._every_s = RECORD_EACH_S if provider.answers_one_by_one else RECORD_EVERY_S
        self._lease = lease_of(provider)
        self._deferrals = {person.id: person.deferrals for person in people}
        self._told: set[str] = set()
        self._pending: list[Outcome] = []
        self._written_at = self._renewed_at = time.monotonic()

    def add(self, result: Result) -> None:
        """Take one answer. Raises LeaseLost."""
        crashing.point("answered")
        self._told.add(result.message_id)
        self.accepted += result.verdict == Verdict.ACCEPTED
        if result.is_throttle:
            self.throttled = result.reason or "It found us too fast."
        if result.verdict == Verdict.REJECTED:
            self.rejected = result.reason or "The provider gave no reason."
        self._pending.append(self._outcome(result))
        if result.refused_copies:
            rows = Mail.objects.filter(pk=message_of(result.message_id))
            insist(lambda: rows.update(refused_copies=dict(result.refused_copies)))
        if time.monotonic() - self._written_at > self._every_s:
            self.write()
            self._renew()

    def write(self) -> None:
        """Write what is gathered."""
        if self._pending:
            pk, outcomes, now = self.handoff.pk, self._pending, timezone.now()
            insist(lambda: Message.objects.record(pk, outcomes, now))
            crashing.point("recording")
        self._pending = []
        self._written_at = time.monotonic()

    def unanswered(self, batch: Batch) -> set[int]:
        """Return our ids of the recipients the provider has said nothing about."""
        tokens = (each.message_id for each in batch.recipients if each.message_id not in self._told)
        return {pk for pk in map(message_of, tokens) if pk is not None}

    def rest(self, batch: Batch, status: str, error: str, due_at: datetime | None = None) -> None:
        """Write the same outcome for everybody without an answer, and all that is gathered."""
        ids = sorted(self.unanswered(batch))
        self._pending += [Outcome(pk, status, error=error[:300], due_at=due_at) for pk in ids]
        self.write()
        crashing.point("recorded")

    def _renew(self) -> None:
        """Keep the lease from running out. Nobody can have taken a younger one for dead."""
        if time.monotonic() - self._renewed_at > RENEW_EVERY_S:
            if not Handoff.objects.renew(self.handoff.pk, self._lease):
                raise LeaseLost
            self._renewed_at = time.monotonic()

    def _outcome(self, result: Result) -> Outcome:
        pk = message_of(result.message_id)
        if pk is None:
            raise ValueError(f"{result.message_id!r} is no id of a message.")
        reason = result.reason[:300]
        if result.verdict == Verdict.UNAVAILABLE:
            before = self._deferrals.get(pk, 0)
            return deferred(
                pk, before, reason, settings.RETRIES[self.handoff.stream], timezone.now()
            )
        status = STATUS_OF[result.verdict]
        known_as = result.provider_message_id[:200]
        fault = (result.fault or Fault.OTHER) if status == Message.Status.FAILED else ""
        return Outcome(pk, status, provider_message_id=known_as, error=reason, fault=fault)


def deferred(pk: int, before: int, reason: str, retries: Retries, now: datetime) -> Outcome:
    """Return when to try a mailbox again that refuses for now, or that it was given up.

    Waits double from `retries.first` to `retries.longest`, with a fifth of jitter.
    """
    if before + 1 >= retries.tries:
        error = f"Given up after {retries.tries} tries: {reason}"[:300]
        fault = Message.Fault.MAILBOX
        return Outcome(pk, Message.Status.FAILED, error=error, fault=fault, is_deferral=True)
    wait = min(retries.first * 2 ** min(before, 20), retries.longest)
    due_at = now + wait * random.uniform(0.8, 1.2)  # noqa: S311
    return Outcome(pk, Message.Status.QUEUED, error=reason, due_at=due_at, is_deferral=True)
