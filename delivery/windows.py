"""So many within so long: counted in Redis by all workers together, or in this process alone.

A window is cut into BUCKETS parts and moves with the time: what is taken counts from then on for
the length of the window and up to two parts longer. So no stretch of that length ever holds more
than the amount, wherever it begins; a window that is always full gives 95 % of it.

`limits` has the rates and the two stores. Its strategies take all or nothing, of one rate per
round trip, and take nothing back; a call for 100 people wants as many as there is room for.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from limits import RateLimitItem
from limits.storage import MemoryStorage, RedisStorage
from redis.backoff import NoBackoff
from redis.retry import Retry

BUCKETS = 40
KEPT = BUCKETS + 1
"""How many parts count besides the one that is now."""
PREFIX = "emailplatform:{limits}:"
"""The braces keep all keys in one slot of a Redis cluster: one script takes from several."""

_COUNT = f"""
local time = redis.call('TIME')
local now = tonumber(ARGV[1])
if now == 0 then now = time[1] * 1000 + math.floor(time[2] / 1000) end
local kept = {KEPT}
local function bucket_at(moment, width) return math.floor(moment / width) end
local function name(bucket) return string.format('%.0f', bucket) end
"""

_TAKE = (
    _COUNT
    + """
local want, grant, tight, wait, rooms = tonumber(ARGV[2]), tonumber(ARGV[2]), 0, 0, {}
for i, key in ipairs(KEYS) do
    local amount, width = tonumber(ARGV[3 * i]), tonumber(ARGV[3 * i + 1])
    local now_at, used, oldest, over = bucket_at(now, width), 0, nil, {}
    local all = redis.call('HGETALL', key)
    if #all == 0 and ARGV[3 * i + 2] == '1' then return {-1, i} end
    for j = 1, #all, 2 do
        local at, count = tonumber(all[j]), tonumber(all[j + 1])
        if at < now_at - kept then
            over[#over + 1] = all[j]
        elseif count > 0 then
            used = used + count
            if not oldest or at < oldest then oldest = at end
        end
    end
    if #over > 0 then redis.call('HDEL', key, unpack(over)) end
    rooms[i] = math.max(0, amount - used)
    if rooms[i] < grant or (rooms[i] == 0 and want > 0) then
        local free_in = oldest and (oldest + kept + 1) * width - now or width
        if rooms[i] < grant or free_in > wait then wait, tight = free_in, i end
        grant = rooms[i]
    end
end
if grant > 0 then
    for i, key in ipairs(KEYS) do
        local width = tonumber(ARGV[3 * i + 1])
        redis.call('HINCRBY', key, name(bucket_at(now, width)), grant)
        redis.call('PEXPIRE', key, width * (kept + 2))
    end
end
return {grant, tight, wait, now, unpack(rooms)}
"""
)

_GIVE_BACK = (
    _COUNT
    + """
local count, taken_at, again = tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4] == '1'
for i, key in ipairs(KEYS) do
    local width = tonumber(ARGV[i + 4])
    local before, after = bucket_at(taken_at, width), bucket_at(now, width)
    local has = tonumber(redis.call('HGET', key, name(before)) or 0)
    redis.call('HINCRBY', key, name(before), -math.min(has, count))
    if again then redis.call('HINCRBY', key, name(after), count) end
    redis.call('PEXPIRE', key, width * (kept + 2))
end
return now
"""
)

_LEARN = (
    _COUNT
    + """
local width = tonumber(ARGV[2])
redis.call('HINCRBY', KEYS[1], name(bucket_at(now, width)), 0)
for i = 3, #ARGV, 2 do
    local at = name(bucket_at(tonumber(ARGV[i]), width))
    local has = tonumber(redis.call('HGET', KEYS[1], at) or 0)
    if tonumber(ARGV[i + 1]) > has then redis.call('HSET', KEYS[1], at, ARGV[i + 1]) end
end
redis.call('PEXPIRE', KEYS[1], width * (kept + 2))
return now
"""
)


@dataclass(frozen=True, slots=True)
class Window:
    """One limit as it applies to one call."""

    key: str
    rate: RateLimitItem
    words: str
    """What it limits, as a sentence goes on: “SES takes 14 a second”."""
    scope: Mapping[str, Any] | None = None
    """The hand-offs that count here, as fields of `Handoff`; None: the journal does not know."""

    @property
    def amount(self) -> int:
        return self.rate.amount

    @property
    def seconds(self) -> int:
        return self.rate.get_expiry()

    @property
    def width_ms(self) -> int:
        """How long one part of it is."""
        return self.seconds * 1000 // BUCKETS

    @property
    def is_learnt(self) -> bool:
        """A window that nobody counts yet is filled from the journal, if that is worth it."""
        return self.scope is not None and self.seconds >= 60


@dataclass(frozen=True, slots=True)
class Taken:
    """How many were taken, from which windows, and when."""

    count: int
    windows: tuple[Window, ...] = ()
    at_ms: int = 0
    """By the clock of the store."""
    rooms: tuple[int, ...] = ()
    """Beside each window: what was left before."""
    tight: Window | None = None
    """Which window gave less than was asked for."""
    wait_s: float = 0.0
    """When that window will have room again."""
    by_all: bool = True
    """Counted in Redis; else by this process alone."""


class Unlearnt(Exception):
    """Redis counts nothing in this window: it is new, or Redis has lost it."""

    def __init__(self, window: Window) -> None:
        super().__init__(window.key)
        self.window = window


class RedisWindows:
    """Windows that all workers share. Every call is one round trip; raises redis.RedisError.

    The time is the server's, so the clocks of workers do not matter, unless `now_ms` says it.
    """

    def __init__(self, url: str, now_ms: Callable[[], int] = lambda: 0) -> None:
        self._now_ms = now_ms
        # Nobody waits long: without Redis each counts alone. Twice, for a connection may be old.
        once_more: Any = Retry(NoBackoff(), 1)
        self.store = RedisStorage(url, socket_connect_timeout=1, socket_timeout=2, retry=once_more)
        script = self.store.get_connection().register_script
        self._take, self._give_back = script(_TAKE.encode()), script(_GIVE_BACK.encode())
        self._learn = script(_LEARN.encode())

    def take(self, windows: Sequence[Window], want: int) -> Taken:
        """Take up to `want` from every window, as many from each. Raises Unlearnt."""
        args: list[int] = [self._now_ms(), want]
        for window in windows:
            args += (window.amount, window.width_ms, int(window.is_learnt))
        count, tight, *rest = self._take(_keys(windows), args)
        if count < 0:
            raise Unlearnt(windows[tight - 1])
        wait_ms, now_ms, *rooms = rest
        tightest = windows[tight - 1] if tight else None
        return Taken(count, tuple(windows), now_ms, tuple(rooms), tightest, wait_ms / 1000)

    def give_back(self, taken: Taken, count: int) -> None:
        """Make room again for so many that were not used."""
        self._put(taken, count, again=False)

    def renew(self, taken: Taken) -> int:
        """Let what was taken count as taken now; return the store's time in ms."""
        return self._put(taken, taken.count, again=True)

    def learn(self, window: Window, history: Mapping[int, int]) -> None:
        """Count at least what the journal knows: {moment in ms: how many}."""
        by_bucket: dict[int, int] = {}
        for moment, count in history.items():
            bucket = moment // window.width_ms
            by_bucket[bucket] = by_bucket.get(bucket, 0) + count
        args = [self._now_ms(), window.width_ms]
        for bucket, count in by_bucket.items():
            args += (bucket * window.width_ms, count)
        self._learn(_keys([window]), args)

    def _put(self, taken: Taken, count: int, *, again: bool) -> int:
        widths = [window.width_ms for window in taken.windows]
        args = [self._now_ms(), count, taken.at_ms, int(again), *widths]
        return int(self._give_back(_keys(taken.windows), args))


@dataclass(frozen=True, slots=True)
class Share:
    """Which part of every limit this process may use while nobody counts for all."""

    workers: int
    rank: int
    """0 for the oldest. What cannot be divided goes to the oldest ones."""

    def of(self, amount: int) -> int:
        each, rest = divmod(amount, self.workers)
        return each + (self.rank < rest)


class MemoryWindows:
    """The same for this process alone: its share of each window."""

    def __init__(self) -> None:
        self.store = MemoryStorage()
        self._others: dict[str, dict[int, int]] = {}
        """Key -> bucket -> what the journal knows of the time before this process counted."""
        self._lock = threading.Lock()

    def knows(self, window: Window) -> bool:
        """Say whether it has been told what was taken before."""
        return window.scope is None or window.key in self._others

    def learn(self, window: Window, history: Mapping[int, int]) -> None:
        """Take what the journal knows, {moment in ms: how many}, for what was taken until now."""
        by_bucket: dict[int, int] = {}
        for moment, count in history.items():
            bucket = moment // window.width_ms
            by_bucket[bucket] = by_bucket.get(bucket, 0) + count
        with self._lock:
            # Its own takes are in the journal too.
            for bucket in self._buckets(window, _now_ms()):
                self.store.clear(_name(window, bucket))
            self._others[window.key] = by_bucket

    def forget(self) -> None:
        """Learn everything anew at its next use."""
        with self._lock:
            self._others.clear()

    def take(self, windows: Sequence[Window], want: int, share: Share) -> Taken:
        """Take up to `want` from this process's share of every window."""
        with self._lock:
            now = _now_ms()
            seen = [self._room(window, now, share) for window in windows]
            rooms = tuple(room for room, _wait in seen)
            count = min(want, *rooms)
            for window in windows if count else ():
                name = _name(window, now // window.width_ms)
                self.store.incr(name, window.seconds + 2 * window.width_ms / 1000 + 1, count)
        if count == want:
            return Taken(count, tuple(windows), now, rooms, by_all=False)
        tight = max(range(len(windows)), key=lambda i: (-rooms[i], seen[i][1]))
        wait_s = seen[tight][1] / 1000
        return Taken(count, tuple(windows), now, rooms, windows[tight], wait_s, by_all=False)

    def give_back(self, taken: Taken, count: int) -> None:
        """Make room again for so many that were not used."""
        with self._lock:
            for window in taken.windows:
                self._put_back(window, taken.at_ms, count)

    def renew(self, taken: Taken) -> int:
        """Let what was taken count as taken now; return the time in ms."""
        with self._lock:
            now = _now_ms()
            for window in taken.windows:
                self._put_back(window, taken.at_ms, taken.count)
                name = _name(window, now // window.width_ms)
                expiry = window.seconds + 2 * window.width_ms / 1000 + 1
                self.store.incr(name, expiry, taken.count)
        return now

    def _put_back(self, window: Window, at_ms: int, count: int) -> None:
        name = _name(window, at_ms // window.width_ms)
        if self.store.get(name):
            self.store.decr(name, count)

    def _room(self, window: Window, now: int, share: Share) -> tuple[int, float]:
        """Return how many there is room for, and in how many ms there is more."""
        others = self._others.get(window.key, {})
        before, own, oldest = 0, 0, None
        for bucket in self._buckets(window, now):
            here = self.store.get(_name(window, bucket))
            before, own = before + others.get(bucket, 0), own + here
            if oldest is None and (here or others.get(bucket)):
                oldest = bucket
        room = max(0, share.of(max(0, window.amount - before)) - own)
        if oldest is None:
            return room, float(window.seconds * 1000)
        return room, float((oldest + KEPT + 1) * window.width_ms - now)

    def _buckets(self, window: Window, now: int) -> range:
        """Return the parts that count now, the oldest first."""
        bucket = now // window.width_ms
        return range(bucket - KEPT, bucket + 1)


def _keys(windows: Sequence[Window]) -> list[str]:
    return [f"{PREFIX}{window.key}" for window in windows]


def _name(window: Window, bucket: int) -> str:
    return f"{window.key}:{bucket}"


def _now_ms() -> int:
    return int(time.time() * 1000)
