"""Appliers killed with SIGKILL, Redis emptied: what was answered with 200 is applied, once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta

import pytest
import redis
from celery import current_app
from django.conf import settings
from django.core.cache import cache
from django.db import connection, connections
from django.test import Client
from django.utils import timezone

from campaigns.models import Campaign
from delivery import counting
from delivery.models import CampaignStat, Message
from tests import make
from tests.delivery.test_crash import worker as dispatcher
from tests.webhooks.esp import Esp, esp, sendgrid_event
from tests.webhooks.test_applying import mailed
from webhooks import comparing, tasks
from webhooks.models import Event, RawRequest, WebhookCount

pytestmark = [pytest.mark.crash, pytest.mark.django_db(transaction=True)]

MESSAGES = 40
POSTS = 6
"""Of each round; every one tells of all messages, and the last one comes twice."""
KINDS = ("delivered", "open", "click")
PATIENCE_S = 180
"""Long enough for a machine that has other things to do: a worker starts in 2 to 40 seconds."""
LOCKS = {
    Message: "SELECT 1 FROM delivery_message WHERE id = %s FOR UPDATE",
    CampaignStat: "SELECT 1 FROM delivery_campaignstat WHERE id = %s FOR UPDATE",
}
OWN_REDIS = settings.REDIS_URL.partition("?")[0] + "?db=11"
"""Emptied at will: what other tests keep is in another database."""
BROKER = OWN_REDIS.replace("unix:", "redis+socket:").replace("?db=", "?virtual_host=")


def celery_worker() -> subprocess.Popen[bytes]:
    """A Celery worker that applies events when it is told to."""
    database = connection.settings_dict
    url = f"postgres://{database['USER']}@/{database['NAME']}?host={database['HOST']}"
    argv = ["celery", "-A", "emailplatform", "worker", "-Q", "events", "--pool", "solo"]
    return subprocess.Popen(
        [sys.executable, "-m", *argv, "--loglevel", "error"],
        cwd=settings.BASE_DIR,
        env={
            **os.environ,
            "DATABASE_URL": url,
            "REDIS_URL": OWN_REDIS,
            "CELERY_BROKER_URL": BROKER,
            "LOCAL": "on",
            "VAR_DIR": str(settings.VAR_DIR),
        },
        stdout=subprocess.DEVNULL,
    )


def tick() -> None:
    """Do what beat does every two seconds."""
    with current_app.connection_for_write(BROKER) as broker:
        tasks.apply_events.apply_async(connection=broker)  # type: ignore[call-arg]  # Not in the stubs.


def flush() -> None:
    """Empty Redis: the tasks that wait in it, and every limit and cache."""
    with redis.Redis.from_url(OWN_REDIS) as client:
        client.flushdb()
    cache.clear()


def until(is_so: Callable[[], bool], otherwise: str, meanwhile: Callable[[], None]) -> None:
    stop_at = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < stop_at, otherwise
        meanwhile()
        time.sleep(0.05)


def post(provider: Esp, messages: Sequence[Message], number: int) -> int:
    """Post one round through the public URL; return how many events were told the first time."""
    at = timezone.now() - timedelta(minutes=3 * number)
    for _ in range(POSTS):
        event = KINDS[number % len(KINDS)]
        body = [sendgrid_event(message, event, at) for message in messages]
        assert provider.post(Client(), body).status_code == 200
    assert provider.post(Client(), body).status_code == 200
    return POSTS * len(messages)


@contextmanager
def held(row: Message | CampaignStat) -> Iterator[None]:
    """Lock a row that applying needs, on a connection of its own."""
    other = connections.create_connection("default")
    try:
        with other.cursor() as cursor:
            cursor.execute("BEGIN")
            cursor.execute(LOCKS[type(row)], [row.pk])
            yield
            cursor.execute("ROLLBACK")
    finally:
        other.close()


def is_blocked() -> bool:
    """Say whether somebody is in the middle of applying, and waits for the row that is held."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
            " AND wait_event_type = 'Lock' AND xact_start IS NOT NULL"
        )
        (number,) = cursor.fetchone() or (0,)
    return bool(number)


def kill_in_the_middle(
    start: Callable[[], subprocess.Popen[bytes]],
    row: Message | CampaignStat,
    meanwhile: Callable[[], None],
    processes: list[subprocess.Popen[bytes]],
) -> None:
    """Start an applier and kill it when its events are inserted and nothing is committed."""
    before = Event.objects.count()
    with held(row):
        applier = start()
        processes.append(applier)
        until(is_blocked, "Nobody applies anything.", meanwhile)
        flush()
        os.kill(applier.pid, signal.SIGKILL)
        applier.wait()
    assert Event.objects.count() == before, "It was killed too late: all was committed."


@pytest.fixture
def processes() -> Iterator[list[subprocess.Popen[bytes]]]:
    """What the test starts; whatever runs at its end is killed."""
    started: list[subprocess.Popen[bytes]] = []
    yield started
    for each in started:
        each.kill()
        each.wait()


@pytest.mark.parametrize("by", ["dispatch", "Celery"])
def test_killed_appliers_and_an_emptied_redis_lose_nothing_and_double_nothing(by, processes):
    provider, campaign = esp("sendgrid"), make.launched()
    Campaign.objects.update(status="sent")
    messages = [mailed(provider.account, campaign) for _ in range(MESSAGES)]
    counting.rebuild(campaign.pk)
    start, meanwhile = {
        "dispatch": (dispatcher, lambda: None),
        "Celery": (celery_worker, tick),
    }[by]
    told, killed, sent_at = 0, 0, CampaignStat.objects.get()

    for row in (messages[7], sent_at, messages[0], sent_at):
        told += post(provider, messages, killed)
        flush()
        kill_in_the_middle(start, row, meanwhile, processes)
        killed += 1
    told += post(provider, messages, killed)
    last = start()
    processes.append(last)
    pending = RawRequest.objects.filter(status="pending")
    until(lambda: not pending.exists(), "Something is never applied.", meanwhile)
    last.terminate()
    assert last.wait(timeout=PATIENCE_S) == 0

    assert RawRequest.objects.filter(status="applied").count() == (POSTS + 1) * (killed + 1)
    assert Event.objects.count() == told == POSTS * MESSAGES * (killed + 1)
    new = WebhookCount.objects.filter(outcome="new").values_list("requests", flat=True)
    assert sum(new) == told
    assert Message.objects.exclude(clicked_at=None).count() == MESSAGES
    found = comparing.compare()
    assert (found.counters, found.messages) == ([], [])
    assert counting.rebuild(campaign.pk) == {}
