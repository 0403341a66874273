"""What suppressions stop: by reason, reach and time; and what lifting one leaves standing."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone

from emailplatform.errors import InvalidInput
from emailplatform.secrets import address_key
from subscribers import consenting, enrolling
from subscribers.consents import BY_TEAM
from subscribers.models import Subscriber, Subscription, Suppression
from subscribers.querysets import Reach
from tests import make
from tests.make import NOW
from tests.subscribers.files import imported

pytestmark = pytest.mark.django_db
SOON = timedelta(days=14)


def stop(email, reason="blocked", **reach):
    return consenting.suppress(email, reason, "by hand", NOW, reach=Reach(**reach))


def test_what_stops_one_list_or_stream_leaves_the_person_open():
    news, offers = make.mailing_list(), make.mailing_list()
    person = make.subscriber("ana@x.example", lists=[news, offers])

    assert stop("ana@x.example", list=news.pk)
    assert not stop("ana@x.example", list=news.pk)

    person.refresh_from_db()
    assert person.is_mailable
    assert not Subscriber.objects.mailable([news.pk]).exists()
    assert Subscriber.objects.mailable([offers.pk]).exists()

    assert stop("ana@x.example", stream="transactional")
    assert Subscriber.objects.mailable([offers.pk]).exists()
    assert stop("ana@x.example", stream="marketing")
    assert not Subscriber.objects.mailable([offers.pk]).exists()
    assert Suppression.objects.count() == 3


def test_what_ends_of_itself_is_over_then_and_a_later_end_takes_its_place():
    person = make.subscriber("ana@x.example")
    now = timezone.now()

    assert stop("ana@x.example", "soft_bounced", expires_at=now + SOON)
    assert not stop("ana@x.example", "soft_bounced", expires_at=now + SOON / 2)
    assert not Subscriber.objects.mailable().exists()
    assert stop("ana@x.example", "soft_bounced", expires_at=now + 2 * SOON)

    person.refresh_from_db()
    assert person.status == Subscriber.Status.ACTIVE
    assert Suppression.objects.get().expires_at == now + 2 * SOON
    assert not Suppression.objects.in_force(now + 2 * SOON).exists()
    assert Suppression.objects.end_expired(now + SOON) == 0
    assert Suppression.objects.end_expired(now + 2 * SOON) == 1


@pytest.mark.parametrize(
    ("reason", "reach"),
    [
        ("blocked", {"stream": "sms"}),
        ("unsubscribed", {"stream": "critical"}),
        ("blocked", {"expires_at": NOW}),
        ("soft_bounced", {}),
        ("blocked", {"stream": "marketing", "list": 1}),
    ],
)
def test_what_cannot_be_meant_is_refused(reason, reach):
    with pytest.raises(InvalidInput):
        stop("ana@x.example", reason, **reach)


def test_the_database_refuses_soft_bounces_without_an_end():
    with pytest.raises(IntegrityError), transaction.atomic():
        make.suppression("ana@x.example", "soft_bounced")


def test_lifting_one_reason_leaves_the_other():
    person = make.subscriber("ana@x.example")
    consenting.unsubscribe(person, [], NOW)
    stop("ana@x.example", "bounced")

    consenting.lift(Suppression.objects.get(reason="unsubscribed"), NOW)

    person.refresh_from_db()
    assert person.status == "bounced"
    assert not Subscriber.objects.mailable().exists()

    consenting.lift(Suppression.objects.get(), NOW)

    person.refresh_from_db()
    assert person.is_mailable


def test_who_unsubscribed_before_a_bounce_is_not_revived_by_lifting_the_bounce():
    person = make.subscriber("ana@x.example")
    stop("ana@x.example", "bounced")
    consenting.unsubscribe(person, [], NOW)

    consenting.lift(Suppression.objects.get(reason="bounced"), NOW)

    person.refresh_from_db()
    assert person.status == "unsubscribed"


def test_a_new_person_has_the_gravest_reason_and_leaves_the_lists_that_are_closed():
    news, offers = make.mailing_list(), make.mailing_list()
    make.suppression("ana@x.example", "unsubscribed")
    make.suppression("ana@x.example", "bounced")
    make.suppression("bo@x.example", "unsubscribed", list=news)
    make.suppression("cy@x.example", "blocked", stream="marketing")

    ana, _ = enrolling.enrol("ana@x.example", source="test", now=NOW)
    bo, _ = enrolling.enrol("bo@x.example", [news, offers], source="test", now=NOW)
    cy, _ = enrolling.enrol("cy@x.example", source="test", now=NOW)

    assert ana.status == "bounced"
    assert cy.status == "active"
    assert dict(bo.subscriptions.values_list("list", "status")) == {
        news.pk: "unsubscribed",
        offers.pk: "active",
    }


def test_an_import_revives_nobody_whatever_the_reach(settings, tmp_path):
    settings.MEDIA_ROOT = tmp_path
    news = make.mailing_list()
    make.suppression("ana@x.example", "unsubscribed")
    make.suppression("ana@x.example", "complained")
    make.suppression("bo@x.example", "blocked", list=news)
    make.suppression("cy@x.example", "blocked", stream="transactional")

    import_ = imported(b"email\nana@x.example\nbo@x.example\ncy@x.example\n", news)

    assert Subscriber.objects.get(email="ana@x.example").status == "complained"
    assert dict(Subscription.objects.values_list("subscriber__email", "status")) == {
        "ana@x.example": "unsubscribed",
        "bo@x.example": "unsubscribed",
        "cy@x.example": "active",
    }
    assert (import_.created_count, import_.subscribed_count) == (3, 1)


def test_ones_own_no_is_taken_back_for_the_lists_one_wants_and_no_other_reason():
    news = make.mailing_list()
    own = make.suppression("ana@x.example", "unsubscribed", list=news)
    make.suppression("ana@x.example", "blocked", stream="transactional")
    person = make.subscriber("ana@x.example")
    key = address_key("ana@x.example")

    assert list(Suppression.objects.said_no(key, [news.pk])) == [own]
    assert not Suppression.objects.said_no(key, [])

    consenting.come_back(person, [news.pk], NOW, BY_TEAM, everything=True)

    assert Suppression.objects.get().reason == "blocked"
