"""Limits of accounts, lanes, senders and recipients, through the sending loop."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import pytest
from django.conf import settings as django_settings
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from redis import Redis

from campaigns.models import Campaign
from delivery import limiting, throttling
from delivery.lanes import Lane
from delivery.metering import meter
from delivery.models import DailyCount, Handoff, LaneState, Mail, Message
from delivery.providers.base import Rejected, Result, Unavailable, Verdict
from delivery.sending import hand_over, send_next, send_slice
from delivery.windows import PREFIX
from emailplatform.secrets import address_key
from tests import make, scripted
from tests.scripted import Scripted

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _fresh(monkeypatch):
    """Nothing counted, and nothing remembered of another test."""
    scripted.install(monkeypatch)
    with Redis.from_url(django_settings.REDIS_URL) as redis:
        for key in redis.scan_iter(f"{PREFIX}*"):
            redis.delete(key)
    limiting.forget()


def campaign_with(people: int, **fields) -> Campaign:
    row = make.launched(**fields)
    for _ in range(people):
        make.message(row)
    return row


def mail_to(address: str, **fields) -> Message:
    message = Message.objects.create(
        email=address,
        address_key=address_key(address),
        stream="transactional",
        mailbox="other",
        **fields,
    )
    Mail.objects.create(
        message=message, from_email="shop@example.com", subject="Your order", text="Thank you."
    )
    return message


def sent() -> int:
    return Message.objects.filter(status="sent").count()


def gmail(campaign: Campaign) -> Lane:
    return Lane("marketing", "gmail", campaign.pk)


@pytest.mark.parametrize(
    "limits", [{"limit_per_second": 7}, {"limit_per_hour": 7}, {"limit_per_day": 7}]
)
def test_a_call_claims_as_many_as_there_is_room_for_and_the_rest_stays_queued(limits):
    campaign_with(10)
    account = scripted.account(**limits)

    send_slice(0.3)

    assert len(Scripted.sent_to(account)) == sent() == 7
    assert Message.objects.filter(status="queued").count() == 3
    assert Handoff.objects.count() == 1


@pytest.mark.parametrize(
    "limits", [{"limit_per_second": 5}, {"limit_per_hour": 5}, {"limit_per_day": 5}]
)
def test_what_one_account_has_no_room_for_goes_to_another_at_once(limits):
    campaign_with(10)
    first, second = scripted.account("first", **limits), scripted.account("second")

    send_slice(0.5)

    assert sent() == 10
    assert len(Scripted.sent_to(first)) <= 5
    assert len(Scripted.sent_to(second)) >= 5


def test_a_slice_waits_for_the_next_second_and_does_not_spin_meanwhile():
    campaign_with(25)
    scripted.account(limit_per_second=10)

    with CaptureQueriesContext(connection) as queries:
        send_slice(2.5)

    assert sent() == 25
    assert len(queries) < 25 * 3 + 60, "a few looks a second, not a loop"


@pytest.mark.parametrize(
    ("answer", "error", "left"),
    [
        (None, Unavailable("down"), 10),
        (None, Rejected("never"), 10),
        (Verdict.REJECTED, None, 10),
        (Verdict.UNAVAILABLE, None, 10),
        (Verdict.ACCEPTED, None, 7),
        (Verdict.UNKNOWN, None, 7),
    ],
)
def test_only_what_was_certainly_not_accepted_is_given_back(answer, error, left):
    campaign = campaign_with(3)
    account = scripted.account(limit_per_hour=10, limit_per_day=10)
    if error:
        Scripted.whole[account.pk] = scripted.raising(error)
    else:
        Scripted.answer[account.pk] = lambda to: Result(to.message_id, answer, reason="so it is")

    send_next(gmail(campaign), campaign)

    [hour] = limiting.windows_of(account, gmail(campaign), timezone.now())
    assert meter.take([hour], 0).rooms == (left,)
    assert DailyCount.objects.get().used == 10 - left


def test_a_quota_that_is_set_in_the_middle_of_a_day_knows_what_was_sent_before():
    campaign = campaign_with(5)
    account = scripted.account()
    send_slice(5)
    account.limit_per_day = 7
    account.save()
    for _ in range(5):
        make.message(campaign)

    send_slice(1)

    assert sent() == 7
    assert DailyCount.objects.get().used == 7


def test_what_a_dead_worker_never_handed_over_is_given_back_to_the_quota():
    campaign = campaign_with(3)
    account = scripted.account(limit_per_day=10)
    handoff = Handoff(provider=account, campaign=campaign, stream="marketing", mailbox="gmail")
    Message.objects.claim(handoff, gmail(campaign), 10, timezone.now(), limiting.quota_of(account))
    assert DailyCount.objects.get().used == 3
    Handoff.objects.update(lease_until=timezone.now() - timedelta(seconds=1))

    Handoff.objects.sweep()

    assert DailyCount.objects.get().used == 0


def test_a_worker_that_slept_does_not_give_back_to_the_quota_what_the_sweeper_did():
    campaign = campaign_with(3)
    account = scripted.account(limit_per_day=10)
    send_next(gmail(campaign), campaign)
    for _ in range(3):
        make.message(campaign)
    lane, now = gmail(campaign), timezone.now()
    handoff = Handoff(provider=account, campaign=campaign, stream="marketing", mailbox="gmail")
    grant = limiting.take(account, lane, 3, now)
    people, _ = Message.objects.claim(handoff, lane, 3, now, grant.quota)
    assert DailyCount.objects.get().used == 6
    Handoff.objects.filter(pk=handoff.pk).update(lease_until=now - timedelta(seconds=1))
    Handoff.objects.sweep()

    hand_over(handoff, people, grant)
    limiting.settle(grant, handoff, [person.id for person in people])

    assert DailyCount.objects.get().used == sent() == 3


def test_a_campaign_says_what_it_waits_for_if_that_takes_long():
    campaign = campaign_with(10)
    scripted.account("Relay", limit_per_day=7)

    send_slice(1)

    campaign.refresh_from_db()
    assert campaign.problem == "Relay has used up its 7 of today; it goes on at 00:00 UTC."


def test_a_new_day_has_its_whole_quota(monkeypatch):
    campaign = campaign_with(3)
    account = scripted.account(limit_per_day=2)
    yesterday = datetime.now(UTC).date() - timedelta(days=1)
    DailyCount.objects.create(account=account, day=yesterday, used=2)

    send_next(gmail(campaign), campaign)

    assert sent() == 2


def test_the_limit_of_a_lane_holds_up_no_other_lane():
    campaign = campaign_with(10)
    for number in range(10):
        make.message(campaign, make.subscriber(f"p{number}@yahoo.com"))
    scripted.account(lane_limits={"marketing gmail": "4/hour"})

    send_slice(1)

    by_lane = Message.objects.filter(status="sent").values_list("mailbox", flat=True)
    assert sorted(by_lane) == ["gmail"] * 4 + ["yahoo"] * 10


@pytest.mark.parametrize("setting", ["SENDER_RATE", "SENDER_DOMAIN_RATE", "GLOBAL_RATE"])
def test_senders_and_the_whole_have_limits_where_they_are_set(settings, setting):
    setattr(settings, setting, "6/hour")
    campaign = campaign_with(10)
    scripted.account()
    scripted.account()

    send_slice(1)

    assert sent() == 6
    campaign.refresh_from_db()
    assert "6 an hour" in campaign.problem


def test_a_flood_of_mail_to_one_address_waits_with_the_reason_and_others_do_not(settings):
    settings.RECIPIENT_RATE = "3/hour"
    flood = [mail_to("victim@example.com") for _ in range(5)]
    other = mail_to("customer@example.com")
    scripted.account(limit_per_hour=100)

    send_slice(3)

    other.refresh_from_db()
    assert other.status == "sent"
    waiting = list(Message.objects.filter(pk__in=[each.pk for each in flood]))
    assert sorted(row.status for row in waiting) == ["queued"] * 2 + ["sent"] * 3
    held = next(row for row in waiting if row.status == "queued")
    assert held.due_at > timezone.now() + timedelta(minutes=55)
    assert held.error.startswith("Mail to victim@example.com is limited to 3 an hour")


def test_copies_count_as_mail_to_their_recipients(settings):
    settings.RECIPIENT_RATE = "1/hour"
    message = mail_to("customer@example.com")
    Mail.objects.filter(message=message).update(copies={"cc": [["boss@example.com", ""]]})
    scripted.account()
    send_slice(2)

    mail_to("boss@example.com")
    send_slice(2)

    assert sent() == 1


def test_campaigns_do_not_count_for_their_recipients(settings):
    settings.RECIPIENT_RATE = "1/hour"
    person = make.subscriber("reader@gmail.com")
    for _ in range(3):
        make.message(make.launched(), person)
    scripted.account()

    send_slice(3)

    assert sent() == 3


def test_without_limits_nothing_is_asked_of_redis_and_nothing_is_counted(monkeypatch):
    campaign = campaign_with(3)
    scripted.account()
    monkeypatch.setattr(meter, "take", lambda *_: pytest.fail("Redis was asked"))

    send_next(gmail(campaign), campaign)

    assert sent() == 3
    assert not DailyCount.objects.exists()


def test_routing_learns_how_much_of_its_limit_an_account_has_left():
    campaign = campaign_with(8)
    account = scripted.account(limit_per_hour=10)
    lane, now = gmail(campaign), timezone.now()
    assert limiting.free_share(account, lane, now) == 1.0

    send_next(lane, campaign)

    assert limiting.free_share(account, lane, now) == pytest.approx(0.2)
    for _ in range(5):
        make.message(campaign)
    send_next(lane, campaign)
    with pytest.raises(limiting.Full, match="may take 10 an hour; it goes on at"):
        send_next(lane, campaign)
    assert limiting.free_share(account, lane, now) == 0.0


# --- Lanes that are too fast -----------------------------------------------------------------


def throttled_by(account, reason: str = "421 4.7.0 unusual rate") -> None:
    Scripted.answer[account.pk] = lambda to: Result(
        to.message_id, Verdict.UNAVAILABLE, reason=reason, is_throttle=True
    )


def test_a_lane_that_is_too_fast_is_halved_and_shows_why_and_since_when():
    campaign = campaign_with(3)
    account = scripted.account(lane_limits={"gmail": "200/min"})
    throttled_by(account)

    send_next(gmail(campaign), campaign)

    state = LaneState.objects.get()
    assert (state.stream, state.mailbox, state.base, state.rate) == ("marketing", "gmail", 60, 30)
    assert state.reason == "421 4.7.0 unusual rate"
    assert timezone.now() - state.since < timedelta(seconds=10)


def test_many_who_are_told_the_same_at_once_halve_only_once():
    account = scripted.account()
    now = timezone.now()

    done = [
        throttling.slow(account, ("marketing", "gmail"), "421", now + timedelta(seconds=second))
        for second in (0, 3, 9, 11)
    ]

    assert done == [True, False, False, True]
    assert LaneState.objects.get().rate == 15


def test_a_slowed_lane_climbs_a_tenth_a_minute_and_is_then_forgotten():
    account = scripted.account()
    now = timezone.now()
    throttling.slow(account, ("marketing", "gmail"), "421", now)
    state = LaneState.objects.get()

    rates = [state.rate_at(now + timedelta(minutes=minute)) for minute in range(9)]

    assert rates == [30, 33, 36, 39, 43, 48, 53, 58, None]
    assert state.recovers_at() == now + timedelta(minutes=8)
    throttling.slow(account, ("marketing", "gmail"), "again", now + timedelta(minutes=4))
    assert LaneState.objects.get().rate == 21, "half of the 43 it had reached"
    throttling.slow(account, ("marketing", "gmail"), "later", now + timedelta(hours=3))
    state = LaneState.objects.get()
    assert (state.rate, state.since) == (30, now + timedelta(hours=3)), "it had recovered"


def test_a_slowed_lane_sends_at_its_rate_and_holds_up_no_other():
    campaign = campaign_with(10)
    for number in range(10):
        make.message(campaign, make.subscriber(f"p{number}@yahoo.com"))
    account = scripted.account()
    throttling.slow(account, ("marketing", "gmail"), "421", timezone.now())

    began = time.monotonic()
    send_slice(1)

    assert time.monotonic() - began < 1.5
    by_lane = Message.objects.filter(status="sent").values_list("mailbox", flat=True)
    assert sorted(by_lane) == ["gmail"] + ["yahoo"] * 10, "30 a minute is one in two seconds"


def test_a_provider_that_names_a_time_is_left_alone_with_this_lane_until_then():
    campaign = campaign_with(3)
    for number in range(3):
        make.message(campaign, make.subscriber(f"p{number}@yahoo.com"))
    account = scripted.account()
    now = timezone.now()
    throttling.slow(account, ("marketing", "gmail"), "429", now, retry_after=timedelta(minutes=3))

    send_slice(1)

    assert set(Message.objects.filter(status="sent").values_list("mailbox", flat=True)) == {"yahoo"}
    send_slice(0.1)
    campaign.refresh_from_db()
    assert "asked to be left alone with gmail (429)" in campaign.problem


def test_a_whole_call_that_was_throttled_slows_its_lane():
    campaign = campaign_with(3)
    account = scripted.account()
    Scripted.whole[account.pk] = scripted.raising(
        Unavailable("429: slow down", is_throttle=True, retry_after=timedelta(seconds=90))
    )

    send_next(gmail(campaign), campaign)

    state = LaneState.objects.get()
    assert (state.reason, state.rate) == ("429: slow down", 30)
    assert state.held_until is not None
    assert set(Message.objects.values_list("status", flat=True)) == {"queued"}
