"""What is known of every hand-off a message was in."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from delivery import resending, tracing
from delivery.models import Attempt, Handoff, Message
from delivery.providers.base import OutcomeUnknown, Rejected, Result, Unavailable, Verdict
from delivery.querysets import Outcome
from delivery.sending import send_slice
from tests import make, scripted
from tests.scripted import Scripted

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _scripted(monkeypatch):
    scripted.install(monkeypatch)


def told_of(message: Message) -> list[tuple[str, str, str]]:
    message.refresh_from_db()
    return [(str(each.provider), each.label, each.error) for each in tracing.trace(message).tries]


def test_mail_that_the_first_call_took_needs_no_record_beside_the_journal():
    message = make.message(make.launched())
    scripted.account("Alpha")

    send_slice(5)

    assert not Attempt.objects.exists()
    assert told_of(message) == [("Alpha", "Sent", "")]


def test_every_provider_that_was_tried_is_told_in_order():
    message = make.message(make.launched())
    alpha, beta = scripted.account("Alpha"), scripted.account("Beta")
    Scripted.whole[alpha.pk] = scripted.raising(Unavailable("503: down"))
    beta.pause()
    send_slice(5)
    beta.resume()

    send_slice(5)

    assert told_of(message) == [("Alpha", "Not taken", "503: down"), ("Beta", "Sent", "")]
    assert tracing.trace(message).earlier == 0


def test_a_mailbox_that_deferred_before_it_took_the_mail_is_told():
    message = make.message(make.launched())
    account = scripted.account("Alpha")
    Scripted.answer[account.pk] = lambda recipient: Result(
        recipient.message_id, Verdict.UNAVAILABLE, reason="451 later"
    )
    send_slice(5)
    del Scripted.answer[account.pk]
    Message.objects.update(due_at=timezone.now())

    send_slice(5)

    assert told_of(message) == [("Alpha", "Not taken", "451 later"), ("Alpha", "Sent", "")]


def test_a_worker_that_died_before_its_call_is_told_from_a_call_that_failed():
    campaign, account = make.launched(), scripted.account("Alpha")
    past = timezone.now() - timedelta(seconds=1)
    handoff = make.handoff(campaign, account, status="preparing", lease_until=past)
    message = make.message(campaign, status="sending", handoff=handoff, provider=account)
    Message.objects.update(attempts=1)

    Handoff.objects.sweep()

    died = "The worker died before the call; nothing was sent."
    assert told_of(message) == [("Alpha", "Given back before the call", died)]
    [attempt] = tracing.trace(message).tries
    assert not attempt.was_called


def test_doubt_stays_known_after_the_mail_was_sent_again():
    campaign = make.launched()
    message = make.message(campaign)
    account = scripted.account("Alpha")
    Scripted.whole[account.pk] = scripted.raising(OutcomeUnknown("no answer within 20 s"))
    send_slice(5)
    assert told_of(message) == [("Alpha", "In doubt", "no answer within 20 s")]
    Scripted.whole.clear()
    campaign.finish(timezone.now())
    resending.resend_unconfirmed(campaign, timezone.now() + resending.UNCONFIRMED_AFTER)
    Message.objects.update(due_at=timezone.now())
    account.resume()

    send_slice(5)

    assert told_of(message) == [
        ("Alpha", "In doubt", "no answer within 20 s"),
        ("Alpha", "Sent", ""),
    ]


def test_doubt_that_evidence_settled_is_one_try_not_two():
    campaign, account = make.launched(), scripted.account("Alpha")
    past = timezone.now() - timedelta(seconds=1)
    flight = {"status": "in_flight", "lease_until": past, "in_flight_at": past}
    handoff = make.handoff(campaign, account, **flight)
    message = make.message(campaign, status="sending", handoff=handoff, provider=account)
    Handoff.objects.sweep()

    Message.objects.record(handoff.pk, [Outcome(message.pk, "sent", "p1")], timezone.now())

    assert told_of(message) == [("Alpha", "Sent", "")]


def test_calls_that_were_halved_lead_back_to_the_whole_one():
    campaign = make.launched()
    messages = [make.message(campaign) for _ in range(4)]
    account = scripted.account("Alpha")
    bad = messages[-1].email

    def refuse(batch):
        if any(each.email == bad for each in batch.recipients):
            raise Rejected("400: one address is malformed")

    Scripted.whole[account.pk] = refuse
    send_slice(5)
    messages[-1].refresh_from_db()

    [attempt] = tracing.trace(messages[-1]).tries

    assert [each.size for each in attempt.whole] == [4, 2]
    assert attempt.handoff is not None
    assert (attempt.label, attempt.handoff.size) == ("Failed", 1)


def test_tries_before_this_was_written_down_are_counted_not_invented():
    account = scripted.account("Alpha")
    campaign = make.launched()
    message = make.message(campaign, status="sent", provider=account, attempts=3)
    message.handoff = make.handoff(campaign, account, status="done")
    message.save()

    found = tracing.trace(message)

    assert (len(found.tries), found.earlier) == (1, 2)


def test_somebody_left_out_after_a_failed_try_shows_that_try_as_it_was():
    message = make.message(make.launched())
    account = scripted.account("Alpha")
    Scripted.whole[account.pk] = scripted.raising(Unavailable("503: down"))
    send_slice(5)
    make.suppression(message.email)
    account.resume()

    send_slice(5)

    message.refresh_from_db()
    assert message.status == "skipped"
    assert told_of(message) == [("Alpha", "Not taken", "503: down")]
