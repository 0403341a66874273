"""Overview, events and incoming webhooks in the admin."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from delivery import breaking, counting
from delivery.providers.base import OutcomeUnknown
from subscribers.models import Import
from tests import make
from tests.pages import member, text, use_own_cache
from webhooks import reporting
from webhooks.models import Event, RawRequest, Silence, WebhookCount

pytestmark = pytest.mark.django_db
HOSTILE = "<script>alert('x')</script>"


@pytest.fixture(autouse=True)
def own_cache(settings: Any) -> None:
    use_own_cache(settings)


def event(kind: str, **fields: Any) -> Event:
    given = {"dedupe_key": f"{kind}-{Event.objects.count()}", "occurred_at": timezone.now()}
    return Event.objects.create(type=kind, **{**given, **fields})


def request_from(account: Any, **fields: Any) -> RawRequest:
    return RawRequest.objects.create(account=account, **{"body": b"[]", **fields})


# --- Overview ----------------------------------------------------------------------------


def test_a_new_installation_says_what_to_do_first(admin_client):
    page = text(admin_client.get("/admin/"))

    assert "First steps" in page
    assert "/admin/delivery/provideraccount/add/" in page
    assert "/admin/subscribers/import/add/" in page


def test_what_needs_attention_stands_at_the_top(admin_client):
    now = timezone.now()
    account = make.account("Alpha")
    breaking.failed(account, OutcomeUnknown("The server is down."), now)
    campaign = make.launched([], problem="No provider can take mail now.")
    make.message(campaign, status="failed")
    make.message(campaign, status="unknown")
    request_from(account, status="failed")
    WebhookCount.objects.create(account=account, outcome="forged", hour=now, requests=7)
    Import.objects.create(filename="old.csv", status="failed", error="No column.", finished_at=now)

    page = text(admin_client.get("/admin/"))

    for sentence in (
        "Alpha is left alone for a while: The server is down.",
        "No provider can take mail now.",
        "Dead letters: 1 message.",
        "In doubt: 1 message.",
        "Incoming webhooks of the last day that could not be applied: 1.",
        "Webhooks of the last day refused as forged: 7.",
        "The import of old.csv failed: No column.",
    ):
        assert sentence in page


def test_a_provider_that_carries_mail_and_tells_nothing_is_noticed(admin_client):
    account = make.account("Alpha")
    campaign = make.launched([])
    now = timezone.now()
    make.message(campaign, status="sent", provider=account, sent_at=now)
    counting.rebuild(campaign.pk)

    assert "Alpha carries mail but tells nothing" in text(admin_client.get("/admin/"))


def test_the_overview_costs_the_same_however_much_there_is(admin_client, settings):
    def cost() -> int:
        use_own_cache(settings)
        admin_client.get("/admin/")
        use_own_cache(settings)
        with CaptureQueriesContext(connection) as caught:
            assert admin_client.get("/admin/webhooks/event/overview/").status_code == 200
        return len(caught)

    account = make.account()
    campaign = make.launched([])
    few = cost()
    for _ in range(20):
        make.message(campaign, status="sent", provider=account, sent_at=timezone.now())
        event("delivered")
    counting.rebuild(campaign.pk)

    assert cost() == few <= 30


# --- Events ------------------------------------------------------------------------------


def test_a_person_reads_what_went_out_and_what_became_of_it(admin_client):
    person = make.subscriber("ana@example.com")
    campaign = make.launched([], name="November")
    message = make.message(campaign, person, status="sent", sent_at=timezone.now())
    known = {"message_id": message.pk, "campaign_id": campaign.pk, "subscriber_id": person.pk}
    later = timezone.now() + timedelta(seconds=5)
    event("clicked", url=f"https://example.com/{HOSTILE}", occurred_at=later, **known)
    event("opened", is_machine=True, **known)

    page = text(admin_client.get(f"/admin/webhooks/event/of-person/{person.pk}/"))

    assert page.index("Clicked") < page.index("Opened by a machine") < page.index("Was sent")
    assert "November" in page
    assert HOSTILE not in page


def test_the_page_of_a_person_loads_their_timeline(admin_client):
    person = make.subscriber()

    page = text(admin_client.get(f"/admin/subscribers/subscriber/{person.pk}/change/"))

    assert f"/admin/webhooks/event/of-person/{person.pk}/" in page


def test_links_are_counted_by_people():
    campaign = make.launched([])
    # One of whom it is unsure, beside one who clicked for sure as well.
    for message, url, is_machine in [
        (1, "https://example.com/a", False),
        (1, "https://example.com/a", None),
        (2, "https://example.com/a", False),
        (7, "https://example.com/a", None),
        (3, "https://example.com/a", True),
    ]:
        event(
            "clicked",
            url=url,
            message_id=message,
            is_machine=is_machine,
            campaign_id=campaign.pk,
        )

    found = reporting.top_links(campaign)

    assert [tuple(link) for link in found] == [
        ("https://example.com/a", 2, 1, 1),
    ]


def test_a_report_says_why_mails_bounced(admin_client):
    campaign = make.launched([])
    for message in (1, 2):
        event(
            "bounced",
            bounce_class="hard",
            reason="550 5.1.1 No such user",
            message_id=message,
            campaign_id=campaign.pk,
        )

    page = text(admin_client.get(f"/admin/webhooks/event/of-campaign/{campaign.pk}/"))

    assert "550 5.1.1 No such user" in page
    assert "for good" in page


# --- Incoming webhooks -------------------------------------------------------------------


def test_a_request_that_was_not_understood_is_shown_and_can_be_applied_again(admin_client):
    account = make.account("Alpha")
    row = request_from(
        account, status="unparsable", error="No list of events.", body=HOSTILE.encode()
    )

    page = text(admin_client.get(f"/admin/webhooks/rawrequest/{row.pk}/change/"))
    assert "No list of events." in page
    assert HOSTILE not in page

    admin_client.post(f"/admin/webhooks/rawrequest/{row.pk}/replay/")
    row.refresh_from_db()
    assert (row.status, row.attempts) == ("pending", 0)


def test_many_requests_are_applied_again_from_the_list(admin_client):
    account = make.account()
    rows = [request_from(account, status="failed") for _ in range(3)]

    admin_client.post(
        "/admin/webhooks/rawrequest/",
        {"action": "replay_selected", "_selected_action": [row.pk for row in rows[:2]]},
    )

    states = RawRequest.objects.order_by("pk").values_list("status", flat=True)
    assert list(states) == ["pending", "pending", "failed"]


def test_forged_requests_are_counted_above_the_list(admin_client):
    account = make.account("Alpha")
    WebhookCount.objects.create(account=account, outcome="forged", hour=timezone.now(), requests=41)

    page = text(admin_client.get("/admin/webhooks/rawrequest/"))

    assert "41" in page
    assert "Refused as forged" in page


def test_a_marketer_sees_requests_and_an_operator_applies_them_again():
    row = request_from(make.account(), status="failed")
    again = f"/admin/webhooks/rawrequest/{row.pk}/replay/"

    assert member("Marketer").post(again).status_code == 403
    assert member("Operator").post(again).status_code == 302
    row.refresh_from_db()
    assert row.status == "pending"


def test_big_bodies_stay_in_the_database_while_they_are_listed(admin_client):
    request_from(make.account(), body=b"x" * 1000)

    with CaptureQueriesContext(connection) as caught:
        page = text(admin_client.get("/admin/webhooks/rawrequest/"))

    assert "1,000" in page
    selects = [each["sql"] for each in caught.captured_queries if "rawrequest" in each["sql"]]
    assert not any('"webhooks_rawrequest"."body",' in sql for sql in selects)


# --- Who may see it ----------------------------------------------------------------------


def test_without_a_role_the_overview_says_so_calmly_and_shows_no_number():
    nobody = Client()
    nobody.force_login(make.user(is_staff=True))

    page = text(nobody.get("/admin/"))

    assert "You are signed in, but have no role yet." in page
    assert "since midnight" not in page
    assert "overview/" not in page
    assert nobody.get("/admin/webhooks/event/overview/").status_code == 403


@pytest.mark.parametrize("role", ["Viewer", "Marketer", "Operator", "Admin"])
def test_every_role_sees_the_overview(role):
    client = member(role)

    assert "since midnight" in text(client.get("/admin/"))
    assert "since midnight" in text(client.get("/admin/webhooks/event/overview/"))


def test_the_timeline_of_a_message_has_an_end(monkeypatch):
    monkeypatch.setattr("webhooks.admin.events.MOST_EVENTS", 2)
    account = make.account()
    message = make.message(make.launched(), provider=account)
    for number in range(3):
        Event.objects.create(
            account=account,
            dedupe_key=str(number),
            type="clicked",
            occurred_at=timezone.now(),
            message_id=message.pk,
            url=f"https://shop.example.com/{number}",
        )

    page = text(member("Viewer").get(f"/admin/webhooks/event/of-message/{message.pk}/"))

    assert "/2" in page
    assert "example.com/0" not in page
    assert "The newest 2 are shown." in page


def test_orphans_and_who_looked_are_shown_and_can_be_picked(admin_client):
    event("delivered", recipient="lost@example.com", standing="orphan")
    opened = event(
        "opened", recipient="ana@example.com", client="Thunderbird", os="Windows", country="PT"
    )

    orphans = text(admin_client.get("/admin/webhooks/event/?standing__exact=orphan"))
    one = text(admin_client.get(f"/admin/webhooks/event/{opened.pk}/change/"))

    assert "lost@example.com" in orphans
    assert "Orphan: we have no such mail" in orphans
    assert "ana@example.com" not in orphans
    assert "Thunderbird · Windows" in one
    assert "PT" in one


def test_a_dead_letter_shows_where_it_broke_to_whoever_may_try_it_again(admin_client):
    dead = request_from(make.account(), status="failed", traceback=f"in line 7 {HOSTILE}")
    path = f"/admin/webhooks/rawrequest/{dead.pk}/change/"

    page = admin_client.get(path).content.decode()

    assert "in line 7" in page
    assert HOSTILE not in page
    assert "in line 7" not in text(member("Marketer").get(path))


def test_what_nobody_told_stands_above_the_requests(admin_client):
    account = make.account("Quiet")
    hour = (timezone.now() - timedelta(hours=7)).replace(minute=0, second=0, microsecond=0)
    Silence.objects.create(
        account=account, stream="marketing", mailbox="gmail", hour=hour, sent=90, silent=61
    )

    page = text(admin_client.get("/admin/webhooks/rawrequest/"))

    assert "Accepted, and nothing told" in page
    assert "Quiet" in page
    assert "61" in page


# --- People and machines -----------------------------------------------------------------


def test_an_event_says_by_whom_it_was_and_what_told_it(admin_client):
    machine = event("clicked", is_machine=True, machine_reason="many_links", recipient="m@x.test")
    event("opened", is_machine=None, machine_reason="no_agent", recipient="u@x.test")
    event("opened", is_machine=False, machine_reason="ordinary", recipient="p@x.test")
    event("delivered", recipient="d@x.test")

    page = text(admin_client.get(f"/admin/webhooks/event/{machine.pk}/change/"))
    listed = {
        whose: text(admin_client.get(f"/admin/webhooks/event/?whose={whose}"))
        for whose in ("people", "machines", "unsure")
    }
    by_reason = text(admin_client.get("/admin/webhooks/event/?machine_reason=no_agent"))

    assert "A machine’s. It followed 3 or more links of one mail within 2 seconds." in page
    for whose, wanted in (("people", "p@"), ("machines", "m@"), ("unsure", "u@")):
        shown = {each for each in ("p@", "m@", "u@", "d@") if f"{each}x.test" in listed[whose]}
        assert shown == {wanted}
    assert "many links at once" in listed["machines"]
    assert "Opened, unsure by whom" in by_reason
    assert "p@x.test" not in by_reason
