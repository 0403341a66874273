from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import connection

from emailplatform.errors import InvalidInput
from emailplatform.secrets import address_key
from subscribers import consenting
from subscribers.models import Subscriber, Subscription, Suppression
from tests import make
from tests.make import NOW

pytestmark = pytest.mark.django_db
LATER = NOW + timedelta(days=1)


def standing(person):
    return dict(person.subscriptions.values_list("list", "status"))


def test_leaving_one_list_leaves_the_others():
    news, shop = make.mailing_list(), make.mailing_list()
    person = make.subscriber(lists=[news, shop])

    assert consenting.unsubscribe(person, [news.pk], NOW)
    assert not consenting.unsubscribe(person, [news.pk], LATER)

    assert standing(person) == {news.pk: "unsubscribed", shop.pk: "active"}
    assert person.subscriptions.get(list=news).changed_at == NOW
    assert Subscriber.objects.mailable().get() == person
    assert not Suppression.objects.exists()


def test_leaving_everything_ends_every_subscription_and_suppresses():
    news, shop = make.mailing_list(), make.mailing_list()
    person = make.subscriber("ana@x.example", lists=[news, shop])

    assert consenting.unsubscribe(person, [], NOW, "the form")
    assert not consenting.unsubscribe(person, [], LATER)

    assert set(standing(person).values()) == {"unsubscribed"}
    assert person.status == Subscriber.Status.UNSUBSCRIBED
    assert person.status_changed_at == NOW
    said = Suppression.objects.get()
    assert (bytes(said.address_key), said.source) == (address_key("ana@x.example"), "the form")


def test_the_first_status_stays_and_every_reason_is_kept():
    person = make.subscriber("ana@x.example")
    consenting.suppress("ANA@x.example", Suppression.Reason.COMPLAINED, "a provider", NOW)

    assert not consenting.suppress("ana@x.example", Suppression.Reason.COMPLAINED, "again", LATER)
    assert consenting.suppress("ana@x.example", Suppression.Reason.BOUNCED, "another", LATER)
    consenting.unsubscribe(person, [], LATER)

    person.refresh_from_db()
    assert person.status == Subscriber.Status.COMPLAINED
    assert person.status_changed_at == NOW
    reasons = Suppression.objects.order_by("reason").values_list("reason", flat=True)
    assert list(reasons) == ["bounced", "complained", "unsubscribed"]


def test_an_address_nobody_has_can_be_suppressed_and_by_its_key():
    assert consenting.suppress("nobody@x.example", Suppression.Reason.BLOCKED, "by hand", NOW)
    assert consenting.suppress(address_key("b@x.example"), Suppression.Reason.BOUNCED, "", NOW)

    assert not Subscriber.objects.exists()
    assert Suppression.objects.count() == 2


@pytest.mark.parametrize(("email", "reason"), [("no address", "bounced"), ("a@x.example", "bored")])
def test_nonsense_is_not_suppressed(email, reason):
    with pytest.raises(InvalidInput):
        consenting.suppress(email, reason, "", NOW)


def test_lifting_lets_the_address_be_mailed_again_but_lists_stay_left():
    news = make.mailing_list()
    person = make.subscriber(lists=[news])
    consenting.unsubscribe(person, [], NOW)

    consenting.lift(Suppression.objects.get(), LATER)

    person.refresh_from_db()
    assert person.is_mailable
    assert standing(person) == {news.pk: "unsubscribed"}
    assert not Suppression.objects.exists()


def test_lifting_does_not_touch_another_reason():
    person = make.subscriber(status=Subscriber.Status.COMPLAINED)
    said = make.suppression(person.email, Suppression.Reason.BOUNCED)

    consenting.lift(said, NOW)

    person.refresh_from_db()
    assert person.status == Subscriber.Status.COMPLAINED


def test_many_are_suppressed_and_closed_in_one_statement(django_assert_num_queries):
    people = [make.subscriber() for _ in range(3)]
    done = make.subscriber(status=Subscriber.Status.UNSUBSCRIBED)
    rows = [(bytes(each.address_key), "bounced", "s" * 300) for each in [*people, done]]
    rows += [(bytes(people[0].address_key), "complained", "later in the same batch")]

    with django_assert_num_queries(1):
        assert Suppression.objects.suppress_many(rows, NOW) == 4

    assert Suppression.objects.suppress_many(rows, LATER) == 0
    assert Suppression.objects.suppress_many([], NOW) == 0
    assert Subscriber.objects.filter(status="bounced", status_changed_at=NOW).count() == 3
    assert Suppression.objects.get(address_key=people[0].address_key).reason == "bounced"
    done.refresh_from_db()
    assert done.status == Subscriber.Status.UNSUBSCRIBED


@pytest.mark.django_db(transaction=True)
def test_two_clicks_at_once_are_one_unsubscription():
    person = make.subscriber(lists=[make.mailing_list()])

    def click(_):
        try:
            return consenting.unsubscribe(Subscriber.objects.get(pk=person.pk), [], NOW)
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as clicks:
        changed = list(clicks.map(click, range(8)))

    assert changed.count(True) == 1
    assert Suppression.objects.count() == 1
    assert Subscription.objects.get().status == "unsubscribed"
