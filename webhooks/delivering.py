"""Queued events → POSTs to endpoints, several at a time, each endpoint for itself.

A process has one pool of threads that only post: they know no database. Whoever calls `turn`
claims, hands over and writes down. A post that hangs keeps its thread until its time is over, and
nobody waits for it: it is written down by a later turn. What a process that dies has not written
down is posted again after the lease, with the same id.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import NamedTuple

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from emailplatform import posting
from emailplatform.calling import Answer
from emailplatform.secrets import CannotDecrypt
from webhooks import disabling, feeding, phrasing
from webhooks.models import Delivery, Endpoint, Event
from webhooks.outgoing_models import uid_of
from webhooks.querysets.outgoing import Claimed, Rating, Told

logger = logging.getLogger(__name__)

THREADS = 48
LEASE = timedelta(seconds=60)
"""Longer than a post may take, and than what waits in front of it in the pool."""
WAITS = tuple(
    timedelta(seconds=seconds)
    for seconds in (
        *(5, 5 * 60, 30 * 60, 2 * 3600, 5 * 3600, 10 * 3600, 14 * 3600, 15 * 3600, 16 * 3600),
    )
)
"""Before the second try, the third, …: 62 h 35 min in all. Like Standard Webhooks 1.0.0 says, but
for the last two: at their longest, and held up in between, the tries are over before an endpoint
that takes nothing is switched off (`disabling.PATIENCE`)."""
JITTER = 0.1
LONGEST_PAUSE = timedelta(hours=24)
"""What Retry-After may ask for."""
THROTTLED = {429: timedelta(seconds=30), 502: timedelta(0), 503: timedelta(0), 504: timedelta(0)}
"""Status → how long the endpoint is left alone if it does not say so itself."""
PUT_OFF = timedelta(seconds=5)
"""Before a post is begun that could not be begun."""
_GONE = 410


class _Post(NamedTuple):
    claimed: Claimed
    endpoint: posting.Endpoint
    body: bytes


class _Done(NamedTuple):
    claimed: Claimed
    at: datetime
    answer: Answer


class Sender:
    """The pool of this process, and what is under way in it."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="outgoing")
        self._running: set[Future[_Done]] = set()
        self._lock = threading.Lock()

    def turn(self, seconds: float) -> int:
        """Post what is due for so long, or until nothing is; return how many posts were written.

        0 at once if another thread of this process is at it.
        """
        if not self._lock.acquire(blocking=False):
            return 0
        try:
            return self._turn(time.monotonic() + seconds)
        finally:
            self._lock.release()

    @property
    def is_busy(self) -> bool:
        return bool(self._running)

    def _turn(self, stop_at: float) -> int:
        written = self._write()
        while True:
            started = self._start()
            left = stop_at - time.monotonic()
            if left <= 0 or not self._running or (not started and self._only_waits(left)):
                break
            wait(self._running, min(left, 0.2), FIRST_COMPLETED)
            written += self._write()
        return written + self._write()

    def _only_waits(self, left: float) -> bool:
        """Nothing could be started: wait for what runs; say whether none of it ended."""
        return not wait(self._running, left, FIRST_COMPLETED).done

    def _start(self) -> int:
        """Claim what there is room for and hand it over; return how much."""
        free = THREADS - len(self._running)
        if free <= 0:
            return 0
        now = timezone.now()
        at_once = settings.OUTGOING_AT_ONCE
        share = max(1, free // max(1, Endpoint.objects.enabled().count()))
        claimed = Delivery.objects.claim(min(share, at_once), at_once, free, now, LEASE)
        if not claimed:
            return 0
        for each in _prepared(claimed, now):
            self._running.add(self._pool.submit(_post, each))
        return len(claimed)

    def _write(self) -> int:
        """Write down what ended; return how much. It is done with, even if it cannot be written."""
        ended = {each for each in self._running if each.done()}
        self._running -= ended
        done = [each.result() for each in ended]
        if done:
            _record_each(done, timezone.now())
        return len(done)


_sender: Sender | None = None


def sender() -> Sender:
    """Return this process's; made when it is first needed, after any fork."""
    global _sender  # noqa: PLW0603 (one pool per process)
    if _sender is None:
        _sender = Sender()
    return _sender


def turn(seconds: float, now: datetime) -> int:
    """Queue new events and post what is due; return how much was posted, or is under way."""
    feeding.feed(now)
    disabling.disable_dead(now)
    sent = sender().turn(seconds)
    return sent + sender().is_busy


# --- Before the call ---------------------------------------------------------------------


def _prepared(claimed: Sequence[Claimed], now: datetime) -> Iterator[_Post]:
    """Yield what can be posted; what cannot be is written down as given up."""
    wanted = [each.event for each in claimed if each.event]
    events = Event.objects.select_related("account").defer("account__secrets", "account__config")
    found = events.in_bulk(wanted)
    targets, problems = _targets({each.endpoint for each in claimed})
    for each in claimed:
        if each.endpoint not in targets:
            problem = problems.get(each.endpoint, "The endpoint is gone.")
            record([_Done(each, now, Answer(0, 0, error=problem))], now)
        elif each.event in found:
            yield _Post(each, targets[each.endpoint], phrasing.body_of(found[each.event]))
        else:
            Delivery.objects.record([_lost(each, now)])


def _lost(claimed: Claimed, now: datetime) -> Told:
    """Say that there is nothing to post: no fault of the endpoint."""
    why = "The event is no longer kept." if claimed.event else "The test was broken off."
    failed = Delivery.Status.FAILED
    return Told(claimed.id, claimed.attempts, failed, now, None, 0, 0, "", why)


def _targets(endpoints: Collection[int]) -> tuple[dict[int, posting.Endpoint], dict[int, str]]:
    """Return where to post, and what is wrong with those whose secrets cannot be read."""
    targets: dict[int, posting.Endpoint] = {}
    problems: dict[int, str] = {}
    for pk in endpoints:
        try:
            endpoint = Endpoint.objects.filter(pk=pk).first()
        except CannotDecrypt as problem:
            problems[pk] = str(problem)
            continue
        if endpoint:
            targets[pk] = endpoint.target
    return targets, problems


def _post(post: _Post) -> _Done:
    """Post once. In a thread of the pool: without the database."""
    now = timezone.now()
    try:
        uid = uid_of(post.claimed.id, post.claimed.event)
        answer = posting.deliver(post.endpoint, uid, post.body, now)
    except Exception as error:  # a mistake of ours: noted, tried again, nobody else suffers
        logger.exception("post_failed", extra={"delivery": post.claimed.id})
        answer = Answer(0, 0, error=f"Our mistake: {type(error).__name__}.")
    return _Done(post.claimed, now, answer)


# --- After the call ----------------------------------------------------------------------


def _record_each(done: Sequence[_Done], now: datetime) -> None:
    """Write posts down, together or else one by one; one that cannot be is due after its lease."""
    try:
        record(done, now)
    except Exception:
        if len(done) == 1:
            logger.exception("post_not_written", extra={"delivery": done[0].claimed.id})
            return
        for each in done:
            _record_each([each], now)


def record(done: Sequence[_Done], now: datetime) -> None:
    """Write down how posts went, how their endpoints are doing, and disable those that are gone.

    All of it or nothing. A post that could not be begun says nothing of its endpoint.
    """
    begun = [each for each in done if not each.answer.is_put_off]
    put_off = [each.claimed for each in done if each.answer.is_put_off]
    with transaction.atomic():
        if put_off:
            Delivery.objects.put_off(put_off, now + PUT_OFF)
        if begun:
            Delivery.objects.record([_told(each, now) for each in begun])
            Endpoint.objects.rate(list(_ratings(begun, now)))
        if gone := {each.claimed.endpoint for each in begun if each.answer.status == _GONE}:
            disabling.disable_gone(gone, now)


def _told(done: _Done, now: datetime) -> Told:
    claimed, answer, status = done.claimed, done.answer, Delivery.Status
    error = posting.refusal(answer)
    outcome, due_at = status.DELIVERED, None
    if error:
        due_at = next_try(claimed.attempts, answer, now)
        outcome = status.PENDING if due_at else status.FAILED
    return Told(
        claimed.id,
        claimed.attempts,
        outcome,
        done.at,
        due_at,
        answer.status,
        answer.took_ms,
        answer.text,
        error[:300],
    )


def next_try(attempts: int, answer: Answer, now: datetime) -> datetime | None:
    """Return when it is tried again after so many tries; None: it is given up."""
    if attempts > len(WAITS):
        return None
    spread = random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311 (so that tries do not meet)
    wait_for = WAITS[attempts - 1] * spread
    return now + max(wait_for, pause_asked(answer.retry_after, now))


def pause_asked(retry_after: str, now: datetime) -> timedelta:
    """Return the pause that a Retry-After asks for: seconds or a date; 0 for what is neither."""
    text = retry_after.strip()
    if text.isascii() and text.isdecimal():
        return min(timedelta(seconds=int(text[:9])), LONGEST_PAUSE)
    try:
        until = parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError):  # of numbers beyond any year, the last
        return timedelta(0)
    if until.tzinfo is None:
        return timedelta(0)
    return min(max(until - now, timedelta(0)), LONGEST_PAUSE)


def _ratings(done: Iterable[_Done], now: datetime) -> Iterator[Rating]:
    by_endpoint: dict[int, list[_Done]] = defaultdict(list)
    for each in done:
        by_endpoint[each.claimed.endpoint].append(each)
    for endpoint, group in by_endpoint.items():
        good = [each.at for each in group if not posting.refusal(each.answer)]
        bad = [each for each in group if posting.refusal(each.answer)]
        yield Rating(
            endpoint,
            max(good, default=None),
            max((each.at for each in bad), default=None),
            len(bad),
            posting.refusal(bad[-1].answer)[:300] if bad else "",
            _held_until(bad, now),
        )


def _held_until(bad: Iterable[_Done], now: datetime) -> datetime | None:
    """Return until when an endpoint that wants less is left alone."""
    pauses = [
        max(pause_asked(each.answer.retry_after, now), THROTTLED[each.answer.status])
        for each in bad
        if each.answer.status in THROTTLED
    ]
    return now + max(pauses) if any(pauses) else None


def forget(now: datetime) -> int:
    """Delete what ended long ago (OUTGOING_KEEP_DAYS); return how many deliveries."""
    before = now - timedelta(days=settings.OUTGOING_KEEP_DAYS)
    forgotten = 0
    while number := Delivery.objects.forget(before):
        forgotten += number
    return forgotten


def try_out(endpoint: Endpoint, now: datetime) -> Answer:
    """Post a test now, and keep it in the log; return how it went."""
    row = Delivery.objects.create(
        endpoint=endpoint,
        type=phrasing.TEST,
        attempts=1,
        due_at=now + LEASE,
        leased_until=now + LEASE,
    )
    body = phrasing.test_body(endpoint.name, now)
    answer = posting.deliver(endpoint.target, row.uid, body, now)
    error = posting.refusal(answer)[:300]
    outcome = Delivery.Status.FAILED if error else Delivery.Status.DELIVERED
    told = Told(row.pk, 1, outcome, now, None, answer.status, answer.took_ms, answer.text, error)
    Delivery.objects.record([told])
    return answer
