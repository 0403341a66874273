"""The sending loop against a provider that does what each test says."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from cryptography.fernet import Fernet
from django.conf import settings
from django.db import connection
from django.utils import timezone

from campaigns.models import Campaign
from delivery.journaling import lease_of
from delivery.lanes import Lane
from delivery.models import CampaignStat, Handoff, Message, ProviderAccount
from delivery.providers import registry
from delivery.providers.base import (
    OutcomeUnknown,
    Rejected,
    Result,
    Unavailable,
    Verdict,
)
from delivery.querysets import Outcome
from delivery.sending import send_next, send_slice
from subscribers.models import Subscriber, Subscription
from tests import make, scripted
from tests.scripted import Scripted

pytestmark = pytest.mark.django_db

TRIES = settings.RETRIES["marketing"].tries


@pytest.fixture(autouse=True)
def _scripted(monkeypatch):
    scripted.install(monkeypatch)


def campaign_with(people: int, **fields) -> Campaign:
    row = make.launched(**fields)
    for _ in range(people):
        make.message(row)
    return row


def count_sent(campaign: Campaign, account: ProviderAccount, sent: int) -> None:
    """Let the account be ahead of its share, so that the others come first."""
    CampaignStat.objects.create(
        campaign=campaign, provider=account, mailbox="other", hour=make.NOW, sent=sent
    )


def statuses() -> list[str]:
    return list(Message.objects.order_by("pk").values_list("status", flat=True))


@pytest.mark.parametrize(
    ("verdict", "status"),
    [
        (Verdict.ACCEPTED, "sent"),
        (Verdict.REJECTED, "failed"),
        (Verdict.UNAVAILABLE, "queued"),
        (Verdict.UNKNOWN, "unknown"),
    ],
)
def test_each_verdict_on_one_person_decides_only_that_message(verdict, status):
    campaign_with(3)
    account = scripted.account()
    odd = Message.objects.order_by("pk")[1]
    Scripted.answer[account.pk] = lambda recipient: (
        Result(recipient.message_id, verdict, reason="so it is")
        if recipient.message_id == odd.token
        else scripted.accept(recipient)
    )

    send_slice(5)

    assert statuses() == ["sent", status, "sent"]
    assert Handoff.objects.get().status == "done"


@pytest.mark.parametrize(
    ("error", "status", "taken_by_second"),
    [
        (Unavailable("down"), "sent", 3),
        (OutcomeUnknown("silence"), "unknown", 0),
        (Rejected("never"), "failed", 0),
    ],
)
def test_only_what_was_certainly_not_accepted_goes_to_another_provider(
    error, status, taken_by_second
):
    campaign = campaign_with(3)
    first, second = scripted.account("first"), scripted.account("second")
    count_sent(campaign, second, 10)
    Scripted.whole[first.pk] = scripted.raising(error)

    send_slice(5)

    assert set(statuses()) == {status}
    assert len(Scripted.sent_to(second)) == taken_by_second


def test_a_refused_batch_is_halved_until_the_bad_address_fails_alone():
    campaign_with(8)
    account = scripted.account()
    bad = Message.objects.order_by("pk")[5]

    def refuse(batch):
        if any(each.message_id == bad.token for each in batch.recipients):
            raise Rejected("400: one address is invalid")

    Scripted.whole[account.pk] = refuse

    send_slice(5)

    assert statuses() == ["sent"] * 5 + ["failed"] + ["sent"] * 2
    assert Message.objects.get(pk=bad.pk).error == "400: one address is invalid"
    assert not Handoff.objects.filter(status__in=["preparing", "in_flight"]).exists()


def test_a_campaign_that_is_refused_altogether_pauses_itself_and_says_why():
    campaign = campaign_with(60)
    account = scripted.account(batch_size=10)
    Scripted.whole[account.pk] = scripted.raising(Rejected("400: the subject is empty"))

    send_slice(20)

    campaign.refresh_from_db()
    assert campaign.status == "paused"
    assert "50 mails were refused and fewer accepted. 400: the subject is empty" in campaign.problem
    assert statuses().count("queued") >= 5
    assert "sending" not in statuses()


def test_a_hopeless_campaign_stops_in_the_middle_of_halving_and_keeps_the_rest():
    campaign = campaign_with(256)
    account = scripted.account(batch_size=256)
    Scripted.whole[account.pk] = scripted.raising(Rejected("400: the subject is empty"))

    send_slice(30)

    campaign.refresh_from_db()
    assert campaign.status == "paused"
    assert statuses().count("failed") == 50
    assert statuses().count("queued") == 206
    assert not Handoff.objects.filter(status__in=["preparing", "in_flight"]).exists()


def test_a_campaign_of_which_every_person_is_refused_one_by_one_pauses_itself_too():
    campaign = campaign_with(120)
    account = scripted.account(batch_size=20)
    Scripted.answer[account.pk] = lambda recipient: Result(
        recipient.message_id, Verdict.REJECTED, reason="554 no"
    )

    send_slice(20)

    campaign.refresh_from_db()
    assert campaign.status == "paused"
    assert "554 no" in campaign.problem
    assert "queued" in statuses()


def test_a_mistake_of_our_own_in_a_provider_leaves_doubt_and_lets_the_account_cool():
    campaign_with(30)
    account = scripted.account(batch_size=10)
    Scripted.whole[account.pk] = scripted.raising(KeyError("api_key=SG.secret"))

    send_slice(5)

    account.refresh_from_db()
    assert statuses().count("unknown") == 10
    assert statuses().count("queued") == 20
    assert account.failures == 1
    assert "SG.secret" not in account.last_error
    assert Handoff.objects.get().status == "unknown"


def test_one_campaign_that_cannot_be_made_does_not_hold_up_the_others():
    broken, healthy = campaign_with(2), campaign_with(2)
    broken.content.delete()
    scripted.account()

    send_slice(5)

    broken.refresh_from_db()
    assert (broken.status, broken.problem[:26]) == ("paused", "Paused: its frozen content")
    assert set(healthy.message_set.values_list("status", flat=True)) == {"sent"}


def test_the_reason_of_a_pause_outlives_a_look_for_providers():
    campaign = campaign_with(1)
    stale = Campaign.objects.get(pk=campaign.pk)
    campaign.move_to(Campaign.Status.PAUSED, problem="Paused: so it is")

    send_next(Lane("marketing", "gmail", stale.pk), stale)

    campaign.refresh_from_db()
    assert campaign.problem == "Paused: so it is"


def test_wrong_credentials_ask_for_somebody_until_a_call_succeeds():
    campaign_with(1)
    account = scripted.account()
    Scripted.whole[account.pk] = scripted.raising(Unavailable("401", is_account_fault=True))

    send_slice(5)
    account.refresh_from_db()
    assert account.needs_attention
    del Scripted.whole[account.pk]
    ProviderAccount.objects.update(cooling_until=None)
    send_slice(5)

    assert ProviderAccount.objects.filter(needs_attention=False).exists()
    assert statuses() == ["sent"]


def test_a_mailbox_that_refuses_for_now_is_tried_ever_later_and_given_up_some_day():
    campaign_with(1)
    account = scripted.account()
    Scripted.answer[account.pk] = lambda recipient: Result(
        recipient.message_id, Verdict.UNAVAILABLE, reason="451 later"
    )
    waits = []
    for _ in range(TRIES):
        Message.objects.update(due_at=timezone.now())
        send_slice(5)
        waits.append((Message.objects.get().due_at - timezone.now()).total_seconds())

    message = Message.objects.get()
    assert waits[0] == pytest.approx(60, rel=0.25)
    assert waits[3] == pytest.approx(480, rel=0.25)
    assert max(waits) <= 4 * 3600 * 1.2
    assert (message.status, message.deferrals) == ("failed", TRIES)
    assert message.error == f"Given up after {TRIES} tries: 451 later"


def test_a_refused_batch_is_not_halved_by_a_worker_that_lost_it():
    campaign_with(4)
    account = scripted.account()

    def refuse_late(_batch):
        Handoff.objects.update(lease_until=timezone.now() - timedelta(seconds=1))
        Handoff.objects.sweep()
        raise Rejected("400")

    Scripted.whole[account.pk] = refuse_late

    send_slice(5)

    assert len(Scripted.calls[account.pk]) == 1
    assert set(statuses()) == {"unknown"}


def test_every_kind_of_provider_may_be_silent_longer_than_its_calls_take():
    for kind in registry.KINDS.values():
        assert lease_of(kind).total_seconds() > kind.longest_call_s + 10


def test_what_a_provider_says_nothing_about_is_in_doubt():
    campaign_with(2)
    account = scripted.account()
    silent = Message.objects.order_by("pk")[0]
    Scripted.answer[account.pk] = lambda recipient: (
        None if recipient.message_id == silent.token else scripted.accept(recipient)
    )

    send_slice(5)

    assert statuses() == ["unknown", "sent"]


def test_people_who_left_after_the_audience_was_frozen_are_left_out_with_the_reason():
    newsletter, other = make.mailing_list(), make.mailing_list()
    campaign = make.launched([newsletter])
    reached, suppressed, bounced, gone, doubtful, accepted = (
        make.subscriber(lists=[newsletter, other]) for _ in range(6)
    )
    for person in (reached, suppressed, bounced, gone, doubtful, accepted):
        make.message(campaign, person)
    make.suppression(suppressed.email)
    Subscriber.objects.close([bounced.pk], "bounced", timezone.now())
    Subscription.objects.end([gone.pk], [newsletter.pk], timezone.now())
    doubtful.subscriptions.filter(list=newsletter).update(status="held")
    accepted.subscriptions.filter(list=other).update(status="held")
    account = scripted.account()

    send_slice(5)

    assert sorted(Scripted.sent_to(account)) == sorted([reached.email, accepted.email])
    assert dict(Message.objects.values_list("subscriber", "error")) == {
        reached.pk: "",
        accepted.pk: "",
        doubtful.pk: "held",
        suppressed.pk: "suppressed",
        bounced.pk: "bounced",
        gone.pk: "left the list",
    }


def test_a_paused_campaign_hands_nothing_over_and_goes_on_when_resumed():
    campaign = campaign_with(2)
    account = scripted.account()
    campaign.pause()

    assert send_slice(5) == 0
    campaign.resume()
    assert send_slice(5) == 2

    assert len(Scripted.sent_to(account)) == 2


def test_a_message_past_its_deadline_expires_instead_of_going_late():
    campaign = make.launched()
    make.message(campaign, expires_at=timezone.now() - timedelta(seconds=1))
    account = scripted.account()

    send_slice(5)

    assert statuses() == ["expired"]
    assert Scripted.sent_to(account) == []


def test_without_any_usable_provider_the_campaign_says_why_and_keeps_its_mail():
    campaign = campaign_with(1)
    scripted.account("Only one", status="paused")

    assert send_slice(5) == 0

    campaign.refresh_from_db()
    assert campaign.problem == "No provider can take mail now. Only one is paused."
    assert statuses() == ["queued"]


def test_one_person_whose_mail_cannot_be_made_fails_alone():
    body = "{% for _ in range(count) %}x{% endfor %}{{ unsubscribe_url }}"
    campaign = make.launched(template=make.template(body=body))
    campaign.content.names = ["count", "unsubscribe_url", "first_name"]
    campaign.content.save()
    make.message(campaign, make.subscriber(attributes={"count": 90_000}))
    make.message(campaign, make.subscriber(attributes={"count": 2}))
    scripted.account()

    send_slice(5)

    assert statuses() == ["failed", "sent"]
    assert "10,000 numbers" in Message.objects.order_by("pk")[0].error


def test_the_mail_says_what_the_person_should_read_and_how_to_leave():
    campaign = make.launched(template=make.template(subject="Hi {{ first_name }}"))
    message = make.message(campaign, make.subscriber(first_name="Ana", last_name="Silva"))
    account = scripted.account()

    send_slice(5)

    batch = Scripted.calls[account.pk][0]
    recipient = batch.recipients[0]
    assert batch.subject.fill(recipient.subject) == "Hi Ana"
    assert "<h1>Hello Ana</h1>" in batch.html.fill(recipient.html)
    assert recipient.name == "Ana Silva"
    assert recipient.headers["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    url = recipient.headers["List-Unsubscribe"].strip("<>")
    assert url in batch.html.fill(recipient.html)
    assert recipient.message_id == message.token


def test_what_was_sent_is_counted_once_per_provider_and_mailbox():
    campaign_with(3)
    account = scripted.account()

    send_slice(5)

    row = CampaignStat.objects.get()
    assert (row.provider, row.mailbox, row.sent) == (account, "gmail", 3)


def test_an_account_whose_secrets_cannot_be_read_does_not_stop_the_others(settings):
    unreadable = scripted.account("unreadable", secrets={"api_key": "x"})
    settings.ENCRYPTION_KEYS = [Fernet.generate_key().decode()]
    readable = scripted.account("readable")
    campaign_with(2)

    send_slice(5)

    unreadable = ProviderAccount.objects.defer("secrets").get(pk=unreadable.pk)
    assert len(Scripted.sent_to(readable)) == 2
    assert "not in ENCRYPTION_KEYS" in unreadable.last_error


def test_accounts_share_a_campaign_by_their_weights():
    campaign_with(40)
    big, small = scripted.account(weight=300, batch_size=2), scripted.account(batch_size=2)

    send_slice(20)

    assert len(Scripted.sent_to(big)) == pytest.approx(30, abs=2)
    assert len(Scripted.sent_to(small)) == pytest.approx(10, abs=2)


# --- Leases and dead workers --------------------------------------------------------------


def claimed_by_a_worker_that_died(status: str) -> Message:
    campaign = make.launched()
    account = scripted.account()
    past = timezone.now() - timedelta(seconds=1)
    handoff = make.handoff(campaign, account, status=status, lease_until=past)
    return make.message(campaign, status="sending", handoff=handoff, provider=account)


def test_a_worker_that_died_before_the_call_leaves_mail_to_be_sent_again():
    message = claimed_by_a_worker_that_died("preparing")

    assert Handoff.objects.sweep() == (1, 0)
    send_slice(5)

    message.refresh_from_db()
    assert message.status == "sent"


def test_a_worker_that_died_during_the_call_leaves_mail_in_doubt_for_good():
    message = claimed_by_a_worker_that_died("in_flight")

    assert Handoff.objects.sweep() == (0, 1)
    send_slice(5)

    message.refresh_from_db()
    assert message.status == "unknown"
    assert Scripted.calls == {}


def test_the_sweeper_leaves_workers_alone_whose_lease_runs():
    message = claimed_by_a_worker_that_died("preparing")
    Handoff.objects.update(lease_until=timezone.now() + timedelta(minutes=1))

    assert Handoff.objects.sweep() == (0, 0)

    message.refresh_from_db()
    assert message.status == "sending"


def test_a_worker_that_slept_past_its_lease_may_not_begin_the_call():
    message = claimed_by_a_worker_that_died("preparing")
    Handoff.objects.sweep()

    assert message.handoff is not None
    assert not Handoff.objects.take_off(message.handoff.pk, 1)


def test_an_answer_that_comes_after_the_sweeper_settles_the_doubt():
    message = claimed_by_a_worker_that_died("in_flight")
    Handoff.objects.sweep()
    assert message.handoff is not None

    Message.objects.record(message.handoff.pk, [Outcome(message.pk, "sent", "p1")], timezone.now())

    message.refresh_from_db()
    assert (message.status, message.provider_message_id) == ("sent", "p1")


@pytest.mark.parametrize("said", ["queued", "unknown"])
def test_an_event_that_came_before_a_doubtful_answer_settles_it(said):
    message = claimed_by_a_worker_that_died("in_flight")
    assert message.handoff is not None
    Message.objects.update(delivered_at=timezone.now())

    Message.objects.record(message.handoff.pk, [Outcome(message.pk, said)], timezone.now())

    message.refresh_from_db()
    assert message.status == "sent"
    assert message.sent_at is not None
    assert CampaignStat.objects.get().sent == 1


def test_a_late_refusal_does_not_touch_a_message_that_has_a_new_owner():
    message = claimed_by_a_worker_that_died("preparing")
    old = message.handoff
    assert old is not None
    Handoff.objects.sweep()
    send_slice(5)

    written = Message.objects.record(old.pk, [Outcome(message.pk, "failed")], timezone.now())

    message.refresh_from_db()
    assert written == 0
    assert message.status == "sent"


@pytest.mark.django_db(transaction=True)
def test_concurrent_workers_never_hand_a_message_over_twice():
    campaign_with(120)
    account = scripted.account(batch_size=7)

    def work(_: int) -> int:
        try:
            return send_slice(10)
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as workers:
        handled = sum(workers.map(work, range(4)))

    sent = Scripted.sent_to(account)
    assert handled == len(sent) == len(set(sent)) == 120
