"""What waits where, how fast it goes, what holds it up, and who works on it: for operators.

Nothing here counts a whole table: what is due is counted up to COUNTED per lane, by the index the
claim uses, and the journal is read for the last minutes only.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from delivery import limiting, routing, throttling
from delivery.lanes import Lane
from delivery.metering import AWAY, meter
from delivery.models import DailyCount, Handoff, LaneState, Message, ProviderAccount, Stream, Worker
from delivery.querysets import LIVE_FOR

COUNTED = 1000
"""So many are counted; of more it is only said that they are more."""
DOUBT_WINDOW = timedelta(minutes=15)


@dataclass(frozen=True, slots=True)
class Slowed:
    """A lane that somebody found too fast."""

    provider: str
    per_minute: int | None
    """None: it has its rate again, and is only held."""
    usual_per_minute: int
    reason: str
    since: datetime
    recovers_at: datetime
    held_until: datetime | None


@dataclass(slots=True)
class Queue:
    """The mail of one stream to one mailbox provider."""

    stream: str
    mailbox: str
    due: int = 0
    is_more: bool = False
    """There are more than `due`."""
    oldest_due_s: float | None = None
    per_minute: int = 0
    """Accepted in the last minute."""
    in_flight: int = 0
    """Hand-offs under way."""
    in_doubt: int = 0
    """Hand-offs of the last 15 minutes that nobody knows the end of."""
    limits: list[str] = field(default_factory=list)
    slowed: list[Slowed] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Limit:
    """A limit of an account, and how much of it is used now."""

    provider: str
    words: str
    used: int | None
    """None: nobody can say, for Redis is away."""
    most: int


@dataclass(frozen=True, slots=True)
class Seen:
    """A process that sends."""

    name: str
    kind: str
    streams: list[str]
    started_at: datetime
    seen_at: datetime
    is_live: bool
    counts_alone: bool


@dataclass(frozen=True, slots=True)
class Overview:
    queues: list[Queue]
    limits: list[Limit]
    workers: list[Seen]
    trouble: str
    """What is wrong with the whole, in words; empty: nothing."""
    stuck: list[str]
    """Of streams whose due mail no account may carry now: why."""


def overview(now: datetime) -> Overview:
    """Return everything the page shows."""
    accounts = list(ProviderAccount.objects.defer("secrets"))
    workers = [_seen(worker, now) for worker in Worker.objects.order_by("-seen_at", "name")]
    queues = _queues(accounts, now)
    return Overview(queues, limits(accounts, now), workers, trouble(workers), stuck(queues, now))


def as_data(facts: Overview) -> dict[str, Any]:
    """Return the same as plain data, for the API."""
    return asdict(facts)


def limits(accounts: list[ProviderAccount], now: datetime) -> list[Limit]:
    """Return the limits of accounts as they stand, with what is used of each."""
    used_today = DailyCount.objects.used_on(now.astimezone(UTC).date())
    found = []
    for account in accounts:
        windows = limiting.account_windows(account)
        rooms = meter.peek(windows) if windows else ()
        for index, window in enumerate(windows):
            used = window.amount - rooms[index] if rooms else None
            words = limiting.in_words(window.rate)
            found.append(Limit(account.name, words, used, window.amount))
        if account.limit_per_day:
            used = used_today.get(account.pk, 0)
            words = f"{account.limit_per_day:,} a day"
            found.append(Limit(account.name, words, used, account.limit_per_day))
    return found


def is_redis_away() -> bool:
    """Say whether limits are counted per worker now: as those that send say, if there are any."""
    said = list(Worker.objects.live().values_list("has_redis", flat=True))
    return not all(said) if said else not meter.has_redis()


def stuck(queues: list[Queue], now: datetime) -> list[str]:
    """Return why mail waits that no account may carry now, a sentence for each reason."""
    streams = dict.fromkeys(queue.stream for queue in queues if queue.due)
    found = (routing.explain_if_stuck(stream, now) for stream in streams)
    return list(dict.fromkeys(words for words in found if words))


def trouble(workers: list[Seen]) -> str:
    """Return what is wrong with the whole, in words."""
    live = [worker for worker in workers if worker.is_live]
    if not live:
        return "Nobody sends: no worker was seen in the last 10 seconds." if workers else ""
    return AWAY if any(worker.counts_alone for worker in live) else ""


def _queues(accounts: list[ProviderAccount], now: datetime) -> list[Queue]:
    """Return every stream and mailbox where something waits, moves or is held up."""
    queues: dict[tuple[str, str], Queue] = {}

    def queue(stream: str, mailbox: str) -> Queue:
        return queues.setdefault((stream, mailbox), Queue(stream, mailbox))

    for stream, mailbox, due, is_more, oldest in Message.objects.depths(now, COUNTED):
        one = queue(stream, mailbox)
        one.due, one.is_more = due, is_more
        one.oldest_due_s = max(0.0, (now - oldest).total_seconds())
    for stream, mailbox, accepted, in_flight, in_doubt in Handoff.objects.pace(DOUBT_WINDOW):
        one = queue(stream, mailbox)
        one.per_minute, one.in_flight, one.in_doubt = accepted, in_flight, in_doubt
    by_id = {account.pk: account for account in accounts}
    for state in LaneState.objects.recent(now):
        if throttling.is_slowed(state, now):
            slowed = _slowed(by_id[state.account_id], state, now)
            queue(state.stream, state.mailbox).slowed.append(slowed)
    for one in queues.values():
        one.limits = _limits_of(accounts, one)
    order = list(Stream.values)
    return sorted(queues.values(), key=lambda one: (order.index(one.stream), one.mailbox))


def _limits_of(accounts: list[ProviderAccount], queue: Queue) -> list[str]:
    """Return the limits that were set for a lane itself, as sentences."""
    lane = Lane(queue.stream, queue.mailbox)
    return [
        f"{account.name}: {limiting.in_words(limiting.rate_of(limit))}"
        for account in accounts
        if (limit := limiting.lane_limit(account, lane.stream, lane.mailbox))
    ]


def _slowed(account: ProviderAccount, state: LaneState, now: datetime) -> Slowed:
    held = state.held_until if throttling.is_held(state, now) else None
    return Slowed(
        provider=account.name,
        per_minute=state.rate_at(now),
        usual_per_minute=state.base,
        reason=state.reason,
        since=state.since,
        recovers_at=state.recovers_at(),
        held_until=held,
    )


def _seen(worker: Worker, now: datetime) -> Seen:
    is_live = now - worker.seen_at < LIVE_FOR
    return Seen(
        name=worker.name,
        kind=worker.kind,
        streams=sorted(worker.streams, key=list(Stream.values).index),
        started_at=worker.started_at,
        seen_at=worker.seen_at,
        is_live=is_live,
        counts_alone=is_live and not worker.has_redis,
    )
