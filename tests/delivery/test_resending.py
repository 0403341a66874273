"""Sending again: who may press it, whom it takes, and that nobody else gets a second mail."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.utils import timezone

from campaigns.models import Campaign
from delivery import counting, expanding, reports, resending, sending
from delivery.models import Expansion, Message, ProviderAccount
from delivery.providers.base import Rejected
from emailplatform.states import InvalidTransition
from tests import make, racing, scripted
from tests.calling import Api
from tests.pages import member, text, use_own_cache
from tests.scripted import Scripted

pytestmark = pytest.mark.django_db
OLD = resending.UNCONFIRMED_AFTER + timedelta(minutes=1)
YOUNG = resending.UNCONFIRMED_AFTER - timedelta(minutes=1)


@pytest.fixture(autouse=True)
def own_cache(settings: Any) -> None:
    use_own_cache(settings)


@pytest.fixture(autouse=True)
def account(monkeypatch: pytest.MonkeyPatch) -> ProviderAccount:
    scripted.install(monkeypatch)
    return scripted.account()


def over(account: ProviderAccount, ages: list[timedelta], failed: int = 0) -> Campaign:
    """A campaign that is over: one person in doubt for each age, so many failed, one sent."""
    campaign = make.launched([])
    now = timezone.now()
    sent = {"provider": account, "sent_at": now, "attempts": 1}
    make.message(campaign, make.subscriber("sent@example.com"), status="sent", **sent)
    for number, age in enumerate(ages):
        call = make.handoff(campaign, account, status="unknown", in_flight_at=now - age)
        make.message(
            campaign,
            make.subscriber(f"doubt{number}@example.com"),
            status="unknown",
            error="No answer was seen.",
            provider=account,
            handoff=call,
            attempts=1,
        )
    for number in range(failed):
        person = make.subscriber(f"failed{number}@example.com")
        make.message(
            campaign,
            person,
            status="failed",
            error="Mailbox is full.",
            provider=account,
            attempts=1,
        )
    size = 1 + len(ages) + failed
    Expansion.objects.create(campaign=campaign, queued=size, done_at=now)
    campaign.finish(now, failed)
    counting.rebuild(campaign.pk)
    return campaign


def page_of(campaign: Campaign, place: str = "change") -> str:
    return f"/admin/campaigns/campaign/{campaign.pk}/{place}/"


def addresses(status: str) -> set[str]:
    return set(Message.objects.filter(status=status).values_list("email", flat=True))


# --- Whom it takes ------------------------------------------------------------------------


def test_doubt_younger_than_72_hours_is_never_sent_again(account):
    campaign = over(account, [YOUNG, timedelta(0)])

    count = resending.resend_unconfirmed(campaign, timezone.now())

    campaign.refresh_from_db()
    assert count == 0
    assert addresses("unknown") == {"doubt0@example.com", "doubt1@example.com"}
    assert campaign.status == "sent", "nothing to do reopens nothing"


def test_the_unconfirmed_go_out_once_more_and_nobody_else(account):
    campaign = over(account, [OLD, YOUNG], failed=1)

    count = resending.resend_unconfirmed(campaign, timezone.now())
    sending.send_slice(seconds=5)

    assert count == 1
    assert Scripted.sent_to(account) == ["doubt0@example.com"]
    assert addresses("unknown") == {"doubt1@example.com"}
    assert addresses("failed") == {"failed0@example.com"}
    assert Message.objects.get(email="doubt0@example.com").attempts == 2


def test_the_failed_go_out_once_more_and_the_campaign_ends_again(account):
    campaign = over(account, [OLD], failed=2)
    ended = campaign.finished_at

    count = resending.resend_failed(campaign, timezone.now())
    campaign.refresh_from_db()
    under_way = campaign.status
    sending.send_slice(seconds=5)
    expanding.finish_done(timezone.now())

    campaign.refresh_from_db()
    assert (count, under_way, campaign.status) == (2, "sending", "sent")
    assert sorted(Scripted.sent_to(account)) == ["failed0@example.com", "failed1@example.com"]
    assert addresses("unknown") == {"doubt0@example.com"}
    assert reports.totals(campaign).sent == 3
    assert counting.rebuild(campaign.pk) == {}, "the counters are what a recount gives"
    assert campaign.finished_at == ended, "its speed is measured by the first time it was over"


def test_what_is_queued_again_is_due_now_and_says_nothing_of_the_old_error(account):
    campaign = over(account, [], failed=1)
    Message.objects.filter(status="failed").update(deferrals=9)
    now = timezone.now()

    resending.resend_failed(campaign, now)

    message = Message.objects.get(email="failed0@example.com")
    assert (message.status, message.error, message.handoff, message.due_at) == (
        "queued",
        "",
        None,
        now,
    )
    assert message.attempts == 1, "what was tried stays known"
    assert message.deferrals == 0, "a mailbox that was full has its full patience again"


def test_who_left_meanwhile_gets_no_second_mail(account):
    campaign = over(account, [OLD])
    make.suppression("doubt0@example.com")

    resending.resend_unconfirmed(campaign, timezone.now())
    sending.send_slice(seconds=5)

    assert Scripted.sent_to(account) == []
    assert Message.objects.get(email="doubt0@example.com").error == "suppressed"


@pytest.mark.parametrize("status", ["sending", "paused", "cancelled"])
def test_only_a_campaign_that_is_over_is_sent_again(account, status):
    campaign = over(account, [OLD], failed=1)
    Campaign.objects.filter(pk=campaign.pk).update(status=status)

    for again in (resending.resend_failed, resending.resend_unconfirmed):
        with pytest.raises(InvalidTransition):
            again(campaign, timezone.now())

    assert addresses("queued") == set(), "all or nothing"


@pytest.mark.django_db(transaction=True)
def test_who_is_settled_in_the_same_moment_is_left_alone(account):
    campaign = over(account, [OLD, OLD])
    told = Message.objects.filter(email="doubt0@example.com")

    count = racing.overtaken(
        lambda: told.update(status="sent", sent_at=timezone.now(), error=""),
        lambda: resending.resend_unconfirmed(campaign, timezone.now()),
    )

    assert count == 1
    assert addresses("queued") == {"doubt1@example.com"}


@pytest.mark.django_db(transaction=True)
def test_of_two_who_press_at_once_one_sends_again(account):
    campaign = over(account, [], failed=2)
    twin = Campaign.objects.get(pk=campaign.pk)
    counts = []

    late = racing.overtaken(
        lambda: counts.append(resending.resend_failed(campaign, timezone.now())),
        lambda: resending.resend_failed(twin, timezone.now()),
    )

    assert (counts, late) == ([2], 0)


# --- Through the page ---------------------------------------------------------------------


def test_the_report_tells_doubt_from_what_stays_unconfirmed(admin_client, account):
    campaign = over(account, [OLD, OLD, YOUNG], failed=1)

    page = text(admin_client.get(page_of(campaign)))
    progress = reports.progress(campaign, timezone.now())

    assert (progress.unknown, progress.in_doubt, progress.unconfirmed) == (3, 1, 2)
    assert "Send again to the 2 unconfirmed" in page
    assert "may get it twice" in page
    assert "Retry 1 failed" in page


def test_without_anything_to_send_again_no_button_says_so(admin_client, account):
    campaign = over(account, [YOUNG])

    page = text(admin_client.get(page_of(campaign)))

    assert "in doubt" in page
    assert "Send again" not in page
    assert "Retry" not in page


def test_the_messages_that_stay_unconfirmed_can_be_listed(admin_client, account):
    campaign = over(account, [OLD, YOUNG])
    url = f"/admin/delivery/message/?campaign={campaign.pk}&outcome=unconfirmed"

    page = text(admin_client.get(url))

    assert "doubt0@example.com" in page
    assert "doubt1@example.com" not in page


@pytest.mark.parametrize(
    ("deed", "sentence"),
    [("resend-unconfirmed", "1 unconfirmed"), ("resend-failed", "1 failed")],
)
def test_pressing_the_button_queues_them_and_is_written_down(admin_client, account, deed, sentence):
    campaign = over(account, [OLD], failed=1)

    page = text(admin_client.post(page_of(campaign, deed), follow=True))

    campaign.refresh_from_db()
    assert campaign.status == "sending"
    assert len(addresses("queued")) == 1
    assert sentence in page
    assert sentence in LogEntry.objects.get(object_id=str(campaign.pk)).get_change_message()


def test_pressing_it_twice_sends_once(admin_client, account):
    campaign = over(account, [OLD])

    admin_client.post(page_of(campaign, "resend-unconfirmed"))
    again = text(admin_client.post(page_of(campaign, "resend-unconfirmed"), follow=True))

    assert "Nobody is left" in again
    assert addresses("queued") == {"doubt0@example.com"}


def test_pressing_it_when_evidence_has_come_meanwhile_says_that_nobody_is_left(
    admin_client, account
):
    campaign = over(account, [OLD])
    Message.objects.filter(status="unknown").update(status="sent", sent_at=timezone.now())

    page = text(admin_client.post(page_of(campaign, "resend-unconfirmed"), follow=True))

    campaign.refresh_from_db()
    assert campaign.status == "sent"
    assert "Nobody is left" in page


@pytest.mark.parametrize("deed", ["resend-unconfirmed", "resend-failed"])
def test_a_viewer_sees_no_button_and_may_not_send_again(account, deed):
    campaign = over(account, [OLD], failed=1)
    viewer = member("Viewer")

    page = text(viewer.get(page_of(campaign)))
    answer = viewer.post(page_of(campaign, deed))

    assert answer.status_code == 403
    assert addresses("queued") == set()
    assert "Send again" not in page
    assert "unconfirmed" in page, "the number is everybody's"


# --- Finished with holds ------------------------------------------------------------------


def finished(account: ProviderAccount, **fields: Any) -> Campaign:
    """A campaign with one mail that was sent and one that ended as `fields` say, just ended."""
    campaign = make.launched([])
    now = timezone.now()
    make.message(campaign, status="sent", provider=account, sent_at=now)
    make.message(campaign, make.subscriber("lost@example.com"), provider=account, **fields)
    Expansion.objects.create(campaign=campaign, queued=2, done_at=now)
    expanding.finish_done(now)
    counting.rebuild(campaign.pk)
    campaign.refresh_from_db()
    return campaign


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"status": "failed", "fault": "mailbox"}, "held"),
        ({"status": "failed", "fault": "content"}, "held"),
        ({"status": "failed", "fault": "other"}, "held"),
        ({"status": "failed"}, "held"),
        ({"status": "expired"}, "held"),
        ({"status": "failed", "fault": "address"}, "sent"),
        ({"status": "skipped", "error": "suppressed"}, "sent"),
        ({"status": "unknown"}, "sent"),
        ({"status": "sent"}, "sent"),
    ],
)
def test_a_campaign_with_mail_that_could_still_go_out_is_never_plain_sent(account, fields, status):
    campaign = finished(account, **fields)

    assert campaign.status == status
    assert bool(campaign.problem) == (status == "held")


def test_what_is_held_goes_out_once_it_is_retried_and_the_campaign_is_sent(account):
    campaign = finished(account, status="expired", error="too late")

    assert resending.resend_failed(campaign, timezone.now()) == 1
    sending.send_slice(seconds=5)
    expanding.finish_done(timezone.now())

    campaign.refresh_from_db()
    assert Scripted.sent_to(account) == ["lost@example.com"]
    assert (campaign.status, campaign.problem) == ("sent", "")


def test_what_fails_again_is_held_again(account):
    Scripted.whole[account.pk] = scripted.raising(Rejected("Still no."))
    campaign = finished(account, status="failed", fault="other")

    resending.resend_failed(campaign, timezone.now())
    sending.send_slice(seconds=5)
    expanding.finish_done(timezone.now())

    campaign.refresh_from_db()
    assert campaign.status == "held"


def test_addresses_that_do_not_work_are_not_tried_again(account):
    campaign = finished(account, status="failed", fault="other")
    dead = make.message(campaign, status="failed", fault="address")

    resending.resend_failed(campaign, timezone.now())

    dead.refresh_from_db()
    assert dead.status == "failed"
    assert addresses("queued") == {"lost@example.com"}


def test_a_campaign_that_is_held_says_so_and_offers_two_ways_out(admin_client, account):
    campaign = finished(account, status="failed", fault="mailbox")

    page = text(admin_client.get(page_of(campaign)))

    assert "Finished with holds" in page
    assert "1 mail failed and can be tried again" in page
    assert re.search(r'ui-button-primary">.*?Retry 1 failed</button>', page)
    assert "Accept as it is" in page
    assert "Finished with holds" in text(admin_client.get("/admin/campaigns/campaign/?status=held"))
    assert "1 mail failed and can be tried again" in text(admin_client.get("/admin/"))


def test_a_person_may_accept_it_as_it_is_and_still_retry_later(admin_client, account):
    campaign = finished(account, status="failed", fault="mailbox")

    page = text(admin_client.post(page_of(campaign, "accept"), follow=True))

    campaign.refresh_from_db()
    assert campaign.status == "sent"
    assert "Accepted as it is" in page
    assert "Retry 1 failed" in page
    assert "Accept" in LogEntry.objects.get(object_id=str(campaign.pk)).get_change_message()

    again = text(admin_client.post(page_of(campaign, "accept"), follow=True))
    assert "cannot become" in again


def test_programs_accept_it_by_api(account):
    campaign = finished(account, status="failed", fault="mailbox")
    api = Api()

    assert api.get("campaigns/", status="held").data["results"][0]["problem"]
    answer = api.post(f"campaigns/{campaign.pk}/accept/")

    assert (answer.status, answer.data["status"]) == (200, "sent")
    assert api.post(f"campaigns/{campaign.pk}/accept/").error["code"] == "invalid_transition"
