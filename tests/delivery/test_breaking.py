"""The breaker of an account: one for all workers, and one call at a time that tries it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

import pytest
from django.db import connection
from django.utils import timezone

from delivery import breaking
from delivery.models import CircuitChange, Handoff, Message, ProviderAccount
from delivery.providers.base import OutcomeUnknown, ProviderError, Rejected, Unavailable
from delivery.sending import send_slice
from tests import make, scripted
from tests.scripted import Scripted

pytestmark = pytest.mark.django_db
NOW = make.NOW
LEASE = timedelta(minutes=1)


@pytest.fixture(autouse=True)
def _scripted(monkeypatch):
    scripted.install(monkeypatch)


def fail(account: ProviderAccount, times: int = 1, error: ProviderError | None = None) -> None:
    for _ in range(times):
        breaking.failed(account, error or Unavailable("503"), NOW)
    account.refresh_from_db()


def opened(account: ProviderAccount, error: ProviderError | None = None) -> ProviderAccount:
    fail(account, 1, error or OutcomeUnknown("silence"))
    assert account.circuit == "open"
    return account


def pause_of(account: ProviderAccount, now: datetime = NOW) -> float:
    account.refresh_from_db()
    assert account.cooling_until is not None
    return (account.cooling_until - now).total_seconds()


def test_one_failure_lets_others_come_first_and_three_in_a_row_open_the_breaker():
    account = make.account()

    fail(account)
    assert (account.circuit, pause_of(account)) == ("closed", 1)
    fail(account, 2)

    assert (account.circuit, pause_of(account)) == ("open", 5)
    assert account.circuit_reason == "3 calls in a row failed: 503"
    assert list(CircuitChange.objects.values_list("circuit", "reason")) == [
        ("open", "3 calls in a row failed: 503")
    ]


def test_a_success_in_between_begins_the_count_anew():
    account = make.account()
    fail(account, 2)

    breaking.succeeded(account, NOW)
    fail(account, 2)

    assert account.circuit == "closed"


@pytest.mark.parametrize(
    "error",
    [
        Unavailable("401", is_account_fault=True),
        Unavailable("down for maintenance", retry_after=timedelta(minutes=2)),
        OutcomeUnknown("silence"),
    ],
)
def test_what_cannot_pass_soon_or_puts_mail_in_doubt_opens_it_at_once(error):
    account = make.account()

    fail(account, 1, error)

    assert account.circuit == "open"


def test_a_fault_of_the_account_asks_for_somebody_and_a_wish_of_the_provider_is_kept():
    faulty, busy = make.account(), make.account()

    opened(faulty, Unavailable("401", is_account_fault=True))
    opened(busy, Unavailable("503", retry_after=timedelta(minutes=20)))

    assert (faulty.needs_attention, busy.needs_attention) == (True, False)
    assert pause_of(busy) == 1200


def test_throttling_alone_opens_nothing_unless_it_does_not_end():
    account = make.account()
    throttle = Unavailable("429", is_throttle=True, retry_after=timedelta(seconds=8))

    fail(account, breaking.THROTTLES - 1, throttle)
    assert (account.circuit, pause_of(account)) == ("closed", 8)
    fail(account, 1, throttle)

    assert account.circuit == "open"


@pytest.mark.parametrize(("failures", "circuit"), [(10, "closed"), (11, "open")])
def test_more_than_half_of_twenty_calls_in_a_minute_open_it_without_a_row(
    settings, failures, circuit
):
    settings.BREAKER_FAILURES = 1000
    account, campaign = make.account(), make.launched()
    for number in range(20 - 1):
        bad = number < failures - 1
        make.handoff(
            campaign,
            account,
            status="refused" if bad else "done",
            trouble="unavailable" if bad else "",
            started_at=NOW - timedelta(seconds=30),
            in_flight_at=NOW - timedelta(seconds=30),
            finished_at=NOW - timedelta(seconds=29),
        )

    fail(account)

    assert account.circuit == circuit


def test_after_its_pause_exactly_one_call_may_try_it_and_closes_it():
    account = opened(make.account())
    after = NOW + timedelta(seconds=5)

    assert not breaking.take_probe(account, LEASE, NOW)
    assert breaking.take_probe(account, LEASE, after)
    assert not breaking.take_probe(account, LEASE, after)
    breaking.succeeded(account, after, is_probe=True)

    account.refresh_from_db()
    assert (account.circuit, account.failures, account.cooling_until) == ("closed", 0, None)
    assert CircuitChange.objects.count() == 2


def test_a_probe_that_fails_opens_it_again_for_twice_as_long_up_to_five_minutes():
    account = opened(make.account())
    now, pauses = NOW, []

    for _ in range(8):
        now += timedelta(seconds=pause_of(account, now))
        assert breaking.take_probe(account, LEASE, now)
        breaking.failed(account, Unavailable("503"), now, is_probe=True)
        pauses.append(pause_of(account, now))

    assert pauses == [10, 20, 40, 80, 160, 300, 300, 300]
    assert account.circuit_since == NOW


def test_calls_that_began_before_it_opened_neither_close_it_nor_prolong_its_pause():
    account = opened(make.account())
    before = pause_of(account)

    fail(account, 5)
    breaking.succeeded(account, NOW)

    assert pause_of(account) == before
    assert account.circuit == "open"
    assert CircuitChange.objects.count() == 1


def test_a_probe_whose_worker_died_is_taken_over_once_its_lease_is_over():
    account = opened(make.account())
    after = NOW + timedelta(minutes=1)
    assert breaking.take_probe(account, LEASE, after)

    ProviderAccount.objects.update(probe_until=timezone.now() - timedelta(seconds=1))

    assert breaking.take_probe(account, LEASE, after)


def test_somebody_may_close_it_and_the_history_says_why():
    account = opened(make.account())

    assert breaking.close(account, "Reset by Ana.", NOW)
    assert not breaking.close(account, "Reset by Ana.", NOW)

    assert CircuitChange.objects.get(circuit="closed").reason == "Reset by Ana."


@pytest.mark.django_db(transaction=True)
def test_of_many_workers_at_once_one_gets_the_probe():
    account = opened(make.account())
    after = NOW + timedelta(minutes=1)

    def work(_: int) -> bool:
        try:
            return breaking.take_probe(account, LEASE, after)
        finally:
            connection.close()

    with ThreadPoolExecutor(8) as workers:
        taken = list(workers.map(work, range(32)))

    assert sum(taken) == 1


# --- In the sending loop --------------------------------------------------------------------


def due_again() -> None:
    ProviderAccount.objects.update(cooling_until=timezone.now() - timedelta(seconds=1))


def queue(people: int) -> None:
    campaign = make.launched()
    for _ in range(people):
        make.message(campaign)


@pytest.mark.django_db(transaction=True)
def test_a_provider_that_hangs_is_tried_with_one_mail_by_one_worker_at_a_time():
    account = scripted.account(batch_size=10)
    queue(100)
    Scripted.whole[account.pk] = scripted.raising(OutcomeUnknown("silence"))
    send_slice(5)
    assert Message.objects.filter(status="unknown").count() == 10
    due_again()

    def work(_: int) -> int:
        try:
            return send_slice(0.5)
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as workers:
        list(workers.map(work, range(4)))

    assert [len(batch.recipients) for batch in Scripted.calls[account.pk]] == [10, 1]
    assert Message.objects.filter(status="unknown").count() == 11


def test_a_probe_that_is_accepted_lets_everything_flow_again():
    account = scripted.account()
    queue(5)
    Scripted.whole[account.pk] = scripted.raising(Unavailable("401", is_account_fault=True))
    send_slice(5)
    Scripted.whole.clear()
    due_again()

    send_slice(5)

    account.refresh_from_db()
    assert set(Message.objects.values_list("status", flat=True)) == {"sent"}
    assert [len(batch.recipients) for batch in Scripted.calls[account.pk]] == [5, 1, 4]
    assert (account.circuit, account.needs_attention) == ("closed", False)
    assert Handoff.objects.order_by("pk")[1].reason["probe"] is True


def test_a_probe_with_nothing_to_send_is_given_back():
    account = scripted.account()
    queue(1)
    opened(account)
    due_again()
    Message.objects.update(due_at=timezone.now() + timedelta(hours=1))

    send_slice(1)
    assert breaking.take_probe(account, LEASE, timezone.now())


def test_a_probe_whose_mail_is_refused_shows_that_the_provider_works():
    account = scripted.account()
    queue(1)
    opened(account)
    due_again()
    Scripted.whole[account.pk] = scripted.raising(Rejected("400"))

    send_slice(5)

    account.refresh_from_db()
    assert account.circuit == "closed"
    assert Message.objects.get().status == "failed"
