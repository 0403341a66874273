"""Late mail: found once, counted once, told, and seen to be over; how well promises are kept."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone

from campaigns.models import Campaign
from delivery import accepting, breaking, promising, sending, watching
from delivery.models import Alert, Expansion, Message, MessageType, SlaBreach, SlaMark, SlaStat
from delivery.providers.base import OutcomeUnknown, Unavailable
from emailplatform.secrets import address_key
from tests import make, pages, scripted
from tests.calling import Api
from tests.pages import member, text

pytestmark = pytest.mark.django_db
MINUTE = timedelta(minutes=1)


@pytest.fixture(autouse=True)
def own_cache(settings: Any) -> None:
    pages.use_own_cache(settings)


@pytest.fixture
def now() -> datetime:
    """A moment before which nothing was looked at for a day."""
    moment = timezone.now()
    for kind in MessageType.objects.all():
        SlaMark.objects.create(type=kind, examined_until=moment - timedelta(days=1))
    return moment


def mail(wanted_at: datetime, kind: str = "password_reset", **fields: Any) -> Message:
    """Single mail of a type (password reset: within a minute)."""
    person = make.subscriber()
    return Message.objects.create(
        email=person.email,
        address_key=address_key(person.email),
        type=MessageType.objects.get(name=kind),
        stream="critical",
        wanted_at=wanted_at,
        **fields,
    )


def sent(wanted_at: datetime, after: timedelta, kind: str = "password_reset") -> Message:
    return mail(wanted_at, kind, status="sent", sent_at=wanted_at + after)


def of_type(name: str = "password_reset") -> promising.Compliance:
    kind = MessageType.objects.get(name=name)
    found = promising.compliance(timezone.now() - promising.WEEK)
    return found.get(kind.pk, promising.Compliance())


# --- What is late -------------------------------------------------------------------------


def test_mail_that_was_taken_in_time_is_counted_and_not_late(now):
    sent(now - 5 * MINUTE, timedelta(seconds=2))

    assert promising.check(now) == (1, 0, 0)
    assert (of_type().mails, of_type().late) == (1, 0)
    assert not SlaBreach.objects.exists()


def test_mail_that_nobody_took_in_time_is_late_and_waits(now):
    waiting = mail(now - 5 * MINUTE, status="queued")

    assert promising.check(now) == (1, 1, 0)

    late = SlaBreach.objects.get()
    assert (late.message, late.deadline, late.breached_at) == (waiting, MINUTE, now - 4 * MINUTE)
    assert (late.accepted_at, late.closed_at, late.latency) == (None, None, None)
    assert (of_type().mails, of_type().late) == (1, 1)


def test_mail_that_was_taken_too_late_is_late_although_nobody_saw_it_wait(now):
    sent(now - 5 * MINUTE, 2 * MINUTE)

    assert promising.check(now).late == 1

    assert SlaBreach.objects.get().latency == 2 * MINUTE


def test_each_mail_is_counted_once_however_often_it_is_looked_for(now):
    mail(now - 5 * MINUTE, status="queued")
    sent(now - 5 * MINUTE, timedelta(seconds=2))

    for second in range(3):
        promising.check(now + timedelta(seconds=second))

    assert SlaBreach.objects.count() == 1
    assert (of_type().mails, of_type().late) == (2, 1)


def test_before_its_deadline_is_over_mail_is_not_looked_at(now):
    mail(now - timedelta(seconds=50), status="queued")

    assert promising.check(now).examined == 0
    assert promising.check(now + timedelta(seconds=11)).late == 1


def test_mail_for_later_is_measured_from_its_time(now):
    Message.objects.filter(pk=mail(now, status="queued").pk).update(
        created_at=now - timedelta(hours=3)
    )

    assert promising.check(now).examined == 0
    assert promising.check(now + 2 * MINUTE).late == 1


def test_each_type_has_its_own_deadline(now):
    for kind in ("password_reset", "order_confirmation", "welcome", "shipping_update"):
        mail(now - 4 * MINUTE, kind, status="queued")

    promising.check(now)

    late = set(SlaBreach.objects.values_list("type__name", flat=True))
    assert late == {"password_reset", "order_confirmation"}


@pytest.mark.parametrize(
    ("fields", "is_late"),
    [
        ({"status": "skipped"}, False),
        ({"status": "cancelled"}, False),
        ({"status": "failed", "fault": "address"}, False),
        ({"status": "failed", "fault": "content"}, True),
        ({"status": "expired"}, True),
        ({"status": "unknown"}, True),
        ({"status": "sending"}, True),
    ],
)
def test_what_we_could_not_or_should_not_send_breaks_no_promise(now, fields, is_late):
    mail(now - 5 * MINUTE, **fields)

    assert promising.check(now).late == is_late


def test_mail_without_a_type_has_no_promise(now):
    Message.objects.filter(pk=mail(now - 5 * MINUTE, status="queued").pk).update(type=None)

    assert promising.check(now) == (0, 0, 0)


def test_after_a_long_rest_everything_is_caught_up_with(now):
    for hours in range(1, 23):
        mail(now - timedelta(hours=hours), status="queued")

    assert promising.check(now) == (22, 22, 0)


def test_a_new_type_is_looked_at_from_now_on(now):
    SlaMark.objects.all().delete()
    mail(now - timedelta(hours=1), status="queued")
    mail(now - timedelta(seconds=30), status="queued")

    promising.check(now)
    promising.check(now + MINUTE)

    assert SlaBreach.objects.count() == 1


# --- How it ends --------------------------------------------------------------------------


def test_late_mail_that_is_taken_after_all_is_closed_with_how_long_it_took(now):
    late = mail(now - 5 * MINUTE, status="queued")
    promising.check(now)
    Message.objects.filter(pk=late.pk).update(status="sent", sent_at=now)

    promising.check(now + MINUTE)

    breach = SlaBreach.objects.get()
    assert (breach.latency, breach.closed_at) == (5 * MINUTE, now + MINUTE)
    assert (of_type().mails, of_type().late) == (1, 1)
    assert of_type().p50 == pytest.approx(5 * MINUTE, rel=0.1)


@pytest.mark.parametrize("status", ["failed", "expired", "cancelled"])
def test_late_mail_that_is_given_up_is_closed_and_was_never_taken(now, status):
    late = mail(now - 5 * MINUTE, status="queued")
    promising.check(now)
    Message.objects.filter(pk=late.pk).update(status=status)

    promising.check(now + MINUTE)

    breach = SlaBreach.objects.get()
    assert (breach.accepted_at, breach.closed_at) == (None, now + MINUTE)
    assert (of_type().mails, of_type().late, of_type().p50) == (1, 1, None)


def test_mail_in_doubt_that_proves_to_have_been_taken_in_time_was_not_late(now):
    doubtful = mail(now - 5 * MINUTE, status="unknown")
    promising.check(now)
    assert of_type().late == 1
    Message.objects.filter(pk=doubtful.pk).update(
        status="sent", sent_at=now - 5 * MINUTE + timedelta(seconds=3)
    )

    promising.check(now + MINUTE)

    assert not SlaBreach.objects.exists()
    assert (of_type().mails, of_type().late) == (1, 0)


# --- Who is told --------------------------------------------------------------------------


def test_operators_are_told_of_mail_that_waits_and_that_it_is_over(now):
    waiting = [mail(now - 5 * MINUTE, status="queued") for _ in range(2)]
    promising.check(now)

    alert = Alert.objects.get()
    assert (alert.kind, alert.subject, alert.count) == ("sla", "Password reset", 2)
    assert "2 mails wait for longer than 1 min" in alert.text
    assert "the oldest for 5 min" in alert.text

    promising.check(now + timedelta(seconds=15))
    assert Alert.objects.get().count == 2, "it only goes on"

    Message.objects.filter(pk__in=[each.pk for each in waiting]).update(status="sent", sent_at=now)
    promising.check(now + timedelta(seconds=30))
    promising.check(now + timedelta(seconds=45))
    assert Alert.objects.get().resolved_at


def test_operators_are_told_of_mail_that_was_late_between_two_looks(now):
    sent(now - 5 * MINUTE, 2 * MINUTE)

    promising.check(now)

    assert "1 mail had to wait for longer than 1 min" in Alert.objects.open().get().text

    promising.check(now + timedelta(seconds=15))
    assert not Alert.objects.open().exists()


def test_mail_that_is_late_but_not_for_long_alerts_nobody(now):
    MessageType.objects.filter(name="password_reset").update(alert_after=10 * MINUTE)
    mail(now - 5 * MINUTE, status="queued")

    assert promising.check(now).late == 1
    assert not Alert.objects.exists()

    promising.check(now + 6 * MINUTE)
    assert Alert.objects.get().subject == "Password reset"


# --- Campaigns ----------------------------------------------------------------------------


def standing(now: datetime, since: timedelta, **fields: Any) -> Campaign:
    campaign = make.launched([], name="Spring")
    Campaign.objects.filter(pk=campaign.pk).update(launched_at=now - since)
    Expansion.objects.create(campaign=campaign, queued=1, done_at=now)
    make.message(campaign, status="queued", due_at=now - since, **fields)
    return campaign


def test_a_campaign_of_which_a_lane_stands_still_for_an_hour_is_one_breach(now):
    campaign = standing(now, timedelta(minutes=61))
    make.message(campaign, status="queued", due_at=now - timedelta(minutes=61))

    assert promising.check(now).stuck == 1
    assert promising.check(now + MINUTE).stuck == 1

    late = SlaBreach.objects.get()
    assert (late.campaign, late.type.name, late.message) == (campaign, "marketing", None)
    alert = Alert.objects.get()
    assert (alert.subject, alert.count) == (f"Spring (campaign {campaign.pk})", 1)
    assert "mail to Gmail" in alert.text
    assert promising.campaigns_since(now - promising.DAY) == promising.Compliance(mails=1, late=1)


def test_a_campaign_that_moves_breaks_nothing_however_long_it_takes(now):
    campaign = standing(now, timedelta(hours=20))
    account = make.account()
    just_now = now - timedelta(minutes=50)
    make.handoff(campaign, account, status="done", accepted=5, finished_at=just_now)

    assert promising.check(now).stuck == 0
    assert promising.check(now + 15 * MINUTE).stuck == 1


def test_mail_that_a_mailbox_put_off_is_not_due_and_stands_for_nothing(now):
    campaign = standing(now, timedelta(hours=2))
    campaign.message_set.update(due_at=now - timedelta(minutes=30))

    assert promising.check(now).stuck == 0


@pytest.mark.parametrize("status", ["paused", "cancelled", "held"])
def test_a_campaign_that_is_stopped_breaks_nothing(now, status):
    campaign = standing(now, timedelta(hours=2))
    Campaign.objects.filter(pk=campaign.pk).update(status=status)

    assert promising.check(now).stuck == 0


def test_a_campaign_that_moves_again_is_over_and_counts_once_if_it_stands_twice(now):
    campaign = standing(now, timedelta(hours=2))
    promising.check(now)
    call = make.handoff(campaign, make.account(), status="done", accepted=1, finished_at=now)

    promising.check(now + MINUTE)
    assert SlaBreach.objects.get().closed_at
    assert not Alert.objects.open().exists()

    call.delete()
    promising.check(now + 2 * MINUTE)
    assert SlaBreach.objects.get().closed_at is None
    assert Alert.objects.open().count() == 1


# --- How well promises are kept -----------------------------------------------------------


def test_shares_and_percentiles_are_those_of_the_mail(now):
    for milliseconds in range(10, 1010, 10):  # 10 ms to 1 s, evenly
        sent(now - timedelta(minutes=5), timedelta(milliseconds=milliseconds))
    sent(now - timedelta(minutes=5), timedelta(minutes=3))

    promising.check(now)

    found = of_type()
    assert (found.mails, found.late, found.in_time) == (101, 1, 100)
    assert found.p50 == pytest.approx(timedelta(milliseconds=510), rel=0.1)
    assert found.p95 == pytest.approx(timedelta(milliseconds=960), rel=0.1)
    assert found.p99 == pytest.approx(timedelta(milliseconds=1000), rel=0.1)
    assert SlaStat.objects.count() < 40, "a row per bucket, not per mail"


def test_what_is_asked_for_by_api_is_promised_from_its_send_time(monkeypatch):
    scripted.install(monkeypatch)
    scripted.account()
    later = timezone.now() + timedelta(hours=2)
    body = {
        "from": "shop@example.com",
        "to": "ana@example.com",
        "subject": "Hello",
        "text": "Hello",
        "type": "password_reset",
        "send_at": later.isoformat(),
    }
    api = Api()

    assert api.post("email/send", body).status == 202
    assert Message.objects.get().wanted_at == later
    del body["send_at"]
    before = timezone.now()
    api.post("email/send", body)
    message = Message.objects.latest("pk")
    assert message.wanted_at
    assert before <= message.wanted_at <= timezone.now()

    copy = accepting.resend(message, later)
    assert copy.wanted_at == later

    sending.send_slice(5)
    promising._mark_types(timezone.now() - timedelta(hours=1))
    promising.check(timezone.now() + 2 * MINUTE)
    assert of_type().in_time >= 1


# --- What else is watched -----------------------------------------------------------------


def test_a_provider_that_needs_somebody_is_told_until_it_is_mended(now):
    account = make.account("Alpha")
    breaking.failed(account, Unavailable("The key is wrong.", is_account_fault=True), now)

    watching.watch(now)
    alert = Alert.objects.open().get()
    assert (alert.kind, alert.subject) == ("provider", "Alpha")
    assert "The key is wrong." in alert.text

    breaking.close(account, "Mended.", now)
    watching.watch(now)
    assert not Alert.objects.open().exists()


def test_a_provider_that_is_not_used_for_longer_than_a_minute_is_told(now):
    account = make.account("Alpha")
    breaking.failed(account, OutcomeUnknown("Silence."), now)

    watching.watch(now + timedelta(seconds=30))
    assert not Alert.objects.exists(), "a short rest mends itself"

    watching.watch(now + timedelta(seconds=90))
    alert = Alert.objects.open().get()
    assert (alert.kind, alert.subject) == ("breaker", "Alpha")
    assert "Silence." in alert.text

    breaking.close(account, "It answers again.", now)
    watching.watch(now + timedelta(seconds=100))
    assert not Alert.objects.open().exists()


def test_a_campaign_that_stopped_by_itself_is_told_until_somebody_acts(now):
    paused = make.launched([], name="Spring", problem="Paused: 50 mails were refused.")
    Campaign.objects.filter(pk=paused.pk).update(status="paused")
    by_hand = make.launched([])
    Campaign.objects.filter(pk=by_hand.pk).update(status="paused")
    held = make.launched([], name="Summer")
    held.finish(now, 3)

    watching.watch(now)

    assert {alert.text for alert in Alert.objects.open()} == {
        "Paused: 50 mails were refused.",
        "3 mails failed and can be tried again.",
    }
    paused.refresh_from_db()
    paused.resume()
    held.accept()
    watching.watch(now)
    assert not Alert.objects.open().exists()


def test_dead_letters_that_pile_up_are_told(now, settings):
    settings.DEAD_LETTERS_ALERT = 2
    mail(now, status="failed", fault="other")
    watching.watch(now)
    assert not Alert.objects.exists()

    second = mail(now, status="expired")
    watching.watch(now)
    assert "2 mails failed for good" in Alert.objects.open().get().text

    second.delete()
    watching.watch(now)
    assert not Alert.objects.open().exists()


def test_redis_away_is_told_by_who_needs_none(now, settings):
    there = settings.CACHES
    settings.CACHES = {"default": {**there["default"], "LOCATION": "redis://127.0.0.1:9/0"}}
    watching.watch(now)
    assert Alert.objects.open().get().kind == "redis"

    settings.CACHES = there
    watching.watch(now)
    assert not Alert.objects.open().exists()


# --- Pages --------------------------------------------------------------------------------


def test_the_page_of_types_says_how_well_each_promise_is_kept(now):
    for _ in range(3):
        sent(now - 5 * MINUTE, timedelta(seconds=2))
    mail(now - 5 * MINUTE, status="queued")
    promising.check(now)

    page = text(member("Viewer").get("/admin/delivery/messagetype/"))

    assert "Password reset" in page
    assert "75 %" in page
    assert "3 of 4, 1 still waiting" in page
    assert "within 1 min" in page
    assert "0 of 0 campaigns stood still" in page
    assert "Late mail" in page
    assert text(member("Viewer").get("/admin/delivery/slabreach/")).count("Still waiting") >= 1


def test_an_operator_changes_a_promise_in_words():
    kind = MessageType.objects.get(name="invoice")
    operator = member("Operator")
    url = f"/admin/delivery/messagetype/{kind.pk}/change/"
    form = {"label": "Invoice", "stream": "transactional", "expires_after": "3 d"}

    page = text(operator.get(url))
    assert 'value="5 min"' in page

    refused = operator.post(url, {**form, "deadline": "soon", "alert_after": "90 s"})
    assert "Write it like 90 s" in text(refused)
    refused = operator.post(url, {**form, "deadline": "2 min", "alert_after": "1 min"})
    assert "Operators cannot be told before the deadline is over" in text(refused)

    operator.post(url, {**form, "deadline": "1 h 30 min", "alert_after": "2h"})
    kind.refresh_from_db()
    assert (kind.deadline, kind.alert_after) == (timedelta(minutes=90), timedelta(hours=2))
    assert kind.name == "invoice"


def test_a_type_in_use_stays_and_a_viewer_changes_nothing(now):
    mail(now, "welcome")
    used = MessageType.objects.get(name="welcome")
    unused = MessageType.objects.get(name="support")
    base = "/admin/delivery/messagetype"
    operator = member("Operator")

    assert operator.get(f"{base}/{used.pk}/delete/").status_code == 403
    assert operator.get(f"{base}/{unused.pk}/delete/").status_code == 200
    answer = member("Viewer").post(f"{base}/{unused.pk}/change/", {"label": "x"})
    assert answer.status_code == 403
