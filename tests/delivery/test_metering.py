"""Limits while Redis is stopped and started, and limits of many processes: real servers."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.conf import settings
from django.db import connection
from django.utils import timezone

from delivery import attending, limiting, metering
from delivery.attending import Attendance
from delivery.lanes import Lane
from delivery.metering import Meter
from delivery.models import Handoff, Message, Worker
from delivery.sandbox.config import Account, Config, Options
from delivery.sandbox.server import Sandbox
from tests import make
from tests.serving import OwnRedis

LANE = Lane("marketing", "gmail")


@pytest.fixture
def redis() -> Iterator[OwnRedis]:
    server = OwnRedis()
    server.start()
    yield server
    server.remove()


@pytest.fixture
def meter(redis, db, monkeypatch) -> Meter:
    """One that waits for nobody: this process is alone, and Redis is looked for all the time."""
    monkeypatch.setattr(attending, "JOIN_S", 0.0)
    monkeypatch.setattr(attending, "LOOK_EVERY_S", 0.0)
    monkeypatch.setattr(metering, "RETRY_S", 0.0)
    limiting.forget()
    return Meter(redis.url, Attendance("test"))


def handed_over(account, size: int, ago: timedelta) -> Handoff:
    """A call of the past, as the journal has it."""
    moment = timezone.now() - ago
    return make.handoff(
        make.campaign(),
        account,
        status="done",
        size=size,
        accepted=size,
        started_at=moment,
        in_flight_at=moment,
    )


def hour_of(account) -> list:
    return limiting.windows_of(account, LANE, timezone.now())


def test_sending_goes_on_within_the_limit_while_redis_is_stopped(meter, redis):
    account = make.account(limit_per_hour=10)
    assert meter.take(hour_of(account), 4).count == 4
    handed_over(account, 4, ago=timedelta(seconds=1))

    redis.stop()

    taken = meter.take(hour_of(account), 100)
    assert (taken.count, taken.by_all) == (6, False), "what was used before is in the journal"
    assert meter.take(hour_of(account), 1).count == 0


def test_redis_that_is_back_and_empty_learns_what_was_sent_without_it(meter, redis):
    account = make.account(limit_per_hour=10)
    redis.stop()
    assert meter.take(hour_of(account), 7).count == 7
    handed_over(account, 7, ago=timedelta(seconds=1))

    redis.start()
    give_up_at = time.monotonic() + 10
    while not meter.has_redis():
        assert time.monotonic() < give_up_at, "It does not find Redis again."

    taken = meter.take(hour_of(account), 100)
    assert (taken.count, taken.by_all) == (3, True)


def test_an_emptied_redis_learns_the_hour_from_the_journal(meter, redis):
    account = make.account(limit_per_hour=10)
    handed_over(account, 4, ago=timedelta(minutes=30))
    handed_over(account, 50, ago=timedelta(minutes=90))

    assert meter.take(hour_of(account), 100).count == 6


def test_each_of_several_workers_takes_its_share_of_what_is_left(meter, redis):
    account = make.account(limit_per_hour=10)
    handed_over(account, 4, ago=timedelta(minutes=30))
    for number in range(2):
        Worker.objects.create(name=f"other:{number}", kind="test", streams=[], host="x", pid=1)
    redis.stop()

    assert meter.take(hour_of(account), 100).count == 2


def test_a_worker_that_dies_leaves_its_share_to_the_others(meter, redis):
    account = make.account(limit_per_hour=10)
    other = Worker.objects.create(name="other", kind="test", streams=[], host="x", pid=1)
    redis.stop()
    assert meter.take(hour_of(account), 100).count == 5
    handed_over(account, 5, ago=timedelta(seconds=1))
    handed_over(account, 3, ago=timedelta(seconds=1))

    Worker.objects.filter(pk=other.pk).update(seen_at=timezone.now() - timedelta(minutes=1))

    assert meter.take(hour_of(account), 100).count == 2


def test_a_process_that_the_others_do_not_know_yet_takes_no_share(redis, db, monkeypatch):
    monkeypatch.setattr(metering, "RETRY_S", 0.0)
    redis.stop()

    account = make.account(limit_per_hour=10)
    assert Meter(redis.url, Attendance("test")).take(hour_of(account), 5).count == 0


def test_that_redis_is_away_is_said_once_a_minute_and_shown(meter, redis, caplog):
    redis.stop()
    for _ in range(5):
        meter.take(hour_of(make.account(limit_per_hour=10)), 1)
    assert not meter.has_redis()

    said = [
        record.getMessage()
        for record in caplog.records
        if "Redis is away" in record.msg % record.args
    ]
    assert len(said) == 1


# --- Many processes --------------------------------------------------------------------------

pytest_many = pytest.mark.django_db(transaction=True)
PER_SECOND, PER_HOUR, PER_DAY = 20, 50, 45
PEOPLE = 220


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    accounts = [Account("sendgrid", "sendgrid", {"api_key": "SG.key"})]
    options = Options(answer_latency=0.01, bounce=0, soft_bounce=0, block=0, defer=0, drop=0)
    running = Sandbox(Config(accounts=accounts, options=options, port=0, smtp_port=0)).start()
    yield running
    running.stop()


def worker(redis_url: str) -> subprocess.Popen[bytes]:
    """A sending process of its own, on the test's database."""
    database = connection.settings_dict
    host = database["HOST"]
    url = f"postgres://{database['USER']}@/{database['NAME']}?host={host}"
    if not host.startswith("/"):
        place = f"{host}:{database['PORT']}/{database['NAME']}"
        url = f"postgres://{database['USER']}:{database['PASSWORD']}@{place}"
    return subprocess.Popen(
        [sys.executable, "manage.py", "dispatch", "--slice", "1"],
        cwd=settings.BASE_DIR,
        env={
            **os.environ,
            "DATABASE_URL": url,
            "REDIS_URL": redis_url,
            "LOCAL": "on",
            "VAR_DIR": str(settings.VAR_DIR),
        },
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def account_at(sandbox: Sandbox, name: str, **fields):
    secrets = {"api_key": "SG.key", "api_url": f"{sandbox.url}/sendgrid/v3/"}
    return make.account(name, config={}, secrets=secrets, batch_size=10, **fields)


def calls_of(account) -> list[tuple[float, int]]:
    """When each call began, by the database's clock, and how many messages it carried."""
    rows = Handoff.objects.filter(provider=account, in_flight_at__isnull=False)
    return [(at.timestamp(), size) for at, size in rows.values_list("in_flight_at", "size") if at]


def most_within(calls: list[tuple[float, int]], seconds: float) -> int:
    return max(
        sum(size for at, size in calls if begin <= at < begin + seconds) for begin, _ in calls
    )


@pytest_many
@pytest.mark.parametrize("has_redis", [True, False], ids=["with Redis", "without Redis"])
def test_four_worker_processes_exceed_no_limit_together(sandbox, redis, has_redis):
    if not has_redis:
        redis.stop()
    by_second = account_at(sandbox, "by second", limit_per_second=PER_SECOND, streams=["marketing"])
    by_hour = account_at(sandbox, "by hour", limit_per_hour=PER_HOUR)
    by_day = account_at(sandbox, "by day", limit_per_day=PER_DAY)
    campaign = make.launched()
    campaign.audience["highest"] = 0
    campaign.save()
    for _ in range(PEOPLE):
        make.message(campaign)

    workers = [worker(redis.url) for _ in range(4)]
    try:
        give_up_at = time.monotonic() + 90
        while Message.objects.filter(status="sent").count() < PEOPLE:
            assert time.monotonic() < give_up_at, "The workers send nothing."
            time.sleep(0.2)
        said = set(Worker.objects.live().values_list("kind", "has_redis"))
    finally:
        for each in workers:
            each.terminate()
        for each in workers:
            each.wait(30)

    assert said == {("dispatch", has_redis)}
    assert Worker.objects.count() == 4
    assert sum(size for _, size in calls_of(by_hour)) <= PER_HOUR
    assert sum(size for _, size in calls_of(by_day)) <= PER_DAY
    assert most_within(calls_of(by_second), 1.0) <= PER_SECOND
    if has_redis:
        assert sum(size for _, size in calls_of(by_hour)) == PER_HOUR, "and what is there is used"
