"""What a provider said survives a database that is away for a while."""

from __future__ import annotations

from datetime import timedelta

import psycopg
import pytest
from django.conf import settings
from django.db import OperationalError, connection
from django.utils import timezone

from delivery import counting, journaling
from delivery.models import Handoff, Message
from delivery.providers.base import Recipient, Rejected, Result, Unavailable
from delivery.querysets import Outcome
from delivery.sending import send_slice
from tests import make, scripted
from tests.scripted import Scripted

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _scripted(monkeypatch):
    scripted.install(monkeypatch)


def campaign_with(people: int):
    row = make.launched()
    for _ in range(people):
        make.message(row)
    return row


def cut_us_off() -> None:
    """Do to our connection what a restart of PostgreSQL does."""
    info = connection.connection.info
    ours = {"host": info.host, "port": info.port, "user": info.user, "dbname": info.dbname}
    with psycopg.connect(**ours, password=info.password, autocommit=True) as other:
        other.execute("SELECT pg_terminate_backend(%s, 5000)", [info.backend_pid])


def cutting_us_off_once():
    """Accept everybody; the first answer finds the database gone."""
    told: list[Recipient] = []

    def answer(recipient: Recipient) -> Result | None:
        if not told:
            cut_us_off()
        told.append(recipient)
        return scripted.accept(recipient)

    return answer


def test_answers_are_written_once_the_database_is_back(monkeypatch):
    account = scripted.account()
    campaign = campaign_with(5)
    Scripted.answer[account.pk] = cutting_us_off_once()

    send_slice(seconds=5)

    assert Message.objects.filter(status="sent").count() == 5
    assert Handoff.objects.get().status == "done"
    assert len(Scripted.sent_to(account)) == 5
    assert counting.rebuild(campaign.pk) == {}, "what was written twice would count twice"


def test_a_refusal_to_take_mail_now_is_written_once_the_database_is_back():
    account = scripted.account()
    campaign_with(3)

    def fail(_batch):
        cut_us_off()
        raise Unavailable("Down for maintenance.")

    Scripted.whole[account.pk] = fail

    send_slice(seconds=0.1)

    assert set(Message.objects.values_list("status", flat=True)) == {"queued"}
    account.refresh_from_db()
    assert account.last_error == "Down for maintenance."


def test_a_refusal_for_good_is_written_once_the_database_is_back():
    account = scripted.account(batch_size=1)
    campaign_with(1)

    def refuse(_batch):
        cut_us_off()
        raise Rejected("No such user.")

    Scripted.whole[account.pk] = refuse

    send_slice(seconds=1)

    assert set(Message.objects.values_list("status", flat=True)) == {"failed"}
    assert Handoff.objects.get().status == "refused"


def test_when_it_stays_away_the_answers_are_in_doubt_and_never_sent_again(monkeypatch):
    monkeypatch.setattr(journaling, "PATIENCE_S", 0.0)
    account = scripted.account()
    campaign_with(4)
    Scripted.answer[account.pk] = cutting_us_off_once()

    with pytest.raises(OperationalError):
        send_slice(seconds=5)
    connection.close()
    Handoff.objects.update(lease_until=timezone.now() - timedelta(seconds=1))
    Handoff.objects.sweep()
    send_slice(seconds=1)

    assert set(Message.objects.values_list("status", flat=True)) == {"unknown"}
    assert len(Scripted.sent_to(account)) == 4


def test_what_was_committed_without_an_answer_is_not_counted_twice():
    account = scripted.account()
    campaign = campaign_with(2)
    Scripted.answer[account.pk] = scripted.accept
    calls: list[int] = []

    def write() -> int:
        written = Message.objects.record(handoff.pk, outcomes, timezone.now())
        calls.append(written)
        if len(calls) == 1:
            cut_us_off()
            raise OperationalError("server closed the connection unexpectedly")
        return written

    handoff = make.handoff(campaign, account, status="in_flight")
    Message.objects.update(status="sending", handoff=handoff, provider=account)
    outcomes = [Outcome(pk, "sent") for pk in Message.objects.values_list("pk", flat=True)]

    journaling.insist(write)

    assert calls == [2, 0]
    assert counting.rebuild(campaign.pk) == {}


def test_the_patience_is_longer_than_a_restart_of_postgresql():
    assert journaling.PATIENCE_S >= 300
    assert settings.DATABASES["default"]["OPTIONS"]["connect_timeout"] <= 10
