"""One person against a campaign's audience: what takes them in, what keeps them out."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from campaigns import belonging, targeting
from campaigns.belonging import Belonging
from campaigns.models import Campaign
from subscribers.models import Subscriber, Subscription
from tests import make

pytestmark = pytest.mark.django_db

GERMAN = {"match": "all", "rules": [{"field": "language", "op": "is", "value": "de"}]}


def explained(choice: targeting.Choice, person: Subscriber) -> Belonging:
    """Explain, and make sure that the audience itself agrees."""
    found = belonging.explain(choice, person, timezone.now())
    assert found.is_in == targeting.chosen(choice).filter(pk=person.pk).exists()
    return found


def launched_now(campaign: Campaign) -> targeting.Choice:
    return targeting.frozen(targeting.choice_of(campaign), timezone.now())


def test_a_list_or_a_segment_takes_a_person_in():
    news = make.mailing_list("News")
    campaign = make.campaign([news])
    campaign.segments.add(make.segment(GERMAN, name="Germans"))
    choice = targeting.choice_of(campaign)

    listed = explained(choice, make.subscriber(lists=[news]))
    german = explained(choice, make.subscriber(language="de"))
    neither = explained(choice, make.subscriber())

    assert (listed.lists[0].counts, listed.segments[0].counts) == (True, False)
    assert (german.lists[0].counts, german.segments[0].counts) == (False, True)
    assert not neither.is_wanted
    assert neither.lists[0].label == "Never on it"


@pytest.mark.parametrize("status", ["pending", "unsubscribed"])
def test_a_subscription_that_is_not_active_takes_nobody_in(status):
    news = make.mailing_list()
    ana = make.subscriber(lists=[news])
    Subscription.objects.update(status=status)

    found = explained(targeting.choice_of(make.campaign([news])), ana)

    assert (found.lists[0].standing, found.is_in) == (status, False)


def test_exclusions_are_named():
    news, staff = make.mailing_list(), make.mailing_list("Staff")
    campaign = make.campaign([news])
    campaign.excluded_lists.add(staff)
    campaign.excluded_segments.add(make.segment(GERMAN, name="Germans"))
    choice = targeting.choice_of(campaign)

    found = explained(choice, make.subscriber(lists=[news, staff], language="de"))

    assert found.is_wanted
    assert [each.name for each in found.exclusions] == ["Staff", "Germans"]


def test_who_came_or_joined_after_the_launch_is_told_so():
    news = make.mailing_list()
    known = make.subscriber()
    choice = launched_now(make.campaign([news]))
    Subscription.objects.create(
        subscriber=known, list=news, changed_at=timezone.now() + timedelta(seconds=1)
    )
    new = make.subscriber(lists=[news])

    assert explained(choice, known).lists[0].note == "Joined after the launch."
    assert explained(choice, new).came_late


def test_who_leaves_an_excluded_list_after_the_launch_stays_out():
    news, staff = make.mailing_list(), make.mailing_list("Staff")
    ana = make.subscriber(lists=[news, staff])
    campaign = make.campaign([news])
    campaign.excluded_lists.add(staff)
    choice = launched_now(campaign)
    later = timezone.now() + timedelta(seconds=1)
    Subscription.objects.filter(list=staff).update(status="unsubscribed", changed_at=later)

    found = explained(choice, ana)

    assert [each.name for each in found.exclusions] == ["Staff"]
    assert found.excluded_lists[0].note == "Changed after the launch: it counts as it was."


def test_a_segment_whose_rules_broke_says_what_is_wrong():
    rules = {"match": "all", "rules": [{"field": "attributes.gone", "op": "is", "value": "x"}]}
    choice = {"segments": [{"id": 1, "name": "Old", "rules": rules}]}

    found = belonging.explain(choice, make.subscriber(), timezone.now())

    assert found.segments[0].answer is None
    assert "attributes.gone" in found.segments[0].problem
    assert not found.is_in
