"""What was tried with one message: every hand-off it was in, the first one first."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from delivery.models import Attempt, Handoff, Message, ProviderAccount

_MOST = 100
"""Tries that are listed, the last ones."""
_DEEPEST = 20
"""Halves of halves: a call of 1,000 has ten."""
_DECIDED_THERE = frozenset({"sending", "sent", "failed", "unknown"})
"""States of a message that its last hand-off has brought about, or evidence of it since."""


@dataclass(frozen=True, slots=True)
class Try:
    """One hand-off of a message."""

    at: datetime
    """When the call began; if none did, when the hand-off was prepared or given back."""
    provider: ProviderAccount | None
    handoff: Handoff | None
    status: str
    """A `Message.Status`: what the message was afterwards."""
    error: str
    was_called: bool
    """Whether a call to the provider began; if not, nothing can have been sent."""
    whole: tuple[Handoff, ...] = ()
    """The calls refused as a whole that this one is a part of, the first one first."""

    @property
    def label(self) -> str:
        if self.status == Message.Status.QUEUED:
            return "Not taken" if self.was_called else "Given back before the call"
        return str(Message.Status(self.status).label)


@dataclass(frozen=True, slots=True)
class Trace:
    """The tries that are known, and how many were made before these were written down."""

    tries: list[Try]
    earlier: int


def trace(message: Message) -> Trace:
    """Return what was tried with a message, read in three statements (more if calls were halved).

    A try that a provider took has no row of its own: it is the message's last hand-off.
    """
    rows = message.failed_attempts.select_related("handoff", "provider")
    rows = rows.defer("provider__secrets", "provider__config").order_by("-pk")
    failed = list(rows[:_MOST])[::-1]
    tries = [_of_attempt(each) for each in failed]
    handoff = message.handoff
    if handoff and message.status in _DECIDED_THERE:
        if failed and failed[-1].handoff_id == handoff.pk:
            tries.pop()
        tries.append(_last(message, handoff))
    return Trace(tries, max(message.attempts - len(tries), 0))


def _of_attempt(attempt: Attempt) -> Try:
    handoff = attempt.handoff
    error = attempt.error or (handoff.error if handoff else "")
    return _try(handoff, attempt.provider, attempt.at, attempt.status, error)


def _last(message: Message, handoff: Handoff) -> Try:
    accounts = ProviderAccount.objects.defer("secrets", "config")
    provider = accounts.filter(pk=message.provider_id or 0).first()
    is_sent = message.status == Message.Status.SENT
    error = "" if is_sent else message.error or handoff.error
    return _try(handoff, provider, message.created_at, message.status, error)


def _try(
    handoff: Handoff | None,
    provider: ProviderAccount | None,
    at: datetime,
    status: str,
    error: str,
) -> Try:
    if handoff is None:
        return Try(at, provider, None, status, error, was_called=True)
    began = handoff.in_flight_at or handoff.started_at
    was_called = handoff.in_flight_at is not None
    return Try(began, provider, handoff, status, error, was_called, _refused_before(handoff))


def _refused_before(handoff: Handoff) -> tuple[Handoff, ...]:
    """Return the calls that were refused as a whole and halved until this one was left."""
    whole: list[Handoff] = []
    while len(whole) < _DEEPEST and (pk := handoff.reason.get("refused")):
        found = Handoff.objects.filter(pk=pk).first()
        if found is None:
            break
        whole.append(found)
        handoff = found
    return tuple(reversed(whole))
