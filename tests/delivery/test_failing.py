"""Rows of the failure matrix (docs/reliability.md) that belong to no single module."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
import time_machine
from django.db import DatabaseError, connection
from django.utils import timezone

from campaigns import launching
from campaigns.models import Campaign
from delivery import counting, expanding, tasks
from delivery.models import Handoff, Message, ProviderAccount
from delivery.providers import connections
from delivery.sandbox.config import Account, Config, Options
from delivery.sandbox.server import Sandbox
from delivery.sending import send_slice
from tests import make, scripted
from tests.scripted import Scripted

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _scripted(monkeypatch):
    scripted.install(monkeypatch)


def queued(people: int) -> Campaign:
    campaign = make.launched()
    for _ in range(people):
        make.message(campaign)
    return campaign


def scheduled(people: int) -> Campaign:
    newsletter = make.mailing_list()
    for _ in range(people):
        make.subscriber(lists=[newsletter])
    campaign = make.campaign([newsletter])
    now = timezone.now()
    launching.schedule(campaign, now + timedelta(seconds=1), now)
    return campaign


def everybody() -> Counter[str]:
    return Counter(Message.objects.values_list("status", flat=True))


# --- Tasks come twice, never, or late (F1, F3, F8, F16, F31, F32) --------------------------


def test_a_campaign_goes_out_although_nobody_was_told_to_send_it():
    account = scripted.account()
    scheduled(4)

    now = timezone.now() + timedelta(seconds=2)
    launching.start_due(now)
    expanding.expand_all(now)
    with time_machine.travel(now, tick=True):
        send_slice(seconds=5)

    assert len(Scripted.sent_to(account)) == 4


def test_every_task_may_run_again_and_nobody_gets_a_second_mail():
    account = scripted.account()
    newsletter = make.mailing_list()
    for _ in range(6):
        make.subscriber(lists=[newsletter])
    campaign = make.campaign([newsletter])
    launching.launch(campaign, timezone.now())

    for _ in range(3):
        for task in (tasks.advance_campaigns, tasks.send_marketing, tasks.sweep):
            task()

    assert sorted(Scripted.sent_to(account)) == sorted(
        Message.objects.values_list("email", flat=True)
    )
    assert everybody() == {"sent": 6}
    assert counting.rebuild(campaign.pk) == {}


def test_of_several_beats_one_starts_a_campaign():
    campaign = scheduled(2)
    due = timezone.now() + timedelta(seconds=2)

    def beat(_: int) -> int:
        try:
            return launching.start_due(due)
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as beats:
        started = list(beats.map(beat, range(4)))

    campaign.refresh_from_db()
    assert (sum(started), campaign.status) == (1, "sending")


def test_a_start_that_was_missed_for_an_hour_is_made_up_for_once():
    campaign = scheduled(2)
    late = timezone.now() + timedelta(hours=1)

    started = [launching.start_due(late), launching.start_due(late)]

    campaign.refresh_from_db()
    assert (started, campaign.status) == ([1, 0], "sending")


# --- The database refuses (F21, F44) -----------------------------------------------------


def test_a_database_that_cannot_be_written_to_lets_nobody_be_called():
    account = scripted.account()
    queued(3)
    with connection.cursor() as cursor:
        cursor.execute("SET default_transaction_read_only = on")

    with pytest.raises(DatabaseError):
        send_slice(seconds=1)

    with connection.cursor() as cursor:
        cursor.execute("SET default_transaction_read_only = off")
    assert Scripted.sent_to(account) == []
    assert everybody() == {"queued": 3}


FULL = """
CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION 'No space left on device' USING ERRCODE = '53100'; END $$;
CREATE TRIGGER full_disk BEFORE UPDATE ON delivery_handoff
    FOR EACH ROW WHEN (NEW.status = 'in_flight') EXECUTE FUNCTION full_disk();
"""


@pytest.fixture
def full_disk():
    with connection.cursor() as cursor:
        cursor.execute(FULL)
    yield
    with connection.cursor() as cursor:
        cursor.execute("DROP FUNCTION full_disk CASCADE")


def test_a_call_whose_beginning_cannot_be_written_down_is_not_made(full_disk):
    account = scripted.account()
    queued(3)

    with pytest.raises(DatabaseError, match="No space left"):
        send_slice(seconds=1)
    Handoff.objects.update(lease_until=timezone.now() - timedelta(seconds=1))
    Handoff.objects.sweep()

    assert Scripted.sent_to(account) == []
    assert everybody() == {"queued": 3}


def test_no_transaction_is_open_while_a_provider_is_called():
    account = scripted.account()
    queued(3)
    seen: list[bool] = []
    Scripted.whole[account.pk] = lambda _batch: seen.append(connection.in_atomic_block)

    send_slice(seconds=1)

    assert seen == [False]


# --- Wrong clocks (F28, F29) ---------------------------------------------------------------


@pytest.mark.parametrize("hours", [2, -2])
def test_a_worker_with_a_wrong_clock_neither_takes_the_living_for_dead_nor_keeps_the_dead(hours):
    account = scripted.account()
    campaign = queued(2)
    living, dead = list(Message.objects.order_by("pk"))
    handoffs = {"status": "in_flight", "size": 1}
    lease = timezone.now() + timedelta(seconds=30)
    for message, until in ((living, lease), (dead, timezone.now() - timedelta(seconds=1))):
        handoff = make.handoff(campaign, account, lease_until=until, **handoffs)
        Message.objects.filter(pk=message.pk).update(status="sending", handoff=handoff)

    with time_machine.travel(timezone.now() + timedelta(hours=hours)):
        tasks.sweep()

    living.refresh_from_db()
    dead.refresh_from_db()
    assert (living.status, dead.status) == ("sending", "unknown")


# --- A provider takes a call and does not say so (F22, F23, REL-2) -------------------------


@pytest.fixture
def sandbox(monkeypatch):
    monkeypatch.setattr("delivery.providers.sendgrid.TIMEOUT", (1, 0.5))
    accounts = [
        Account("first", "sendgrid", {"api_key": "SG.first"}),
        Account("second", "sendgrid", {"api_key": "SG.second"}),
    ]
    options = Options(bounce=0, soft_bounce=0, block=0, defer=0, drop=0)
    running = Sandbox(Config(accounts=accounts, options=options, port=0, smtp_port=None)).start()
    yield running
    running.stop()
    connections.close_all()


def account_at(sandbox: Sandbox, name: str) -> ProviderAccount:
    ours = {"api_key": f"SG.{name}", "api_url": f"{sandbox.url}/sendgrid/v3/"}
    return make.account(name, kind="sendgrid", config={}, secrets=ours, batch_size=10)


@pytest.mark.parametrize("fault", ["hang", "reset", "broken"])
def test_what_a_silent_provider_took_is_in_doubt_and_goes_to_no_other_one(sandbox, fault):
    for name in ("first", "second"):
        account_at(sandbox, name)
    campaign = queued(100)
    order = {"fault": fault, "calls": 1, "account": "first"}
    sandbox.call(lambda office: office.faults.order(order, {"first", "second"}))

    while send_slice(seconds=5):
        pass

    got = Counter(mail["recipient"] for mail in sandbox.messages(limit=1000))
    assert len(got) == 100
    assert max(got.values()) == 1
    assert everybody() == {"sent": 90, "unknown": 10}
    assert counting.rebuild(campaign.pk) == {}
