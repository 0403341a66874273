"""Windows that move with the time: never more than the amount in any stretch of their length."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import time_machine
from django.conf import settings
from hypothesis import HealthCheck, given, strategies
from hypothesis import settings as hypothesis_settings
from limits import RateLimitItemPerHour, RateLimitItemPerSecond

from delivery.windows import MemoryWindows, RedisWindows, Share, Taken, Unlearnt, Window

START_MS = 1_790_000_000_000
ALONE = Share(workers=1, rank=0)
_names = iter(range(1_000_000))


class Clock:
    def __init__(self) -> None:
        self.ms = START_MS

    def __call__(self) -> int:
        return self.ms


class Shared:
    """Windows in Redis, at a time that the test says."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.windows = RedisWindows(settings.REDIS_URL, self.clock)
        self.give_back, self.renew = self.windows.give_back, self.windows.renew

    def pass_ms(self, ms: int) -> None:
        self.clock.ms += ms

    def take(self, windows: list[Window], want: int) -> Taken:
        return self.windows.take(windows, want)


class Alone:
    """Windows of one process, at a time that the test says."""

    def __init__(self, traveller: time_machine.Traveller, share: Share = ALONE) -> None:
        self.windows, self.share = MemoryWindows(), share
        self.give_back, self.renew = self.windows.give_back, self.windows.renew
        self.pass_ms = lambda ms: traveller.shift(ms / 1000)

    def take(self, windows: list[Window], want: int) -> Taken:
        return self.windows.take(windows, want, self.share)


@pytest.fixture(params=["redis", "memory"])
def counts(request):
    if request.param == "redis":
        yield Shared()
        return
    with time_machine.travel(START_MS / 1000, tick=False) as traveller:
        yield Alone(traveller)


def window(rate=None, key: str = "") -> Window:
    """A window that nobody has counted in before, whatever Redis remembers of other runs."""
    key = key or f"test:{time.monotonic_ns()}:{next(_names)}"
    return Window(key, rate or RateLimitItemPerSecond(10), "ten a second")


def test_as_many_are_taken_as_there_is_room_for(counts):
    ten = window()

    assert counts.take([ten], 7).count == 7
    second = counts.take([ten], 7)

    assert (second.count, second.tight, second.rooms) == (3, ten, (3,))
    assert counts.take([ten], 7).count == 0


def test_the_tightest_of_several_windows_decides_for_all_of_them(counts):
    ten, five = window(), window(RateLimitItemPerHour(5))

    taken = counts.take([ten, five], 8)

    assert (taken.count, taken.tight) == (5, five)
    assert counts.take([ten], 10).count == 5, "what the other did not give was not taken here"


def test_room_comes_back_after_the_length_of_the_window_and_is_announced(counts):
    ten = window()
    counts.take([ten], 10)

    refused = counts.take([ten], 1)
    assert 1.0 < refused.wait_s <= 1.06
    counts.pass_ms(1000)
    assert counts.take([ten], 10).count == 0, "a whole second has not passed for the provider"
    counts.pass_ms(60)
    assert counts.take([ten], 10).count == 10


def test_what_is_given_back_can_be_taken_again(counts):
    ten = window()
    taken = counts.take([ten], 10)

    counts.give_back(taken, 4)

    assert counts.take([ten], 10).count == 4


def test_nothing_is_given_back_that_counts_no_more(counts):
    ten = window()
    taken = counts.take([ten], 10)
    counts.pass_ms(5000)

    counts.give_back(taken, 10)

    assert counts.take([ten], 100).count == 10


def test_a_call_that_begins_late_counts_from_its_beginning(counts):
    ten = window()
    taken = counts.take([ten], 10)
    counts.pass_ms(900)

    counts.renew(taken)

    counts.pass_ms(900)
    assert counts.take([ten], 1).count == 0
    counts.pass_ms(160)
    assert counts.take([ten], 10).count == 10


steps = strategies.lists(
    strategies.tuples(
        strategies.sampled_from([0, 1, 7, 24, 25, 26, 130, 499, 975, 999, 1000, 1001, 1049]),
        strategies.integers(1, 14),
        strategies.integers(0, 3),
    ),
    max_size=40,
)


@hypothesis_settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(steps=steps, amount=strategies.integers(1, 12))
def test_no_second_ever_holds_more_than_its_amount(counts, steps, amount):
    limit = window(RateLimitItemPerSecond(amount))
    sent: list[tuple[int, int]] = []
    now = 0

    for pause_ms, want, unused in steps:
        counts.pass_ms(pause_ms)
        now += pause_ms
        taken = counts.take([limit], want)
        back = min(unused, taken.count)
        if back:
            counts.give_back(taken, back)
        sent.append((now, taken.count - back))

    for begin, _ in sent:
        assert sum(count for at, count in sent if begin <= at < begin + 1000) <= amount


@hypothesis_settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    steps=strategies.lists(
        strategies.tuples(
            strategies.integers(0, 400), strategies.integers(0, 4), strategies.integers(1, 20)
        ),
        max_size=40,
    ),
    amount=strategies.integers(1, 30),
    workers=strategies.integers(1, 5),
)
def test_workers_without_redis_stay_below_the_limit_together(steps, amount, workers):
    limit = window(RateLimitItemPerSecond(amount))
    sent: list[tuple[int, int]] = []
    now = 0

    with time_machine.travel(START_MS / 1000, tick=False) as traveller:
        each = [Alone(traveller, Share(workers, rank)) for rank in range(workers)]
        for pause_ms, who, want in steps:
            traveller.shift(pause_ms / 1000)
            now += pause_ms
            sent.append((now, each[who % workers].take([limit], want).count))

    for begin, _ in sent:
        assert sum(count for at, count in sent if begin <= at < begin + 1000) <= amount


def test_shares_add_up_to_the_whole_and_the_oldest_has_the_rest():
    shares = [Share(4, rank).of(10) for rank in range(4)]

    assert shares == [3, 3, 2, 2]
    assert [Share(4, rank).of(1) for rank in range(4)] == [1, 0, 0, 0]


def test_threads_that_take_at_once_never_get_more_than_there_is(counts):
    hundred = window(RateLimitItemPerHour(100))
    start = threading.Barrier(8)

    def take(_: int) -> int:
        start.wait()
        return sum(counts.take([hundred], 7).count for _ in range(4))

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(take, range(8))) == 100


def test_a_window_that_redis_does_not_know_is_learnt_from_the_journal_first():
    shared = Shared()
    key = f"test:{time.monotonic_ns()}"
    hour = Window(key, RateLimitItemPerHour(100), "a hundred an hour", scope={"provider_id": 1})

    with pytest.raises(Unlearnt):
        shared.take([hour], 10)
    shared.windows.learn(hour, {START_MS - 1_800_000: 80, START_MS - 7_200_000: 500})

    assert shared.take([hour], 50).count == 20


def test_what_others_used_before_is_taken_off_the_whole_before_it_is_shared():
    with time_machine.travel(START_MS / 1000, tick=False) as traveller:
        alone = Alone(traveller, Share(2, 0))
        hour = Window("test:before", RateLimitItemPerHour(100), "", scope={"provider_id": 1})
        assert not alone.windows.knows(hour)

        alone.windows.learn(hour, {START_MS - 1_800_000: 60})

        assert alone.take([hour], 100).count == 20
        alone.pass_ms(1_800_000 + 180_000)
        assert alone.take([hour], 100).count == 30, "the sixty count no more"
