"""Real workers killed with SIGKILL in the middle of a send: nothing lost, nothing doubled."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from datetime import timedelta

import pytest
from django.conf import settings
from django.db import connection
from django.utils import timezone

from campaigns.models import Campaign
from delivery import expanding
from delivery.models import Handoff, Message, ProviderAccount
from delivery.sandbox.config import Account, Config, Options
from delivery.sandbox.server import Sandbox
from tests import make

pytestmark = [pytest.mark.crash, pytest.mark.django_db(transaction=True)]

PEOPLE = 300
KILLS = 3
BATCH = 10


@pytest.fixture
def sandbox():
    accounts = [
        Account("sendgrid", "sendgrid", {"api_key": "SG.key"}),
        Account("postmark", "postmark", {"server_token": "token"}),
        Account("smtp", "smtp", {"username": "user", "password": "secret"}),
    ]
    options = Options(answer_latency=0.02, bounce=0, soft_bounce=0, block=0, defer=0, drop=0)
    running = Sandbox(Config(accounts=accounts, options=options, port=0, smtp_port=0)).start()
    yield running
    running.stop()


def account_at(sandbox: Sandbox, kind: str) -> ProviderAccount:
    ours = {
        "sendgrid": {"api_key": "SG.key", "api_url": f"{sandbox.url}/sendgrid/v3/"},
        "postmark": {"server_token": "token", "api_url": f"{sandbox.url}/postmark/"},
        "smtp": {
            "host": "127.0.0.1",
            "port": str(sandbox.smtp_port),
            "username": "user",
            "password": "secret",
            "security": "none",
        },
    }[kind]
    return make.account(kind, kind=kind, config={}, secrets=ours, batch_size=BATCH)


def campaign_to(people: int) -> Campaign:
    newsletter = make.mailing_list()
    everybody = [make.subscriber(lists=[newsletter]) for _ in range(people)]
    campaign = make.launched([newsletter])
    campaign.audience["highest"] = everybody[-1].pk
    campaign.save()
    while expanding.expand_chunk(campaign, timezone.now()):
        pass
    return campaign


def worker() -> subprocess.Popen[bytes]:
    """A sending process of its own, on the test's database."""
    database = connection.settings_dict
    host = database["HOST"]
    url = f"postgres://{database['USER']}@/{database['NAME']}?host={host}"
    if not host.startswith("/"):
        url = f"postgres://{database['USER']}:{database['PASSWORD']}@{host}:{database['PORT']}/{database['NAME']}"
    return subprocess.Popen(
        [sys.executable, "manage.py", "dispatch", "--slice", "0.5"],
        cwd=settings.BASE_DIR,
        env={
            **os.environ,
            "DATABASE_URL": url,
            "LOCAL": "on",
            "VAR_DIR": str(settings.VAR_DIR),
        },
        stdout=subprocess.DEVNULL,
    )


def wait_until_sent(more_than: int, seconds: float = 60) -> None:
    stop_at = time.monotonic() + seconds
    while Message.objects.filter(status="sent").count() <= more_than:
        assert time.monotonic() < stop_at, "The workers send nothing."
        time.sleep(0.01)


def kill_in_the_middle(workers: list[subprocess.Popen[bytes]], sent: int, dice: random.Random):
    """Kill with SIGKILL shortly after something went out, so calls are under way."""
    wait_until_sent(sent)
    time.sleep(dice.uniform(0.0, 0.03))
    for each in workers:
        os.kill(each.pid, signal.SIGKILL)
        each.wait()


@pytest.mark.parametrize("kind", ["sendgrid", "postmark", "smtp"])
def test_workers_killed_again_and_again_neither_lose_nor_double_a_mail(sandbox, kind):
    dice = random.Random(kind)
    account_at(sandbox, kind)
    campaign = campaign_to(PEOPLE)

    for _ in range(KILLS):
        workers = [worker(), worker()]
        kill_in_the_middle(workers, Message.objects.filter(status="sent").count() + 10, dice)
        # The dead keep their leases; the test does not wait for those to run out.
        Handoff.objects.filter(status__in=["preparing", "in_flight"]).update(
            lease_until=timezone.now() - timedelta(seconds=1)
        )
    last = worker()
    wait_for_end(campaign)
    last.terminate()
    assert last.wait(timeout=30) == 0

    got = Counter(mail["to"] for mail in everything_in(sandbox))
    status_of = dict(Message.objects.values_list("email", "status"))
    assert set(status_of.values()) <= {"sent", "unknown"}
    assert len(status_of) == PEOPLE
    assert max(got.values()) == 1, "somebody got it twice"
    lost = [email for email, status in status_of.items() if status == "sent" and not got[email]]
    assert lost == []
    in_doubt = sum(status == "unknown" for status in status_of.values())
    assert in_doubt <= KILLS * 2 * BATCH
    assert in_doubt + sum(status == "sent" for status in status_of.values()) == PEOPLE


def wait_for_end(campaign: Campaign, seconds: float = 90) -> None:
    stop_at = time.monotonic() + seconds
    while campaign.status != "sent":
        assert time.monotonic() < stop_at, "The campaign does not end."
        time.sleep(0.1)
        campaign.refresh_from_db()


def everything_in(sandbox: Sandbox) -> list[dict]:
    mails: list[dict] = []
    while page := sandbox.messages(after=mails[-1]["id"] if mails else 0, limit=200):
        mails += page
    return mails


def test_a_worker_goes_on_when_the_database_was_gone_for_a_moment(sandbox):
    account_at(sandbox, "sendgrid")
    campaign = campaign_to(PEOPLE)
    running = worker()

    for round_ in range(3):
        wait_until_sent(round_ * 80)
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
    wait_for_end(campaign)
    running.terminate()

    assert running.wait(timeout=30) == 0
    got = Counter(mail["to"] for mail in everything_in(sandbox))
    assert (len(got), max(got.values())) == (PEOPLE, 1)
    assert set(Message.objects.values_list("status", flat=True)) == {"sent"}


def test_workers_that_are_asked_to_stop_leave_nothing_in_doubt(sandbox):
    account_at(sandbox, "sendgrid")
    campaign = campaign_to(PEOPLE)

    for _ in range(3):
        running = worker()
        wait_until_sent(Message.objects.filter(status="sent").count() + 20)
        running.terminate()
        assert running.wait(timeout=30) == 0
    assert not Handoff.objects.filter(status__in=["preparing", "in_flight"]).exists()
    last = worker()
    wait_for_end(campaign)
    last.terminate()
    last.wait(timeout=30)

    got = Counter(mail["to"] for mail in everything_in(sandbox))
    assert (len(got), max(got.values())) == (PEOPLE, 1)
    assert set(Message.objects.values_list("status", flat=True)) == {"sent"}
