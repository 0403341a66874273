"""Stored webhooks → events, times on messages, counters, suppressions. Safe to repeat.

A batch is one transaction: either all of it is there, or its requests are still pending. What
cannot be applied is found by halving the batch, tried three times and then put aside with its
reason; the rest of the batch goes through.
"""

from __future__ import annotations

import logging
import traceback
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

import psycopg
from django.db import OperationalError, connection, transaction

from delivery import counting
from delivery.models import ProviderAccount, message_of
from delivery.providers.base import Event as Heard
from delivery.providers.base import EventType, Unparsable
from subscribers.models import Suppression
from webhooks import leaving
from webhooks.marks import COMPLAINTS
from webhooks.models import Event, RawRequest, WebhookCount
from webhooks.querysets import LOCK_TIMEOUT_MS, Arrival, Consequence, Outcome

logger = logging.getLogger(__name__)

BATCH_BYTES = 2_000_000
"""Bodies of one transaction: some 4,000 events of SendGrid, about half a second."""
TRIES = 3
RETRY_AFTER = timedelta(seconds=30)
"""Doubles with every try."""
WAIT_MOST = timedelta(hours=24)
"""How long an event waits for a message we do not have."""
WAIT_FIRST = timedelta(seconds=30)


class Applied(NamedTuple):
    """What was not simply applied, as numbers of events by raw request."""

    held: dict[int, int]
    """They wait for messages that are not here yet."""
    unmatched: dict[int, int]
    """They name messages that this account was not given, or other people's addresses."""


@dataclass(frozen=True, slots=True)
class _Reading:
    """A request and what was read in it."""

    request: RawRequest
    events: list[Heard]
    problems: list[str]
    is_understood: bool = True


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
                outcomes = _apply(requests, now)
                _count(requests, outcomes)
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


def _apply(requests: Sequence[RawRequest], now: datetime) -> list[Outcome]:
    """Apply all the requests, or those halves of them which can be."""
    try:
        with transaction.atomic():
            readings = [_read(request) for request in requests]
            applied = apply_events(_arrivals(readings, now), now)
            return [_outcome(reading, applied, now) for reading in readings]
    except OperationalError:
        raise  # The database's trouble, not that of any request.
    except Exception as error:  # noqa: BLE001 (what it is does not matter: nobody else may suffer)
        if len(requests) == 1:
            return [_failure(requests[0], error, now)]
        middle = len(requests) // 2
        return [
            outcome
            for half in (requests[:middle], requests[middle:])
            for outcome in _apply(half, now)
        ]


def _read(request: RawRequest) -> _Reading:
    try:
        events, problems = request.read()
    except Unparsable as error:
        return _Reading(request, [], [str(error)], is_understood=False)
    return _Reading(request, events, problems, is_understood=bool(events or not problems))


def _arrivals(readings: Iterable[_Reading], now: datetime) -> Iterator[Arrival]:
    for reading in readings:
        request = reading.request
        may_wait = now - request.received_at < WAIT_MOST
        wanted = request.account.heard_types
        for event in reading.events:
            if event.type in wanted:
                yield _arrival(event, request.account_id, request.pk, may_wait)


def _arrival(event: Heard, account: int | None, request: int | None, may_wait: bool) -> Arrival:
    """Return the row of an event; what has a limit in the table is clipped."""
    return Arrival(
        request,
        may_wait,
        account,
        event.dedupe_key,
        event.type,
        event.occurred_at,
        message_of(event.message_id) or None,
        event.recipient[:320],
        event.provider_message_id[:200],
        event.url,
        event.ip or None,
        event.user_agent[:500],
        event.is_machine,
        event.bounce_class or ("unknown" if event.type == EventType.BOUNCED else ""),
        event.reason[:500],
    )


def _outcome(reading: _Reading, applied: Applied, now: datetime) -> Outcome:
    request, status, held = reading.request, RawRequest.Status, applied.held
    problems = "; ".join([*reading.problems, *_strange(request, applied)])[:1000]
    if not reading.is_understood:
        return Outcome(request.pk, status.UNPARSABLE, problems)
    if request.pk in held:
        wait = max(WAIT_FIRST, now - request.received_at)
        note = f"{held[request.pk]} events wait for messages that are not here (yet)."
        return Outcome(request.pk, status.PENDING, note, now + wait)
    return Outcome(request.pk, status.APPLIED, problems)


def _strange(request: RawRequest, applied: Applied) -> list[str]:
    """Return a sentence about events that were stored and believed by no message."""
    number = applied.unmatched.get(request.pk, 0)
    if not number:
        return []
    logger.warning("Webhook %s: %s events name messages of others", request.pk, number)
    return [f"Unmatched events: {number}. They name messages that this account was not given."]


def _failure(request: RawRequest, error: Exception, now: datetime) -> Outcome:
    logger.error("Webhook %s could not be applied: %s", request.pk, type(error).__name__)
    reason = "".join(traceback.format_exception_only(error)).strip()[:1000]
    status = RawRequest.Status
    if request.attempts + 1 >= TRIES:
        return Outcome(request.pk, status.FAILED, reason, failures=1)
    due_at = now + RETRY_AFTER * 2**request.attempts
    return Outcome(request.pk, status.PENDING, reason, due_at, failures=1)


def _count(requests: Sequence[RawRequest], outcomes: Sequence[Outcome]) -> None:
    """Count what was looked at for the first time, by account, outcome and the hour it came."""
    unparsable = {each.id for each in outcomes if each.status == RawRequest.Status.UNPARSABLE}
    kinds = WebhookCount.Outcome
    counts: Counter[tuple[int, str, datetime]] = Counter()
    for request in requests:
        if request.is_new:
            hour = request.received_at.replace(minute=0, second=0, microsecond=0)
            counts[request.account_id, kinds.LATE if request.is_late else kinds.STORED, hour] += 1
            if request.pk in unparsable:
                counts[request.account_id, kinds.UNPARSABLE, hour] += 1
    for (account, outcome, hour), number in sorted(counts.items()):
        WebhookCount.objects.add(account, outcome, hour, number)


# --- Events ------------------------------------------------------------------------------


def apply_own(event: Heard, now: datetime) -> None:
    """Apply an event that we saw ourselves, in the caller's transaction."""
    apply_events([_arrival(event, account=None, request=None, may_wait=False)], now)


def apply_events(arrivals: Iterable[Arrival], now: datetime) -> Applied:
    """Take in events and everything they mean; return how many must wait or were not believed.

    Only what is new has an effect. Counters come last: their rows are everybody's.
    """
    Event.objects.arrive(arrivals)
    held, unmatched = Event.objects.hold_back(), {}
    if Event.objects.take_in():
        unmatched = Event.objects.unmatched()
        deltas = Event.objects.mark_messages()
        Event.objects.note_engagement()
        Event.objects.count_soft_bounces()
        if consequences := Event.objects.consequences():
            _end_mail(consequences, now)
        counting.add(deltas)
    return Applied(held, unmatched)


def settle_doubts() -> None:
    """Settle messages that came into doubt after their events had come."""
    with transaction.atomic():
        counting.add(Event.objects.settle_doubts())


# --- People ------------------------------------------------------------------------------


def _end_mail(consequences: Sequence[Consequence], now: datetime) -> None:
    """Suppress addresses that bounced or complained; let people leave who want to.

    Complaints go first: of two reasons in one batch the graver one stays.
    """
    reasons = Suppression.Reason
    complained = [each for each in consequences if each.type in COMPLAINTS]
    left = [each for each in consequences if each.type == EventType.UNSUBSCRIBED]
    bounced = [each for each in consequences if each not in complained and each not in left]
    names = dict(ProviderAccount.objects.values_list("pk", "name"))
    for reason, group in ((reasons.COMPLAINED, complained), (reasons.BOUNCED, bounced)):
        if group:
            rows = [(each.address_key, reason, _source(each, names)) for each in group]
            Suppression.objects.suppress_many(rows, now)
    if left:
        leaving.leave_many(left, now)


def _source(consequence: Consequence, names: dict[int, str]) -> str:
    """Return where a suppression came from, in words without any address: it stays for ever."""
    who = names.get(consequence.account or 0, "Somebody")
    about = f" about campaign {consequence.campaign}" if consequence.campaign else ""
    return f"{who} reported it{about}"[:200]
