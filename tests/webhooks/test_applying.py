"""From stored requests to messages, people and counters; poison, waiting, doubt."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any

import pytest
from cryptography.fernet import Fernet
from django.db import connection, transaction
from django.utils import timezone

from campaigns.models import Campaign
from delivery import counting, reports
from delivery.models import CampaignStat, Message, ProviderAccount
from subscribers.models import Subscriber, Suppression
from tests import make
from tests.webhooks.esp import sendgrid_event
from webhooks import concluding
from webhooks.applying import TRIES, apply_pending
from webhooks.models import Event, RawRequest, WebhookCount

pytestmark = pytest.mark.django_db

HOUR = timedelta(hours=1)
HARD: dict[str, Any] = {
    "type": "bounce",
    "bounce_classification": "Invalid Address",
    "status": "5.1.1",
    "reason": "550 5.1.1 no such user",
}
SOFT: dict[str, Any] = {
    "type": "bounce",
    "bounce_classification": "Mailbox Unavailable",
    "status": "4.2.2",
    "reason": "452 4.2.2 mailbox full",
}
BLOCK: dict[str, Any] = {
    "type": "blocked",
    "reason": "550 5.7.1 your IP is blocked",
    "status": "5.7.1",
}


def now() -> datetime:
    return timezone.now()


def mailed(account: ProviderAccount, campaign: Campaign | None = None, **fields: Any) -> Message:
    """Return a message that `account` has been given."""
    given = {"status": "sent", "sent_at": now(), "provider": account, **fields}
    return make.message(campaign or make.launched(), **given)


def posted(account: ProviderAccount, *entries: Any, **fields: Any) -> RawRequest:
    return RawRequest.objects.create(account=account, body=json.dumps(entries).encode(), **fields)


def apply_all() -> None:
    while apply_pending(100, now()):
        pass


def hear(message: Message, event: str, at: datetime | None = None, **more: Any) -> None:
    """Post one event about a message and apply it; the message is as the database has it then."""
    account = message.provider or ProviderAccount.objects.first()
    assert account
    posted(account, sendgrid_event(message, event, at or now(), **more))
    apply_all()
    message.refresh_from_db()


def totals(message: Message) -> reports.Totals:
    assert message.campaign
    return reports.totals(message.campaign)


def recount(message: Message) -> dict[int, dict[str, int]]:
    assert message.campaign_id
    return counting.rebuild(message.campaign_id)


# --- Messages and counters ---------------------------------------------------------------


def test_the_earliest_time_wins_and_its_hour_is_counted():
    message = mailed(make.account())
    nine = now().replace(minute=30) - 3 * HOUR

    hear(message, "open", nine + 2 * HOUR)
    hear(message, "open", nine)
    hear(message, "open", nine + HOUR)

    assert message.opened_at == nine.replace(microsecond=0)
    rows = CampaignStat.objects.filter(opened__gt=0).values_list("hour", "opened")
    assert list(rows) == [(nine.replace(minute=0, second=0, microsecond=0), 1)]


def test_an_open_shows_that_it_was_delivered():
    message = mailed(make.account())

    hear(message, "open")

    assert message.delivered_at == message.opened_at
    assert totals(message).delivered == 1


def test_machines_and_people_are_counted_apart():
    message = mailed(make.account())

    hear(message, "open", sg_machine_open=True)
    hear(message, "click", useragent="Barracuda Sentinel")
    by_machines = totals(message)
    hear(message, "open", useragent="Thunderbird")
    hear(message, "click", useragent="Thunderbird")

    assert (by_machines.machine_opened, by_machines.machine_clicked) == (1, 1)
    assert (by_machines.opened, by_machines.clicked) == (0, 0)
    assert (totals(message).opened, totals(message).clicked) == (1, 1)


def test_a_click_of_a_machine_does_not_show_that_it_was_delivered():
    message = mailed(make.account())

    hear(message, "click", useragent="Barracuda Sentinel")

    assert message.machine_clicked_at
    assert message.delivered_at is None


@pytest.mark.parametrize("order", [(HARD, SOFT), (SOFT, HARD)])
def test_the_worst_bounce_stays_and_counts_once(order):
    message = mailed(make.account())

    for bounce in order:
        hear(message, "bounce", **bounce)

    assert message.bounce_class == "hard"
    assert (totals(message).bounced, totals(message).soft_bounced) == (1, 0)


def test_an_event_before_our_own_commit_leaves_the_status_to_the_sender():
    message = mailed(make.account(), status="sending", sent_at=None)

    hear(message, "delivered")

    assert message.status == "sending"
    assert message.delivered_at
    assert message.sent_at is None


def test_a_dropped_mail_stays_sent():
    message = mailed(make.account())

    hear(message, "dropped", reason="Unsubscribed Address")

    assert (message.status, message.delivered_at) == ("sent", None)
    assert message.dropped_at
    assert totals(message).dropped == 1


def test_mail_by_api_is_marked_and_counted_for_no_campaign():
    account = make.account()
    message = mailed(account)
    Message.objects.update(campaign=None)

    hear(message, "delivered")

    assert message.delivered_at
    stat = CampaignStat.objects.get()
    assert (stat.campaign, stat.delivered) == (None, 1)


# --- Doubt -------------------------------------------------------------------------------


@pytest.mark.parametrize("event", ["processed", "deferred", "delivered", "open", "bounce"])
def test_evidence_settles_a_message_in_doubt(event):
    account, campaign = make.account(), make.launched()
    flight = now() - HOUR
    call = make.handoff(campaign, account, in_flight_at=flight)
    message = mailed(account, campaign, status="unknown", sent_at=None, handoff=call, error="?")

    hear(message, event, **SOFT)

    assert (message.status, message.sent_at, message.error) == ("sent", flight, "")
    assert totals(message).sent == 1
    assert counting.rebuild(campaign.pk) == {}


def test_a_drop_is_no_evidence():
    message = mailed(make.account(), status="unknown", sent_at=None)

    hear(message, "dropped", reason="Unsubscribed Address")

    assert message.status == "unknown"


def test_evidence_that_came_before_the_doubt_settles_it_too():
    message = mailed(make.account(), status="sending", sent_at=None)
    hear(message, "processed")
    Message.objects.update(status="unknown", error="No answer was seen.")

    concluding.settle_doubts()

    message.refresh_from_db()
    assert (message.status, message.error) == ("sent", "")
    assert totals(message).sent == 1
    assert recount(message) == {}


# --- People ------------------------------------------------------------------------------


def test_a_block_never_suppresses():
    message = mailed(make.account())

    hear(message, "bounce", **BLOCK)

    assert message.bounce_class == "block"
    assert not Suppression.objects.exists()
    assert Subscriber.objects.get().is_mailable


def test_a_drop_for_a_dead_address_is_copied_to_our_suppressions():
    message = mailed(make.account())

    hear(message, "dropped", reason="Bounced Address")

    assert Suppression.objects.get().reason == "bounced"
    assert (totals(message).dropped, totals(message).bounced) == (1, 0)


def test_a_suppression_names_no_address():
    account = make.account("SendGrid EU")
    message = mailed(account)

    hear(message, "bounce", **{**HARD, "reason": f"550 5.1.1 {message.email} unknown"})

    said = Suppression.objects.get().source
    assert said == f"SendGrid EU reported it about campaign {message.campaign_id}"


def test_soft_bounces_count_in_a_row_until_a_delivery():
    account, person = make.account(), make.subscriber()
    bounced = [mailed(account, person=person) for _ in range(3)]
    delivered, last = mailed(account, person=person), mailed(account, person=person)
    start = now() - 9 * HOUR
    counts = []

    def bounces() -> int:
        person.refresh_from_db()
        return person.soft_bounces

    for number, message in enumerate(bounced):
        hear(message, "bounce", start + number * HOUR, **SOFT)
        counts.append(bounces())
    hear(bounced[0], "bounce", start, **SOFT)
    counts.append(bounces())
    hear(delivered, "delivered", start + 5 * HOUR)
    counts.append(bounces())
    hear(last, "bounce", start + 6 * HOUR, **SOFT)
    counts.append(bounces())

    assert counts == [1, 2, 3, 3, 0, 1]


def test_unsubscribing_without_lists_is_from_everything():
    message = mailed(make.account())

    hear(message, "unsubscribe")

    assert Subscriber.objects.get().status == "unsubscribed"
    assert Suppression.objects.get().reason == "unsubscribed"


def test_somebody_mailed_without_being_on_the_list_leaves_everything():
    news = make.mailing_list()
    message = mailed(make.account(), make.launched([news]))

    hear(message, "unsubscribe")

    assert Subscriber.objects.get().status == "unsubscribed"


def test_a_list_left_since_the_mail_is_not_left_again():
    news = make.mailing_list()
    person = make.subscriber(lists=[news])
    first, second = (mailed(make.account(), make.launched([news]), person=person) for _ in "12")

    hear(first, "unsubscribe")
    hear(second, "unsubscribe")

    person.refresh_from_db()
    assert person.is_mailable
    assert person.subscriptions.get().status == "unsubscribed"


def test_an_erased_person_is_suppressed_by_the_message():
    message = mailed(make.account())
    Subscriber.objects.all().delete()

    hear(message, "spamreport")

    assert bytes(Suppression.objects.get().address_key) == bytes(message.address_key)


# --- Events that are not believed --------------------------------------------------------


@pytest.mark.parametrize("event", ["spamreport", "bounce", "unsubscribe", "delivered"])
def test_an_event_about_another_address_changes_nothing(event):
    message = mailed(make.account())

    hear(message, event, email="victim@example.com", **HARD)

    assert not Suppression.objects.exists()
    assert Subscriber.objects.get().is_mailable
    assert (message.delivered_at, message.complained_at, message.bounced_at) == (None,) * 3
    stored = Event.objects.get()
    assert (stored.message_id, stored.campaign_id, stored.subscriber_id) == (None, None, None)


@pytest.mark.parametrize(("event", "is_believed"), [("delivered", True), ("spamreport", False)])
def test_without_an_address_only_harmless_events_are_believed(event, is_believed):
    message = mailed(make.account())

    hear(message, event, email="")

    assert (Event.objects.get().message_id == message.pk) == is_believed
    assert not Suppression.objects.exists()


def test_addresses_match_whatever_their_case():
    message = mailed(make.account())

    hear(message, "delivered", email=message.email.upper())

    assert message.delivered_at


def test_nobody_reports_on_a_message_that_was_never_handed_over():
    message = mailed(make.account(), status="queued", provider=None, sent_at=None)

    hear(message, "spamreport")

    assert not Suppression.objects.exists()
    assert message.complained_at is None


@pytest.mark.parametrize("token", ["", "m0", "mallory", "m" + "f" * 40, "0199f3a0-5b1c"])
def test_an_event_without_a_message_of_ours_is_stored_alone(token):
    posted(make.account(), {"email": "a@example.com", "event": "spamreport", "message_id": token})

    apply_all()

    assert RawRequest.objects.get().status == "applied"
    assert Event.objects.get().message_id is None


# --- Waiting -----------------------------------------------------------------------------


def test_an_event_waits_for_its_message_and_lets_the_others_through():
    account = make.account()
    here, missing = mailed(account), mailed(account)
    entries = [sendgrid_event(each, "delivered", now()) for each in (here, missing)]
    fields: dict[str, Any] = {"campaign": missing.campaign, "person": missing.subscriber}
    pk = missing.pk
    missing.delete()
    request = posted(account, *entries)

    apply_all()

    request.refresh_from_db()
    here.refresh_from_db()
    assert request.status == "pending"
    assert request.due_at - now() > timedelta(seconds=20)
    assert "1 events wait" in request.error
    assert here.delivered_at
    late = mailed(account, id=pk, **fields)

    apply_pending(10, request.due_at)

    request.refresh_from_db()
    late.refresh_from_db()
    assert (request.status, request.error) == ("applied", "")
    assert late.delivered_at
    assert Event.objects.count() == 2


def test_after_a_day_an_event_waits_no_longer():
    account = make.account()
    message = mailed(account)
    entry = sendgrid_event(message, "delivered", now())
    message.delete()
    request = posted(account, entry, received_at=now() - timedelta(hours=24, seconds=1))

    apply_all()

    request.refresh_from_db()
    assert request.status == "applied"
    assert Event.objects.get().message_id is None


# --- Poison ------------------------------------------------------------------------------


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
def test_poison_never_blocks_the_others_and_is_put_aside_after_three_tries():
    account = make.account()
    message = mailed(account)
    before = posted(account, sendgrid_event(message, "delivered", now()))
    bad = posted(account, sendgrid_event(message, "open", now(), sg_event_id="poison"))
    after = posted(account, sendgrid_event(message, "click", now()))

    dues = []
    for _ in range(TRIES):
        bad.refresh_from_db()
        dues.append(bad.due_at)
        apply_pending(10, max(bad.due_at, now()))

    states = dict(RawRequest.objects.values_list("pk", "status"))
    assert states == {before.pk: "applied", bad.pk: "failed", after.pk: "applied"}
    assert dues == sorted(set(dues))
    bad.refresh_from_db()
    assert bad.attempts == TRIES
    assert "RaiseException" in bad.error or "this is poison" in bad.error
    message.refresh_from_db()
    assert message.clicked_at
    assert message.opened_at is None
    assert dict(WebhookCount.objects.values_list("outcome", "requests")) == {
        "stored": 3,
        "applied": 2,
        "failed": 1,
        "events": 2,
        "new": 2,
    }


def test_an_account_whose_secrets_cannot_be_read_stops_its_own_requests_alone(settings):
    kept = settings.ENCRYPTION_KEYS
    settings.ENCRYPTION_KEYS = [Fernet.generate_key().decode()]
    locked = make.account("Locked out")
    settings.ENCRYPTION_KEYS = kept
    message = mailed(make.account())
    bad = RawRequest.objects.create(account_id=locked.pk, body=b"[]")
    assert message.provider_id
    good = RawRequest.objects.create(
        account_id=message.provider_id,
        body=json.dumps([sendgrid_event(message, "delivered", now())]).encode(),
    )

    for _ in range(TRIES):
        bad.refresh_from_db()
        apply_pending(10, max(bad.due_at, now()))

    bad.refresh_from_db()
    good.refresh_from_db()
    message.refresh_from_db()
    assert (good.status, bad.status, bad.attempts) == ("applied", "failed", TRIES)
    assert message.delivered_at
    assert "The account “Locked out” cannot be read." in bad.error
    assert "put that key back" in bad.error


def test_what_failed_can_be_replayed(poison: None):
    account = make.account()
    message = mailed(account)
    bad = posted(account, sendgrid_event(message, "open", now(), sg_event_id="poison"))
    for _ in range(TRIES):
        bad.refresh_from_db()
        apply_pending(10, max(bad.due_at, now()))
    with connection.cursor() as cursor:
        cursor.execute("DROP TRIGGER poison ON webhooks_event")
    bad.refresh_from_db()

    bad.replay(now())
    apply_all()

    bad.refresh_from_db()
    message.refresh_from_db()
    assert (bad.status, bad.attempts, bad.error) == ("applied", 0, "")
    assert message.opened_at


def test_replaying_everything_changes_nothing():
    account = make.account()
    news = make.mailing_list()
    person = make.subscriber(lists=[news])
    message = mailed(account, make.launched([news]), person=person)
    for event in ("delivered", "open", "unsubscribe"):
        hear(message, event)
    person.subscriptions.update(status="active")
    before = totals(message)

    assert RawRequest.objects.all().replay() == 3
    apply_all()

    assert totals(message) == before
    assert Event.objects.count() == 3
    assert person.subscriptions.get().status == "active", "An old event is not a new wish."


def test_an_event_shows_what_the_provider_said():
    message = mailed(make.account())
    hear(message, "delivered", response="250 OK")

    event = Event.objects.get()
    assert event.raw["response"] == "250 OK"
    RawRequest.objects.all().delete()
    assert Event.objects.get().raw == {}


# --- Together ----------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_several_who_apply_share_the_work_and_count_everything_once():
    account, campaign = make.account(), make.launched()
    messages = [mailed(account, campaign) for _ in range(20)]
    for _ in range(3):
        for message in messages:
            for event in ("open", "delivered"):
                posted(account, sendgrid_event(message, event, now()))

    def work(_: int) -> None:
        try:
            while RawRequest.objects.filter(status="pending").exists():
                apply_pending(7, now())
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as workers:
        list(workers.map(work, range(4)))

    assert not RawRequest.objects.exclude(status="applied").exists()
    assert (reports.totals(campaign).opened, reports.totals(campaign).delivered) == (20, 20)
    assert counting.rebuild(campaign.pk) == {account.pk: {"sent": 20}}


@pytest.mark.django_db(transaction=True)
def test_applying_gives_way_to_a_sender_and_comes_back():
    message = mailed(make.account())
    account = message.provider
    assert account
    request = posted(account, sendgrid_event(message, "delivered", now()))

    def apply_in_a_thread() -> int:
        try:
            return apply_pending(10, now())
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as other:
        with transaction.atomic():
            Message.objects.select_for_update().get()
            during = other.submit(apply_in_a_thread).result()
        request.refresh_from_db()
        still = request.status
        after = other.submit(apply_in_a_thread).result()

    request.refresh_from_db()
    assert (during, still, after, request.status) == (0, "pending", 1, "applied")
