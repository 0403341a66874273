"""Who is spared: those mailed often lately, and those held out by chance."""

from __future__ import annotations

from datetime import timedelta
from hashlib import md5
from typing import Any

import pytest
from django.utils import timezone

from campaigns import belonging, launching, targeting
from campaigns.models import Campaign
from delivery import expanding, reports
from delivery.models import Expansion, Handoff, Message
from subscribers.models import Subscriber
from tests import make

pytestmark = pytest.mark.django_db


def campaign_to(people: list[Subscriber], **fields: Any) -> Campaign:
    newsletter = make.mailing_list()
    for person in people:
        person.subscriptions.create(list=newsletter)
    return make.campaign([newsletter], **fields)


def mailed(person: Subscriber, times: int, days_ago: int) -> None:
    at = timezone.now() - timedelta(days=days_ago)
    for _ in range(times):
        before = make.launched()
        Campaign.objects.filter(pk=before.pk).update(status="sent")
        make.message(before, person, status="sent", sent_at=at)


def started(campaign: Campaign) -> Campaign:
    launching.launch(campaign, timezone.now())
    expanding.expand_all(timezone.now())
    return Campaign.objects.get(pk=campaign.pk)


def test_who_had_enough_lately_is_left_out_with_the_reason():
    often, seldom, long_ago, single = (make.subscriber() for _ in range(4))
    mailed(often, 3, days_ago=2)
    mailed(seldom, 1, days_ago=2)
    mailed(long_ago, 5, days_ago=9)
    for _ in range(3):
        make.message(None, single, status="sent", sent_at=timezone.now())
    campaign = campaign_to([often, seldom, long_ago, single], cap_mails=2, cap_days=7)
    estimate = targeting.measure(targeting.choice_of(campaign))

    started(campaign)

    messages = Message.objects.filter(campaign=campaign)
    left_out = messages.get(status="skipped")
    assert (left_out.subscriber, left_out.error) == (often, "mailed 3 times in 7 days")
    assert messages.filter(status="queued").count() == 3
    assert (estimate.chosen, estimate.reached) == (4, 3)
    assert estimate.left_out == {"Mailed often lately": 1}
    found = reports.progress(campaign, timezone.now())
    assert (found.total, found.queued, found.left_out, found.mailed_often) == (3, 3, 0, 1)


def test_another_campaign_that_was_quicker_counts_when_the_mails_turn_comes():
    person = make.subscriber()
    first = started(campaign_to([person], cap_mails=1))
    second = started(campaign_to([person], cap_mails=1))
    account = make.account()
    now = timezone.now()

    Message.objects.filter(campaign=first).update(status="sent", sent_at=now)
    handoff = Handoff(provider=account, campaign=second, stream="marketing", mailbox=person.mailbox)
    lane = next(lane for lane in Message.objects.queued_lanes() if lane.campaign == second.pk)
    taken, left_out = Message.objects.claim(handoff, lane, 10, now + timedelta(seconds=1))

    assert (taken, left_out) == ([], 1)
    assert Message.objects.get(campaign=second).error == "mailed 1 times in 7 days"


def draw(campaign: Campaign, person: Subscriber) -> int:
    text = f"{campaign.pk}:{person.pk}".encode()
    return int(md5(text, usedforsecurity=False).hexdigest()[:8], 16)


def test_the_holdout_is_a_stable_draw_that_is_kept_and_told():
    people = [make.subscriber() for _ in range(120)]
    campaign = campaign_to(people, holdout_percent=25)
    choice = targeting.choice_of(campaign)
    estimate = targeting.measure(choice)
    drawn = {each.pk for each in people if draw(campaign, each) < 2**32 // 4}

    started(campaign)

    messages = Message.objects.filter(campaign=campaign)
    held_out = messages.filter(status="skipped", error="holdout")
    assert set(held_out.values_list("subscriber", flat=True)) == drawn
    assert 10 < len(drawn) < 50
    assert messages.filter(status="queued").count() == 120 - len(drawn)
    assert estimate.reached == 120 - len(drawn)
    assert estimate.left_out == {"Held out by chance, to compare with": len(drawn)}
    found = reports.progress(campaign, timezone.now())
    assert (found.held_out, found.total, found.left_out) == (len(drawn), 120 - len(drawn), 0)
    for person in people[:10]:
        told = belonging.explain(Campaign.objects.get().audience, person, timezone.now())
        assert told.is_held_out == (person.pk in drawn)


def test_sparing_again_changes_nobody():
    people = [make.subscriber() for _ in range(30)]
    mailed(people[0], 2, days_ago=1)
    campaign = started(campaign_to(people, holdout_percent=50, cap_mails=2))
    before = dict(Message.objects.filter(campaign=campaign).values_list("subscriber", "status"))

    Expansion.objects.update(cursor=0, done_at=None)
    expanding.expand_all(timezone.now())

    after = dict(Message.objects.filter(campaign=campaign).values_list("subscriber", "status"))
    assert after == before
    assert len(after) == 30


def test_every_deduction_stands_in_the_estimate_and_adds_up():
    wanted, unwanted = make.mailing_list(), make.mailing_list()
    people = [make.subscriber(lists=[wanted]) for _ in range(60)]
    people[0].subscriptions.create(list=unwanted)
    make.suppression(people[1].email)
    Subscriber.objects.close([people[2].pk], "complained", timezone.now())
    people[3].subscriptions.create(list=make.mailing_list(), status="held")
    Subscriber.objects.get(pk=people[3].pk).subscriptions.filter(list=wanted).update(status="held")
    mailed(people[4], 4, days_ago=1)
    campaign = make.campaign([wanted], cap_mails=4, holdout_percent=20)
    campaign.excluded_lists.add(unwanted)

    found = targeting.measure(targeting.choice_of(campaign))

    assert found.chosen == 59  # who is held on every list is on none
    assert found.chosen - sum(found.left_out.values()) == found.reached
    assert {**found.left_out, "Held out by chance, to compare with": 0} == {
        "On an excluded list or in an excluded segment": 1,
        "On the suppression list": 1,
        "Reported as spam": 1,
        "Mailed often lately": 1,
        "Held out by chance, to compare with": 0,
    }
    started(campaign)
    assert Message.objects.filter(campaign=campaign, status="queued").count() == found.reached


def test_a_launched_campaign_keeps_its_caps_and_its_segments():
    inner = make.segment({"match": "all", "rules": [
        {"field": "language", "op": "is", "value": "de"}]}, name="Germans")  # fmt: skip
    outer = make.segment({"match": "all", "rules": [
        {"field": "segment", "op": "is", "value": inner.pk}]})  # fmt: skip
    german, french = make.subscriber(language="de"), make.subscriber(language="fr")
    campaign = make.campaign(cap_mails=3)
    campaign.segments.add(outer)
    launching.launch(campaign, timezone.now())

    inner.rules["rules"][0]["value"] = "fr"
    inner.save()
    Campaign.objects.update(cap_mails=9)

    choice = Campaign.objects.get().audience
    assert targeting.audience(choice).get() == german
    assert choice["cap"] == {"mails": 3, "days": 7}
    told = belonging.explain(choice, french, timezone.now()).segments[0]
    assert told.answer
    assert told.answer.text == "In segment Germans: all of these"
