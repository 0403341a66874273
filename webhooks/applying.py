"""Stored webhooks → events, times on messages, counters, suppressions. Safe to repeat.

A batch is one transaction: either all of it is there, or its requests are still pending. What
cannot be applied is found by halving the batch, then the request; the rest goes through at once.
A request with such an event is tried three times and then put aside with its reason.
"""

from __future__ import annotations

import logging
import traceback
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import psycopg
from django.db import OperationalError, connection, transaction

from delivery.providers.base import Event as Heard
from webhooks.concluding import Applied, apply_events, arrival
from webhooks.models import RawRequest, WebhookCount
from webhooks.querysets import LOCK_TIMEOUT_MS, Arrival, Outcome, Stored
from webhooks.reading import Reader, Reading

logger = logging.getLogger(__name__)

BATCH_BYTES = 2_000_000
"""Bodies of one transaction: some 4,000 events of SendGrid, about half a second."""
TRIES = 3
RETRY_AFTER = timedelta(seconds=30)
"""Doubles with every try."""
WAIT_MOST = timedelta(hours=24)
"""How long an event waits for a message we do not have."""
WAIT_FIRST = timedelta(seconds=30)
MOST_TRACEBACK = 8000
"""Characters that are kept, the end: that is where it says what."""

Tally = Counter[tuple[int, str, datetime]]
"""(account, outcome, hour) -> how many."""


# --- Batches -----------------------------------------------------------------------------


def apply_pending(limit: int, now: datetime) -> int:
    """Apply up to `limit` stored requests that are due; return how many were looked at.

    Zero also if somebody else holds rows that are needed: they are tried again by the next call.
    """
    try:
        with transaction.atomic():
            _be_modest()
            requests = RawRequest.objects.take(limit, BATCH_BYTES, now)
            if requests:
                tally: Tally = Counter()
                outcomes = _apply(requests, Reader(requests), now, tally)
                _count(requests, outcomes, tally)
                RawRequest.objects.finish(outcomes, now)
    except OperationalError as error:
        if isinstance(error.__cause__, psycopg.errors.LockNotAvailable):
            return 0
        raise
    return len(requests)


def _be_modest() -> None:
    """Give way to senders, and do not wait for the disk: what is lost is still pending."""
    with connection.cursor() as cursor:
        cursor.execute(f"SET LOCAL lock_timeout = {LOCK_TIMEOUT_MS}")
        cursor.execute("SET LOCAL synchronous_commit = off")


def _apply(
    requests: Sequence[Stored], reader: Reader, now: datetime, tally: Tally
) -> list[Outcome]:
    """Apply all the requests, or those halves of them which can be."""
    try:
        with transaction.atomic():
            readings = [reader.read(request) for request in requests]
            applied = apply_events(_arrivals(readings, now), now)
        _note(applied, now, tally)
        return [_outcome(reading, applied, now) for reading in readings]
    except OperationalError:
        raise  # The database's trouble, not that of any request.
    except Exception as error:  # noqa: BLE001 (what it is does not matter: nobody else may suffer)
        if len(requests) == 1:
            return [_failure(requests[0], reader, error, now, tally)]
        middle = len(requests) // 2
        return [
            outcome
            for half in (requests[:middle], requests[middle:])
            for outcome in _apply(half, reader, now, tally)
        ]


def _arrivals(readings: Iterable[Reading], now: datetime) -> Iterator[Arrival]:
    for reading in readings:
        request = reading.request
        may_wait = now - request.received_at < WAIT_MOST
        for event in reading.events:
            yield arrival(event, request.account, request.id, may_wait)


def _outcome(reading: Reading, applied: Applied, now: datetime) -> Outcome:
    request, status, held = reading.request, RawRequest.Status, applied.held
    problems = "; ".join([*reading.problems, *_strange(request, applied)])[:1000]
    if not reading.is_understood:
        return Outcome(request.id, status.UNPARSABLE, problems)
    if request.id in held:
        note = f"{held[request.id]} events wait for messages that are not here (yet)."
        return Outcome(request.id, status.PENDING, note, _look_again_at(request, now))
    return Outcome(request.id, status.APPLIED, problems)


def _look_again_at(request: Stored, now: datetime) -> datetime:
    """Return when to look for missing messages again: pauses grow with the age of the request."""
    return now + max(WAIT_FIRST, now - request.received_at)


def _strange(request: Stored, applied: Applied) -> list[str]:
    """Return a sentence about events that were stored and believed by no message."""
    notes = []
    if number := applied.foreign.get(request.id, 0):
        logger.warning("Webhook %s: %s events name messages of others", request.id, number)
        notes.append(
            f"Unmatched events: {number}. They name messages that this account was not given."
        )
    if number := applied.orphans.get(request.id, 0):
        notes.append(f"Orphans: {number}. They name messages that never came.")
    return notes


def _failure(
    request: Stored, reader: Reader, error: Exception, now: datetime, tally: Tally
) -> Outcome:
    """Apply what can be of a request that failed; return when to try it again, or that it failed.

    It is not put aside while other events of it wait for their messages: nobody would look again.
    """
    logger.error("Webhook %s could not be applied: %s", request.id, type(error).__name__)
    reason, status = _words(error), RawRequest.Status
    try:
        events = reader.read(request).events
    except Exception:  # noqa: BLE001 (it cannot even be read: then `error` says why)
        events = []
    sifted = _Sifted()
    if len(events) > 1:
        _sift(request, events, now, tally, sifted)
    if sifted.bad:
        error = sifted.bad[0]
        reason = f"{len(sifted.bad)} of {len(events)} events could not be applied. {_words(error)}"
    told = (reason[:1000], _traceback(error))
    if request.attempts + 1 < TRIES:
        due_at = now + RETRY_AFTER * 2**request.attempts
        return Outcome(request.id, status.PENDING, told[0], due_at, 1, told[1])
    if sifted.held:
        due_at = _look_again_at(request, now)
        return Outcome(request.id, status.PENDING, told[0], due_at, 0, told[1])
    return Outcome(request.id, status.FAILED, told[0], None, 1, told[1])


@dataclass(slots=True)
class _Sifted:
    """What was not applied of a request."""

    bad: list[Exception] = field(default_factory=list)
    """What is wrong with each event that cannot be applied."""
    held: int = 0
    """Events that wait for messages that are not here yet."""


def _sift(
    request: Stored, events: Sequence[Heard], now: datetime, tally: Tally, sifted: _Sifted
) -> None:
    """Apply those events of a request which can be; note the others in `sifted`."""
    try:
        with transaction.atomic():
            applied = apply_events(_arrivals([Reading(request, events, [])], now), now)
    except OperationalError:
        raise
    except Exception as error:  # noqa: BLE001 (see _apply)
        if len(events) == 1:
            sifted.bad.append(error)
            return
        middle = len(events) // 2
        for half in (events[:middle], events[middle:]):
            _sift(request, half, now, tally, sifted)
        return
    sifted.held += applied.held.get(request.id, 0)
    if request.attempts:  # The provider told these once: the first try has counted them.
        applied = applied._replace(taken=[each._replace(told=each.new) for each in applied.taken])
    _note(applied, now, tally)


def _words(error: Exception) -> str:
    return "".join(traceback.format_exception_only(error)).strip()[:1000]


def _traceback(error: Exception) -> str:
    """Return where it happened. PostgreSQL keeps no NUL."""
    lines = "".join(traceback.format_exception(error))
    return lines.replace("\0", "")[-MOST_TRACEBACK:]


# --- Counting ----------------------------------------------------------------------------


def _note(applied: Applied, now: datetime, tally: Tally) -> None:
    hour, kinds = _hour(now), WebhookCount.Outcome
    for taken in applied.taken:
        tally[taken.account, kinds.EVENTS, hour] += taken.told
        tally[taken.account, kinds.NEW, hour] += taken.new


def _count(requests: Sequence[Stored], outcomes: Sequence[Outcome], tally: Tally) -> None:
    """Count what was looked at for the first time by the hour it came, what became of it by now."""
    ends = {each.id: each.status for each in outcomes}
    alike = Counter(
        (each.account, _hour(each.received_at), each.is_new, each.is_late, ends[each.id])
        for each in requests
    )
    status, kinds = RawRequest.Status, WebhookCount.Outcome
    for (account, came, is_new, is_late, end), number in alike.items():
        if is_new:
            tally[account, kinds.LATE if is_late else kinds.STORED, came] += number
        if is_new and end == status.UNPARSABLE:
            tally[account, kinds.UNPARSABLE, came] += number
        if end in (status.APPLIED, status.FAILED):
            tally[account, kinds(end), came] += number
    for (account, outcome, hour), number in sorted(tally.items()):
        if number:
            WebhookCount.objects.add(account, outcome, hour, number)


def _hour(moment: datetime) -> datetime:
    return moment.replace(minute=0, second=0, microsecond=0)
