"""The made-up audience: believable, consistent in itself, and only where nothing real is."""

from __future__ import annotations

from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.db.models import Count, F, Q

from campaigns.models import Campaign
from delivery import counting
from delivery.models import Message
from emailplatform.secrets import address_key
from subscribers import segmenting
from subscribers.mailboxes import mailbox_of
from subscribers.models import Attribute, Engagement, Segment, Subscriber, Subscription, Suppression
from subscribers.validating import clean_address
from tests import make
from webhooks.models import Event

pytestmark = pytest.mark.django_db


def made(people: int = 400, events: int = 3_000, **options: Any) -> str:
    out = StringIO()
    call_command("make_audience", people=people, events=events, stdout=out, **options)
    return out.getvalue()


def test_there_are_as_many_people_as_asked_for_and_about_as_many_events() -> None:
    said = made()

    assert Subscriber.objects.count() == 400
    assert Event.objects.count() == pytest.approx(3_000, rel=0.1)
    assert f"{Event.objects.count():,} events" in said


def test_people_are_such_as_an_import_would_have_made() -> None:
    made()

    for person in Subscriber.objects.all():
        assert clean_address(person.email) == person.email
        assert person.email.endswith(".example"), "mail must not get to anybody"
        assert bytes(person.address_key) == address_key(person.email)
        assert person.mailbox == mailbox_of(person.email)
    assert Subscriber.objects.values("language").distinct().count() > 5
    assert Subscriber.objects.exclude(tags=[]).exists()
    assert set(Attribute.objects.values_list("name", flat=True)) >= {"plan", "points", "birthday"}
    assert all(segmenting.count(segment.rules) for segment in Segment.objects.all())


def test_who_left_is_suppressed_and_on_no_list() -> None:
    made()

    gone = Subscriber.objects.exclude(status="active")
    reasons = {bytes(row.address_key): row.reason for row in Suppression.objects.all()}
    assert gone.exists()
    assert all(reasons[bytes(person.address_key)] == person.status for person in gone)
    said_no = Q(subscriber__status="unsubscribed") | Q(subscriber__status="complained")
    assert not Subscription.objects.filter(said_no, status="active").exists()


def test_messages_say_what_their_events_say_and_counters_what_messages_say() -> None:
    made()

    bounced = set(Event.objects.filter(type="bounced").values_list("message_id", flat=True))
    assert bounced == set(
        Message.objects.filter(bounced_at__isnull=False).values_list("pk", flat=True)
    )
    opened = Event.objects.filter(type="opened", is_machine=False)
    assert set(opened.values_list("message_id", flat=True)) == set(
        Message.objects.filter(opened_at__isnull=False).values_list("pk", flat=True)
    )
    assert not any(counting.rebuild(campaign.pk) for campaign in Campaign.objects.all())


def test_what_people_did_is_added_up_per_person() -> None:
    made()

    for row in Engagement.objects.all():
        own = Message.objects.filter(subscriber=row.subscriber_id)
        assert row.received == own.filter(delivered_at__isnull=False).count()
        assert row.opened == own.filter(opened_at__isnull=False).count()
    assert Engagement.objects.count() == Message.objects.values("subscriber").distinct().count()


def test_nobody_gets_mail_before_they_came_or_after_they_left() -> None:
    made()

    messages = Message.objects.filter(subscriber__isnull=False)
    assert messages.count() == Message.objects.count()
    assert not messages.filter(sent_at__lt=F("subscriber__created_at")).exists()
    left = messages.filter(unsubscribed_at__isnull=False)
    assert left.exists()
    for message in left:
        later = Message.objects.filter(subscriber=message.subscriber, sent_at__gt=message.sent_at)
        assert not later.exists()


def test_some_read_much_and_many_nothing() -> None:
    made(people=600, events=8_000)

    read = Count("message", filter=Q(message__opened_at__isnull=False))
    rows = Subscriber.objects.values_list("pk").annotate(opened=read, got=Count("message"))
    shares = [opened / got for _pk, opened, got in rows if got >= 5]
    assert sum(share == 0 for share in shares) > len(shares) / 5
    assert sum(share > 0.5 for share in shares) > len(shares) / 50


def test_the_same_seed_makes_the_same_people_and_another_one_others() -> None:
    made(people=50, events=0)
    first = list(Subscriber.objects.order_by("pk").values_list("first_name", "country"))
    Subscription.objects.all().delete()
    Subscriber.objects.all().delete()
    Suppression.objects.all().delete()

    made(people=50, events=0, seed=2)
    other = list(Subscriber.objects.order_by("pk").values_list("first_name", "country"))
    assert first != other


def test_indexes_and_keys_are_as_they_were() -> None:
    before = _definitions()

    made(people=20, events=100)

    assert _definitions() == before


def _definitions() -> set[tuple[str, str]]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT tablename, indexdef FROM pg_indexes WHERE schemaname = 'public' UNION"
            " SELECT conrelid::regclass::text, conname || pg_get_constraintdef(oid)"
            " FROM pg_constraint WHERE connamespace = 'public'::regnamespace"
        )
        return set(cursor.fetchall())


def test_where_there_is_somebody_already_it_must_be_forced() -> None:
    make.subscriber("ana@example.com")

    with pytest.raises(CommandError, match="already"):
        made(people=10, events=0)
    made(people=10, events=0, force=True)

    assert Subscriber.objects.count() == 11


def test_nothing_is_made_up_in_production(settings: Any) -> None:
    settings.LOCAL = settings.DEBUG = False

    with pytest.raises(CommandError, match="LOCAL"):
        made(people=10)

    assert not Subscriber.objects.exists()
