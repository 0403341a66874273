"""From an audience to messages, to a finished campaign."""

from __future__ import annotations

import pytest
from django.utils import timezone

from campaigns import launching
from campaigns.models import Campaign
from delivery import expanding
from delivery.models import Expansion, Message
from subscribers import consenting
from subscribers.models import Subscriber, Subscription
from tests import make

pytestmark = pytest.mark.django_db


def launched_to(people: int) -> Campaign:
    newsletter = make.mailing_list()
    for _ in range(people):
        make.subscriber(lists=[newsletter])
    campaign = make.campaign([newsletter])
    launching.launch(campaign, timezone.now())
    return campaign


def test_everybody_in_the_audience_gets_exactly_one_message():
    campaign = launched_to(5)

    expanding.expand_all(timezone.now())
    Expansion.objects.update(cursor=0, done_at=None)
    expanding.expand_all(timezone.now())

    assert Message.objects.filter(campaign=campaign).count() == 5


def test_an_interrupted_expansion_goes_on_where_it_stopped(monkeypatch):
    campaign = launched_to(5)
    monkeypatch.setattr(expanding, "CHUNK", campaign.audience["highest"] - 2)

    assert expanding.expand_chunk(campaign, timezone.now())
    part = Message.objects.count()
    assert not expanding.expand_chunk(campaign, timezone.now())

    assert 0 < part < 5
    assert Message.objects.count() == 5
    assert Expansion.objects.get().queued == 5


def test_who_joins_after_the_launch_is_not_part_of_it():
    campaign = launched_to(2)
    make.subscriber(lists=list(campaign.lists.all()))

    expanding.expand_all(timezone.now())

    assert Message.objects.count() == 2


def test_who_was_known_and_joins_after_the_launch_is_not_part_of_it_either():
    known = make.subscriber()
    campaign = launched_to(2)
    Subscription.objects.create(subscriber=known, list=campaign.lists.get())
    Subscription.objects.filter(subscriber=known).update(changed_at=timezone.now())

    expanding.expand_all(timezone.now())

    assert Message.objects.count() == 2
    assert not Message.objects.filter(subscriber=known).exists()


def test_who_leaves_after_the_launch_gets_no_message():
    campaign = launched_to(2)
    person = Subscriber.objects.earliest("pk")
    consenting.unsubscribe(person, [campaign.lists.get().pk], timezone.now())

    expanding.expand_all(timezone.now())

    assert Message.objects.exclude(subscriber=person).count() == Message.objects.count() == 1


def test_who_is_on_an_excluded_list_at_launch_or_comes_on_it_gets_no_message():
    wanted, unwanted = make.mailing_list(), make.mailing_list()
    stays, comes, goes = (make.subscriber(lists=[wanted]) for _ in range(3))
    Subscription.objects.create(subscriber=goes, list=unwanted)
    campaign = make.campaign([wanted])
    campaign.excluded_lists.add(unwanted)
    launching.launch(campaign, timezone.now())

    consenting.unsubscribe(goes, [unwanted.pk], timezone.now())
    Subscription.objects.create(subscriber=comes, list=unwanted)
    expanding.expand_all(timezone.now())

    assert Message.objects.get().subscriber == stays


def test_who_is_suppressed_before_expansion_gets_no_message():
    campaign = launched_to(2)
    make.suppression(campaign.lists.get().subscriptions.all()[0].subscriber.email)

    expanding.expand_all(timezone.now())

    assert Message.objects.count() == 1


def test_a_campaign_is_finished_when_nothing_is_queued_or_under_way():
    campaign = launched_to(2)
    expanding.expand_all(timezone.now())

    assert expanding.finish_done(timezone.now()) == 0
    Message.objects.update(status="sent")
    assert expanding.finish_done(timezone.now()) == 1

    campaign.refresh_from_db()
    assert campaign.status == "sent"


@pytest.mark.django_db(transaction=True)  # as a worker does it: in no transaction of others
def test_cancelling_leaves_nothing_queued():
    campaign = launched_to(3)
    expanding.expand_all(timezone.now())
    campaign.cancel(timezone.now())

    assert expanding.cancel_rest() == 3

    assert set(Message.objects.values_list("status", flat=True)) == {"cancelled"}
