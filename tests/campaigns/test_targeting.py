"""Who gets a campaign, and who is left out for what."""

from __future__ import annotations

from datetime import timedelta

import pytest
import time_machine
from django.utils import timezone

from campaigns import launching, targeting
from campaigns.models import Campaign
from subscribers.models import Subscriber
from tests import make

pytestmark = pytest.mark.django_db


def emails(choice) -> set[str]:
    return set(targeting.audience(choice).values_list("email", flat=True))


def test_lists_and_segments_add_up_and_everybody_counts_once():
    newsletter = make.mailing_list()
    both = make.subscriber(language="de", lists=[newsletter])
    german = make.subscriber(language="de")
    listed = make.subscriber(language="en", lists=[newsletter])
    make.subscriber(language="en")
    rules = {"match": "all", "rules": [{"field": "language", "op": "is", "value": "de"}]}
    campaign = make.campaign([newsletter])
    campaign.segments.add(make.segment(rules))

    choice = targeting.choice_of(campaign)

    assert emails(choice) == {both.email, german.email, listed.email}
    assert targeting.measure(choice).reached == 3


def test_exclusions_win():
    wanted, unwanted = make.mailing_list(), make.mailing_list()
    make.subscriber(lists=[wanted, unwanted])
    stays = make.subscriber(lists=[wanted])
    campaign = make.campaign([wanted])
    campaign.excluded_lists.add(unwanted)

    assert emails(targeting.choice_of(campaign)) == {stays.email}


def test_exclusions_of_any_size_are_a_join():
    """Else PostgreSQL reads the whole excluded list once for every person."""
    rules = {"match": "all", "rules": [{"field": "language", "op": "is", "value": "de"}]}
    wanted, unwanted = make.mailing_list(), make.mailing_list()
    campaign = make.campaign([wanted])
    campaign.excluded_lists.add(unwanted)
    campaign.excluded_segments.add(make.segment(rules))
    stays = make.subscriber(lists=[wanted])
    make.subscriber(lists=[wanted], language="de")

    people = targeting.audience(targeting.choice_of(campaign))

    assert "SubPlan" not in people.explain()
    assert people.get() == stays


def test_nobody_is_chosen_by_an_empty_choice():
    make.subscriber()

    assert emails(targeting.choice_of(make.campaign())) == set()


def test_the_last_days_of_a_launched_campaign_are_those_before_its_launch():
    now = timezone.now()
    person = make.subscriber(created_at=now - timedelta(days=6))
    rules = {"match": "all", "rules": [{"field": "created", "op": "in_last_days", "value": 7}]}
    campaign = make.campaign()
    campaign.segments.add(make.segment(rules))
    draft = targeting.choice_of(campaign)
    launching.launch(campaign, now)

    with time_machine.travel(now + timedelta(days=3)):
        assert emails(Campaign.objects.get().audience) == {person.email}
        assert emails(draft) == set()


def test_everybody_left_out_is_counted_with_the_reason():
    newsletter = make.mailing_list()
    people = [make.subscriber(lists=[newsletter]) for _ in range(4)]
    Subscriber.objects.close([people[1].pk], "bounced", timezone.now())
    Subscriber.objects.close([people[2].pk], "unsubscribed", timezone.now())
    make.suppression(people[3].email)

    audience = targeting.measure(targeting.choice_of(make.campaign([newsletter])))

    assert (audience.chosen, audience.reached) == (4, 1)
    assert audience.left_out == {
        "Address does not work": 1,
        "Unsubscribed from everything": 1,
        "On the suppression list": 1,
    }
