"""Nobody is subscribed who is not there: what foreign keys promise, kept by triggers."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction

from subscribers.models import MailingList, Subscriber, Subscription
from tests import make
from tests.racing import overtaken

pytestmark = pytest.mark.django_db


def test_a_person_who_is_not_there_cannot_be_subscribed() -> None:
    news = make.mailing_list()

    with pytest.raises(IntegrityError), transaction.atomic():
        Subscription.objects.create(subscriber_id=4_711, list=news)

    assert not Subscription.objects.exists()


def test_a_list_that_is_not_there_cannot_be_subscribed_to() -> None:
    ana = make.subscriber()

    with pytest.raises(IntegrityError), transaction.atomic():
        Subscription.objects.bulk_create(
            [
                Subscription(subscriber=ana, list=make.mailing_list()),
                Subscription(subscriber=ana, list_id=4_711),
            ]
        )

    assert not Subscription.objects.exists()


def test_a_subscription_stays_with_its_person() -> None:
    ana, ben = make.subscriber(lists=[make.mailing_list()]), make.subscriber()

    with pytest.raises(IntegrityError), transaction.atomic():
        Subscription.objects.filter(subscriber=ana).update(subscriber=ben)


@pytest.mark.parametrize("model", [Subscriber, MailingList])
def test_the_database_deletes_nobody_from_under_their_subscriptions(model: Any) -> None:
    make.subscriber(lists=[make.mailing_list()])

    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"DELETE FROM {model._meta.db_table}")  # noqa: S608
        with pytest.raises(IntegrityError):
            cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        transaction.set_rollback(True)


def test_a_person_goes_with_their_subscriptions_in_whatever_order() -> None:
    ana = make.subscriber(lists=[make.mailing_list()])
    make.subscriber(lists=[make.mailing_list()]).delete()

    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM subscribers_subscriber WHERE id = %s", [ana.pk])
        cursor.execute("DELETE FROM subscribers_subscription WHERE subscriber_id = %s", [ana.pk])
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")

    assert not Subscriber.objects.exists()
    assert not Subscription.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_who_is_deleted_while_somebody_subscribes_them_waits_and_stays() -> None:
    ana, news = make.subscriber(), make.mailing_list()

    with pytest.raises(IntegrityError):
        overtaken(lambda: Subscription.objects.create(subscriber=ana, list=news), _delete(ana))

    assert Subscription.objects.get().subscriber == ana


@pytest.mark.django_db(transaction=True)
def test_who_is_subscribed_while_somebody_deletes_them_waits_and_is_refused() -> None:
    ana, news = make.subscriber(), make.mailing_list()

    with pytest.raises(IntegrityError):
        overtaken(_delete(ana), lambda: Subscription.objects.create(subscriber=ana, list=news))

    assert not Subscription.objects.exists()


def _delete(person: Subscriber):
    def delete() -> None:
        with connection.cursor() as cursor:
            cursor.execute("DELETE FROM subscribers_subscriber WHERE id = %s", [person.pk])

    return delete
