"""What an event is to the message it names: its own, a copy's, an orphan; and who looked."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

import maxminddb
import pytest
from django.db import connection
from django.test import Client
from django.utils import timezone

from delivery.models import Mail, Message
from emailplatform.secrets import address_key
from subscribers.models import Suppression
from tests import make
from tests.webhooks.esp import esp, sendgrid_event
from tests.webhooks.test_applying import HARD, apply_all, mailed, posted
from webhooks import applying, looking
from webhooks.applying import TRIES, apply_pending
from webhooks.looking import country_of, look_of
from webhooks.models import Event, RawRequest, WebhookCount

pytestmark = pytest.mark.django_db

WINDOWS_PROXY = (
    "Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)"
)
APPLE_MAIL = (
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko)"
)
TABLET = (
    "Mozilla/5.0 (Linux; Android 14; SM-X710) AppleWebKit/537.36 (KHTML, like Gecko)"
    " Chrome/140.0.0.0 Safari/537.36"
)
IPHONE = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like"
    " Gecko) Version/18.6 Mobile/15E148 Safari/604.1"
)


def mail_with_copies(**fields: Any) -> Message:
    """Return a mail sent by API to Ann, with copies to others."""
    message = Message.objects.create(
        email="ann@gmail.com",
        address_key=address_key("ann@gmail.com"),
        mailbox="gmail",
        stream="transactional",
        **{"status": "sent", "sent_at": timezone.now(), "provider": make.account(), **fields},
    )
    copies = {"cc": [["Bob@Example.com", "Bob"]], "bcc": [["eve@example.com", ""]], "to": []}
    Mail.objects.create(message=message, from_email="a@example.com", copies=copies)
    return message


def hear(message: Message, event: str, **more: Any) -> RawRequest:
    assert message.provider
    request = posted(message.provider, sendgrid_event(message, event, timezone.now(), **more))
    apply_all()
    message.refresh_from_db()
    request.refresh_from_db()
    return request


# --- Copies ------------------------------------------------------------------------------


@pytest.mark.parametrize("event", ["delivered", "open", "click", "deferred", "bounce", "dropped"])
def test_what_is_told_of_a_copy_is_kept_and_marks_nothing(event: str):
    message = mail_with_copies()

    request = hear(message, event, email="bob@example.com")

    kept = Event.objects.get()
    assert (kept.message_id, kept.standing) == (message.pk, "copy")
    assert request.error == ""
    times = [field.name for field in Message._meta.fields if field.name.endswith("ed_at")]
    assert len(times) > 8
    assert [name for name in times if getattr(message, name)] == ["created_at"]
    assert message.bounce_class == ""


@pytest.mark.parametrize(
    ("event", "more", "reason"),
    [("bounce", HARD, "bounced"), ("spamreport", {}, "complained"), ("delivered", {}, None)],
)
def test_a_copy_that_bounced_or_complained_is_suppressed_and_nobody_else(event, more, reason):
    person = make.subscriber("bob@example.com")
    message = mail_with_copies()

    hear(message, event, email="BOB@example.com", **more)

    suppressed = dict(Suppression.objects.values_list("address_key", "reason"))
    assert suppressed == ({address_key("bob@example.com"): reason} if reason else {})
    person.refresh_from_db()
    assert person.status == (reason or "active")


def test_the_mail_of_the_person_is_marked_beside_its_copies():
    message = mail_with_copies()

    hear(message, "bounce", email="eve@example.com", **HARD)
    hear(message, "delivered")

    assert message.delivered_at
    assert not message.bounced_at


def test_a_copy_shows_that_a_mail_in_doubt_was_taken():
    message = mail_with_copies(status="unknown", sent_at=None)

    hear(message, "delivered", email="bob@example.com")

    assert message.status == "sent"
    assert not message.delivered_at


def test_an_address_that_was_no_copy_is_not_believed():
    message = mail_with_copies()

    request = hear(message, "bounce", email="mallory@example.com", **HARD)

    assert request.error.startswith("Unmatched events: 1.")
    assert Event.objects.get().standing == "foreign"
    assert not Suppression.objects.exists()


def test_a_mail_that_was_tried_elsewhere_first_is_told_of_by_both():
    first, second = make.account(), make.account()
    message = mail_with_copies(attempts=2, provider=second)
    handoff = make.handoff(None, first, stream="transactional", in_flight_at=timezone.now())
    message.failed_attempts.create(handoff=handoff, provider=first, status="queued")

    posted(first, sendgrid_event(message, "delivered", timezone.now()))
    apply_all()

    assert Event.objects.get().message_id == message.pk


# --- Orphans -----------------------------------------------------------------------------


def test_an_event_whose_message_never_comes_waits_a_day_and_is_an_orphan():
    account = make.account()
    ghost = Message(pk=987_654_321, email="ann@gmail.com")
    request = posted(account, sendgrid_event(ghost, "delivered", timezone.now()))
    began, looks = request.received_at, 0

    while request.status == "pending":
        looks += 1
        apply_pending(10, max(request.due_at, began))
        request.refresh_from_db()

    assert 8 < looks < 20
    assert request.due_at >= began + timedelta(hours=24)
    assert request.error.startswith("Orphans: 1.")
    assert Event.objects.get().standing == "orphan"


def test_an_event_that_names_no_mail_is_told_apart():
    message = mailed(make.account())
    assert message.provider

    posted(message.provider, {**sendgrid_event(message, "open", timezone.now()), "message_id": ""})
    apply_all()

    assert Event.objects.get().standing == "unnamed"


# --- Dead letters ------------------------------------------------------------------------


@pytest.fixture
def poison(db: None) -> None:
    """Let the database refuse events whose dedupe key is "poison"."""
    with connection.cursor() as cursor:
        cursor.execute("""
            CREATE FUNCTION refuse_poison() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN RAISE EXCEPTION 'this is poison'; END $$;
            CREATE TRIGGER poison BEFORE INSERT ON webhooks_event FOR EACH ROW
            WHEN (NEW.dedupe_key = 'poison') EXECUTE FUNCTION refuse_poison()
        """)


@pytest.mark.usefixtures("poison")
def test_beside_poison_others_are_applied_at_once_and_wait_for_their_messages_as_ever():
    account = make.account()
    here, missing = mailed(account), mailed(account)
    fields: dict[str, Any] = {"campaign": missing.campaign, "person": missing.subscriber}
    fields["id"] = missing.pk
    entries = [sendgrid_event(each, "delivered", timezone.now()) for each in (here, missing)]
    entries.insert(1, sendgrid_event(here, "open", timezone.now(), sg_event_id="poison"))
    missing.delete()
    request = posted(account, *entries)

    apply_all()
    here.refresh_from_db()
    at_once = here.delivered_at
    for _ in range(TRIES):
        request.refresh_from_db()
        apply_pending(10, request.due_at)
    request.refresh_from_db()
    waiting = request.status
    late = mailed(account, **fields)
    apply_pending(10, request.due_at)

    request.refresh_from_db()
    late.refresh_from_db()
    assert at_once
    assert waiting == "pending"
    assert late.delivered_at
    assert (request.status, request.attempts) == ("failed", TRIES)
    assert request.error.startswith("1 of 3 events could not be applied.")
    assert set(Event.objects.values_list("standing", flat=True)) == {""}
    counted = dict(WebhookCount.objects.values_list("outcome", "requests"))
    assert counted == {"stored": 1, "failed": 1, "events": 2, "new": 2}


@pytest.mark.usefixtures("poison")
def test_of_a_batch_with_poison_all_others_are_applied_and_the_traceback_is_kept():
    account = make.account()
    messages = [mailed(account) for _ in range(5)]
    entries = [sendgrid_event(each, "delivered", timezone.now()) for each in messages]
    entries.insert(2, sendgrid_event(messages[0], "open", timezone.now(), sg_event_id="poison"))
    request = posted(account, *entries)

    for _ in range(TRIES):
        apply_pending(10, max(request.due_at, timezone.now()))
        request.refresh_from_db()

    assert (request.status, request.attempts) == ("failed", 3)
    assert request.error.startswith("1 of 6 events could not be applied.")
    assert "this is poison" in request.traceback
    assert "Traceback (most recent call last)" in request.traceback
    assert Message.objects.filter(delivered_at__isnull=False).count() == 5
    counted = dict(WebhookCount.objects.values_list("outcome", "requests"))
    assert counted == {"stored": 1, "failed": 1, "events": 5, "new": 5}

    with connection.cursor() as cursor:
        cursor.execute("DROP TRIGGER poison ON webhooks_event")
    request.replay(timezone.now())
    apply_all()

    request.refresh_from_db()
    assert (request.status, request.error, request.traceback) == ("applied", "", "")
    assert Event.objects.count() == 6
    counted = dict(WebhookCount.objects.values_list("outcome", "requests"))
    assert (counted["events"], counted["new"], counted["applied"]) == (11, 6, 1)


def test_what_is_told_twice_is_counted_as_told_and_new_once():
    message = mailed(make.account())
    entry = sendgrid_event(message, "delivered", timezone.now())
    assert message.provider

    for _ in range(3):
        posted(message.provider, entry)
        apply_all()

    counted = dict(WebhookCount.objects.values_list("outcome", "requests"))
    assert counted == {"stored": 3, "applied": 3, "events": 3, "new": 1}


# --- Who looked --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("user_agent", "look"),
    [
        ("", ("", "", "", "")),
        (IPHONE, ("mobile", "", "Mobile Safari", "iOS")),
        (WINDOWS_PROXY, ("", "Gmail", "", "")),
        (APPLE_MAIL, ("desktop", "Apple Mail", "", "Mac OS X")),
        (TABLET, ("tablet", "", "Chrome", "Android")),
        (
            "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
            ("bot", "", "Googlebot", ""),
        ),
        ("\x00" * 500, ("", "", "", "")),
    ],
)
def test_a_user_agent_says_device_program_and_system(user_agent: str, look: tuple[str, ...]):
    assert look_of(user_agent) == look


def test_who_looked_is_kept_with_the_event(client: Client):
    provider = esp("generic")
    message = mailed(provider.account)

    provider.post(client, provider.tells("open", message))
    provider.post(client, provider.tells("complaint", message))
    apply_all()

    opened = Event.objects.get(type="opened")
    assert (opened.device, opened.browser, opened.os) == ("mobile", "Mobile Safari", "iOS")
    assert Event.objects.get(type="complained").complaint_type == "abuse"


def test_remembering_makes_ten_thousand_looks_cheap():
    agents = [f"{IPHONE} {number % 50}" for number in range(10_000)]
    [look_of(agent) for agent in agents[:50]]

    began = time.perf_counter()
    [look_of(agent) for agent in agents]

    assert time.perf_counter() - began < 0.5  # 100 µs each would be a second


def test_a_country_comes_from_the_file_or_else_from_the_provider(settings, monkeypatch, tmp_path):
    class Reader:
        def get(self, ip: str) -> Any:
            return {"country": {"iso_code": "PT"}} if ip == "203.0.113.9" else None

    country_of.cache_clear()
    looking._reader.cache_clear()
    opened: list[str] = []

    def open_database(path: str) -> Reader:
        opened.append(path)
        return Reader()

    monkeypatch.setattr(maxminddb, "open_database", open_database)

    settings.GEOIP_FILE = ""
    without = country_of("203.0.113.9")
    country_of.cache_clear()
    settings.GEOIP_FILE = str(tmp_path / "country.mmdb")
    found = [country_of("203.0.113.9"), country_of("198.51.100.1"), country_of("")]
    country_of.cache_clear()
    looking._reader.cache_clear()

    assert (without, found) == ("", ["PT", "", ""])
    assert opened == [settings.GEOIP_FILE]


def test_a_geoip_file_that_cannot_be_read_is_done_without(settings, tmp_path, caplog):
    path = tmp_path / "broken.mmdb"
    path.write_bytes(b"not a database")
    country_of.cache_clear()
    looking._reader.cache_clear()
    settings.GEOIP_FILE = str(path)

    assert country_of("203.0.113.9") == ""
    assert "geoip_unreadable" in caplog.text
    country_of.cache_clear()
    looking._reader.cache_clear()


def test_a_day_is_how_long_an_event_waits():
    assert timedelta(hours=24) == applying.WAIT_MOST
