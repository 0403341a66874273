"""Dead letters: found, counted by class, and tried again: one, many, all of a kind."""

from __future__ import annotations

from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.core.management import call_command
from django.utils import timezone

from campaigns.models import Campaign
from delivery import expanding, reviving, sending
from delivery.models import Expansion, Mail, Message, MessageType, ProviderAccount
from delivery.reviving import Choice
from emailplatform.models import AuditEntry
from tests import make, pages, racing, scripted
from tests.calling import Api
from tests.pages import member, text
from tests.scripted import Scripted

pytestmark = pytest.mark.django_db
LIST = "/admin/delivery/deadletter/"


@pytest.fixture(autouse=True)
def own_cache(settings: Any) -> None:
    pages.use_own_cache(settings)


@pytest.fixture(autouse=True)
def account(monkeypatch: pytest.MonkeyPatch) -> ProviderAccount:
    scripted.install(monkeypatch)
    return scripted.account("First")


def campaign(status: str = "held", **fields: Any) -> Campaign:
    row = make.launched([], **fields)
    Expansion.objects.create(campaign=row, queued=1, done_at=timezone.now())
    Campaign.objects.filter(pk=row.pk).update(status=status, finished_at=timezone.now())
    row.refresh_from_db()
    return row


def letter(of: Campaign | None = None, email: str = "", **fields: Any) -> Message:
    """A dead letter: of a campaign, or a single mail."""
    given = {"status": "failed", "fault": "other", "error": "Refused.", **fields}
    if of is not None:
        return make.message(of, make.subscriber(email), **given)
    person = make.subscriber(email)
    message = Message.objects.create(
        email=person.email,
        address_key=person.address_key,
        mailbox=person.mailbox,
        **{"stream": "transactional", "expires_at": timezone.now() + timedelta(hours=1), **given},
    )
    Mail.objects.create(message=message, from_email="shop@example.com", subject="x", text="x")
    return message


def statuses() -> dict[str, str]:
    return dict(Message.objects.values_list("email", "status"))


# --- Another try --------------------------------------------------------------------------


def test_all_of_a_campaign_go_out_again_and_it_is_sent_then(account):
    held, other = campaign(), campaign()
    letter(held, "a@example.com")
    letter(held, "b@example.com", status="expired", fault="")
    letter(other, "c@example.com")

    revived = reviving.revive(Choice(campaign=held.pk), timezone.now())
    sending.send_slice(5)
    expanding.finish_done(timezone.now())

    assert revived == (2, False)
    assert sorted(Scripted.sent_to(account)) == ["a@example.com", "b@example.com"]
    assert statuses()["c@example.com"] == "failed"
    assert [Campaign.objects.get(pk=each.pk).status for each in (held, other)] == ["sent", "held"]


def test_single_mail_goes_out_again(account):
    letter(None, "a@example.com", status="expired", fault="", expires_at=timezone.now())

    reviving.revive(Choice(), timezone.now())
    sending.send_slice(5)

    assert Scripted.sent_to(account) == ["a@example.com"]


@pytest.mark.parametrize(
    ("choice", "taken"),
    [
        (Choice(), {"mailbox", "other", "late"}),
        (Choice(fault="mailbox"), {"mailbox"}),
        (Choice(fault="other"), {"other"}),
        (Choice(fault="expired"), {"late"}),
        (Choice(fault="address"), {"address"}),
        (Choice(stream="critical"), {"late"}),
        (Choice(type="invoice"), {"other"}),
    ],
)
def test_what_is_chosen_is_tried_again_and_dead_addresses_only_on_purpose(choice, taken):
    invoice = MessageType.objects.get(name="invoice")
    letter(None, "mailbox@example.com", fault="mailbox")
    letter(None, "other@example.com", fault="", type=invoice)
    letter(None, "late@example.com", status="expired", fault="", stream="critical")
    letter(None, "address@example.com", fault="address")

    assert reviving.revive(choice, timezone.now()).queued == len(taken)

    queued = {email.split("@")[0] for email, status in statuses().items() if status == "queued"}
    assert queued == taken


def test_a_dead_address_is_tried_again_when_it_is_named():
    dead = letter(None, fault="address")

    assert reviving.revive(Choice(ids=[dead.pk]), timezone.now()).queued == 1


def test_nothing_of_a_stopped_campaign_is_tried_again():
    stopped = letter(campaign("cancelled"))

    assert reviving.revive(Choice(), timezone.now()).queued == 0
    assert reviving.revive(Choice(ids=[stopped.pk]), timezone.now()).queued == 0


@pytest.mark.parametrize("status", ["sending", "paused"])
def test_a_campaign_that_is_under_way_stays_as_it_is(status):
    under_way = campaign(status)
    letter(under_way)

    assert reviving.revive(Choice(), timezone.now()).queued == 1

    under_way.refresh_from_db()
    assert under_way.status == status


def test_what_did_not_fail_is_never_touched():
    running = campaign("sending")
    for status in ("queued", "sending", "sent", "unknown", "skipped", "cancelled"):
        make.message(running, status=status)
    before = statuses()
    pks = list(Message.objects.values_list("pk", flat=True))

    assert reviving.revive(Choice(ids=pks), timezone.now()).queued == 0
    assert statuses() == before


def test_many_are_tried_in_parts(monkeypatch):
    monkeypatch.setattr(reviving, "BATCH", 2)
    held = campaign()
    for _ in range(5):
        letter(held)

    assert reviving.revive(Choice(), timezone.now(), most=3) == (3, True)
    assert reviving.revive(Choice(), timezone.now(), most=3) == (2, False)


@pytest.mark.django_db(transaction=True)
def test_who_is_tried_again_while_the_campaign_is_being_finished_is_not_forgotten():
    running = campaign("sending")
    letter(running, "a@example.com")

    revived = racing.overtaken(
        lambda: expanding.finish_done(timezone.now()),
        lambda: reviving.revive(Choice(), timezone.now()),
    )

    running.refresh_from_db()
    assert revived.queued == 1
    assert (running.status, statuses()["a@example.com"]) == ("sending", "queued")


def test_what_waits_for_a_person_is_counted_until_it_is_accepted_or_old():
    held, accepted = campaign(), campaign("sent")
    now = timezone.now()
    for of in (held, accepted, None):
        letter(of)
        letter(of, fault="address")
    old = letter(None)
    Message.objects.filter(pk=old.pk).update(created_at=now - timedelta(days=8))

    assert reviving.waiting(now, 100) == 2
    assert reviving.waiting(now, 1) == 1


# --- The page -----------------------------------------------------------------------------


def test_the_list_shows_what_failed_and_why_counted_by_class(admin_client, account):
    letter(campaign(name="Spring"), "a@example.com", fault="mailbox", error="Full.")
    invoice = MessageType.objects.get(name="invoice")
    letter(None, "b@example.com", provider=account, type=invoice)
    make.message(campaign("sending"), make.subscriber("fine@example.com"), status="sent")

    page = text(admin_client.get(LIST))

    for words in ("a@example.com", "Spring", "Full.", "A mailbox that kept refusing", "Invoice"):
        assert words in page
    assert "fine@example.com" not in page
    assert "Retry all…" in page


def test_the_list_is_narrowed_like_the_retry(admin_client, account):
    held = campaign()
    letter(held, "a@example.com", fault="mailbox")
    letter(held, "b@example.com", fault="content", provider=account)

    for query, email in (
        ("fault=mailbox", "a@example.com"),
        (f"provider={account.pk}", "b@example.com"),
        (f"campaign={held.pk}&fault=content", "b@example.com"),
    ):
        page = text(admin_client.get(f"{LIST}?{query}"))
        ask = text(admin_client.get(f"{LIST}retry/?{query}"))
        other = {"a@example.com", "b@example.com"} - {email}
        assert email in page
        assert other.pop() not in page
        assert "1 mail is queued again" in ask


def test_an_empty_list_says_so(admin_client):
    assert "Nothing failed for good" in text(admin_client.get(LIST))


def test_before_all_are_tried_it_is_said_what_will_happen(admin_client):
    held = campaign(name="Spring issue")
    letter(held)
    letter(held)
    letter(held, fault="address")

    page = text(admin_client.get(f"{LIST}retry/"))
    assert "2 mails are queued again" in page
    assert "Spring issue" in page
    assert "1 more is left alone" in page
    assert set(statuses().values()) == {"failed"}, "asking does nothing"

    done = text(admin_client.post(f"{LIST}retry/now/", follow=True))

    held.refresh_from_db()
    assert "2 mails queued again" in done
    assert held.status == "sending"
    assert "2 mails queued again: all" in LogEntry.objects.get().get_change_message()


def test_those_that_are_ticked_are_asked_about_and_tried(admin_client):
    first, second, third = (letter(campaign()) for _ in range(3))
    ticked = {"action": "retry_selected", "_selected_action": [first.pk, second.pk]}

    page = text(admin_client.post(LIST, ticked))
    assert "2 mails are queued again" in page
    assert f'name="ids" value="{first.pk}"' in page

    admin_client.post(f"{LIST}retry/now/", {"ids": [first.pk, second.pk]})

    third.refresh_from_db()
    assert third.status == "failed"
    assert sorted(statuses().values()) == ["failed", "queued", "queued"]


def test_one_is_tried_from_its_line_and_pressing_twice_says_so(admin_client):
    one = letter(None, fault="address")

    done = text(admin_client.post(f"{LIST}{one.pk}/retry/", follow=True))
    again = text(admin_client.post(f"{LIST}{one.pk}/retry/", follow=True))

    assert "1 mail queued again" in done
    assert "Nothing was queued" in again


def test_a_viewer_looks_and_tries_nothing():
    one = letter(None, "a@example.com")
    viewer = member("Viewer")

    page = text(viewer.get(LIST))

    assert "a@example.com" in page
    assert "Retry" not in page
    assert viewer.get(f"{LIST}retry/").status_code == 403
    assert viewer.post(f"{LIST}retry/now/").status_code == 403
    assert viewer.post(f"{LIST}{one.pk}/retry/").status_code == 403
    assert statuses() == {"a@example.com": "failed"}
    assert text(member("Operator").get(LIST)).count("Retry all") == 1


def test_the_menu_counts_what_waits_for_a_person(admin_client):
    letter(None)
    letter(None)

    assert '<span class="ui-badge ui-warn ml-auto">2</span>' in text(admin_client.get("/admin/"))


# --- The API ------------------------------------------------------------------------------


def test_programs_list_dead_letters_newest_first(account):
    held = campaign()
    first = letter(held, "a@example.com", fault="mailbox", error="Full.", provider=account)
    second = letter(None, "b@example.com", status="expired", fault="")

    answer = Api().get("email/dead-letters/")

    assert [each["id"] for each in answer.data["results"]] == [second.token, first.token]
    late, full = answer.data["results"]
    assert (full["fault"], full["error"], full["provider"]) == ("mailbox", "Full.", "First")
    assert (full["campaign"], full["to"]) == (held.pk, "a@example.com")
    assert (late["fault"], late["status"], late["campaign"]) == ("expired", "expired", None)


@pytest.mark.parametrize("query", [{"fault": "mailbox"}, {"provider": "First"}, {"stream": "x"}])
def test_programs_narrow_them(account, query):
    letter(None, fault="mailbox", provider=account)
    letter(None, fault="content")

    answer = Api().get("email/dead-letters/", **query)

    assert answer.status == (400 if "stream" in query else 200)
    if answer.status == 200:
        assert len(answer.data["results"]) == 1


def test_programs_page_by_cursor():
    held = campaign()
    letters = [letter(held).token for _ in range(3)]
    api = Api()

    first = api.get("email/dead-letters/", limit=2).data
    second = api.get(first["next"]).data

    assert [each["id"] for each in first["results"] + second["results"]] == letters[::-1]


def test_programs_try_one_again():
    one = letter(None, fault="address")
    api = Api()

    answer = api.post(f"email/dead-letters/{one.token}/retry/")
    again = api.post(f"email/dead-letters/{one.token}/retry/")

    assert (answer.status, answer.data["status"]) == (200, "queued")
    assert (again.status, again.error["code"]) == (409, "not_dead")
    assert api.post("email/dead-letters/m0/retry/").status == 404
    entry = AuditEntry.objects.get()
    assert (entry.action, entry.object_id) == ("dead_letter.retry", one.pk)


def test_programs_try_many_again():
    held = campaign()
    one, two = letter(held, fault="mailbox"), letter(held, fault="content")
    letter(held, fault="template")
    api = Api()

    by_filter = api.post("email/dead-letters/retry/", {"campaign": held.pk, "fault": "mailbox"})
    by_id = api.post("email/dead-letters/retry/", {"ids": [one.token, two.token]})
    everything = api.post("email/dead-letters/retry/", {"all": True})

    for answer in (by_filter, by_id, everything):
        assert (answer.status, answer.data) == (200, {"retried": 1, "more": False})
    assert set(AuditEntry.objects.values_list("action", flat=True)) == {"dead_letter.retry_many"}


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"all": False},
        {"all": True, "fault": "mailbox"},
        {"ids": []},
        {"ids": ["nonsense"]},
        {"fault": "nonsense"},
        {"provider": "nobody"},
        {"campagne": 5},
    ],
)
def test_programs_that_do_not_say_what_are_refused(body):
    letter(None)

    answer = Api().post("email/dead-letters/retry/", body)

    assert answer.status == 400
    assert set(statuses().values()) == {"failed"}


def test_a_key_that_may_only_read_tries_nothing():
    letter(None)
    reader = Api(make.api_key("read"))

    assert reader.get("email/dead-letters/").status == 200
    assert reader.post("email/dead-letters/retry/", {"all": True}).status == 403
    assert Api(None).get("email/dead-letters/").status == 401


# --- The terminal -------------------------------------------------------------------------


def test_operators_count_and_try_on_the_terminal(monkeypatch):
    monkeypatch.setattr(reviving, "MOST_AT_ONCE", 1)
    held = campaign()
    for fault in ("mailbox", "mailbox", "address"):
        letter(held, fault=fault)
    out = StringIO()

    call_command("dead_letters", stdout=out)
    assert "2  mailbox" in out.getvalue()
    assert set(statuses().values()) == {"failed"}

    call_command("dead_letters", retry=True, campaign=held.pk, stdout=out)
    assert "2 queued again" in out.getvalue()
    assert sorted(statuses().values()) == ["failed", "queued", "queued"]
