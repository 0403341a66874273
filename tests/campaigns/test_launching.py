"""From a draft to a campaign that is sending."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from campaigns import launching
from campaigns.launching import CannotLaunch
from campaigns.models import Campaign, Content
from emailplatform.errors import InvalidInput
from emailplatform.states import InvalidTransition
from tests import make, racing

pytestmark = pytest.mark.django_db


def ready(**fields) -> Campaign:
    newsletter = make.mailing_list()
    make.subscriber(lists=[newsletter])
    return make.campaign([newsletter], **fields)


def test_a_complete_draft_has_no_problems_and_starts_sending():
    campaign = ready()

    assert launching.problems(campaign) == []
    launching.launch(campaign, timezone.now())

    campaign.refresh_from_db()
    assert campaign.status == "sending"
    assert campaign.launched_at is not None


@pytest.mark.parametrize(
    ("fields", "field", "sentence"),
    [
        ({"from_email": ""}, "from_email", "Give the sender's address."),
        ({"from_name": ""}, "from_name", "Give the sender's name"),
    ],
)
def test_a_draft_without_a_sender_says_what_to_give(fields, field, sentence):
    campaign = ready(**fields)

    with pytest.raises(CannotLaunch, match=sentence) as refused:
        launching.launch(campaign, timezone.now())

    assert refused.value.param == field
    campaign.refresh_from_db()
    assert (campaign.status, campaign.audience) == ("draft", {})
    assert not Content.objects.exists()


def test_a_draft_without_audience_or_with_nobody_in_it_is_refused():
    empty, deserted = make.campaign(), make.campaign([make.mailing_list()])

    assert launching.problems(empty)[0].message.startswith("Choose at least one list")
    assert launching.problems(deserted)[0].message.startswith("Nobody in the chosen audience")


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ("<p>{{ first_name </p>{{ unsubscribe_url }}", "Body, line 1"),
        ("<p>{{ frist_name }}</p>{{ unsubscribe_url }}", "did you mean “first_name”"),
        ("<p>Hello</p>", "no unsubscribe link"),
    ],
)
def test_content_that_cannot_be_sent_is_refused_in_one_sentence(body, sentence):
    campaign = ready(template=make.template(body=body))

    problem = launching.problems(campaign)[0]

    assert problem.field == "body"
    assert sentence in problem.message


def test_what_is_edited_after_the_launch_changes_nothing_of_what_is_sent():
    campaign = ready()
    launching.launch(campaign, timezone.now())
    assert campaign.template is not None
    campaign.template.subject = "Changed"
    campaign.template.save()
    campaign.lists.clear()

    assert launching.source_of(campaign).subject == "Hello {{ first_name }}"
    assert campaign.audience["lists"]


def test_what_was_saved_after_the_campaign_was_read_is_what_is_frozen():
    read_earlier = ready(subject="Old")
    other = make.mailing_list()
    make.subscriber(lists=[other])
    saved = Campaign.objects.get(pk=read_earlier.pk)
    saved.template, saved.subject, saved.name = make.template(preheader="New"), "New", "New"
    saved.save()
    saved.lists.set([other])

    launching.launch(read_earlier, timezone.now())

    content = Content.objects.get()
    assert (content.subject, content.preheader) == ("New", "New")
    assert Campaign.objects.get().audience["lists"] == [other.pk]


def test_what_was_taken_away_after_the_campaign_was_read_is_missed():
    now = timezone.now()
    read_earlier = ready()
    Campaign.objects.update(from_email="")

    with pytest.raises(CannotLaunch, match="sender's address"):
        launching.schedule(read_earlier, now + timedelta(hours=1), now)
    with pytest.raises(CannotLaunch, match="sender's address"):
        launching.launch(read_earlier, now)

    assert Campaign.objects.get().status == "draft"


def test_a_campaign_starts_once():
    campaign = ready()
    twin = Campaign.objects.get(pk=campaign.pk)
    launching.launch(campaign, timezone.now())

    with pytest.raises(InvalidTransition):
        launching.launch(twin, timezone.now())


def test_a_scheduled_campaign_starts_when_its_time_has_come_and_not_before():
    now = timezone.now()
    campaign = ready()
    launching.schedule(campaign, now + timedelta(hours=1), now)

    assert launching.start_due(now + timedelta(minutes=59)) == 0
    assert launching.start_due(now + timedelta(minutes=61)) == 1

    campaign.refresh_from_db()
    assert campaign.status == "sending"


def test_a_scheduled_campaign_that_can_no_longer_go_returns_to_draft_and_says_why():
    now = timezone.now()
    campaign = ready()
    launching.schedule(campaign, now + timedelta(hours=1), now)
    campaign.lists.clear()

    assert launching.start_due(now + timedelta(hours=2)) == 0

    campaign.refresh_from_db()
    assert campaign.status == "draft"
    assert campaign.problem.startswith("Not sent: Choose at least one list")


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("verb", ["unschedule", "cancel"])
def test_one_taken_back_as_its_time_comes_stays_back_and_holds_up_nobody(verb):
    now = timezone.now()
    taken_back, other = ready(), ready()
    for campaign in (taken_back, other):
        launching.schedule(campaign, now + timedelta(hours=1), now)
    taken_back.lists.clear()
    move = getattr(Campaign.objects.get(pk=taken_back.pk), verb)

    started = racing.overtaken(
        lambda: move(*([now] if verb == "cancel" else [])),
        lambda: launching.start_due(now + timedelta(hours=2)),
    )

    taken_back.refresh_from_db()
    other.refresh_from_db()
    assert (started, other.status) == (1, "sending")
    assert taken_back.status == {"unschedule": "draft", "cancel": "cancelled"}[verb]
    assert taken_back.problem == ""


@pytest.mark.django_db(transaction=True)
def test_one_unscheduled_as_its_time_comes_is_not_sent():
    now = timezone.now()
    campaign = ready()
    launching.schedule(campaign, now + timedelta(hours=1), now)

    started = racing.overtaken(
        Campaign.objects.get().unschedule,
        lambda: launching.start_due(now + timedelta(hours=2)),
    )

    assert (started, Campaign.objects.get().status) == (0, "draft")


def test_a_time_in_the_past_is_refused():
    now = timezone.now()

    with pytest.raises(InvalidInput, match="in the future"):
        launching.schedule(ready(), now - timedelta(minutes=1), now)


@pytest.mark.parametrize(
    ("verbs", "status"),
    [
        (["pause"], "paused"),
        (["pause", "resume"], "sending"),
        (["pause", "cancel"], "cancelled"),
        (["cancel"], "cancelled"),
    ],
)
def test_a_sending_campaign_moves_along_its_table(verbs, status):
    campaign = ready()
    launching.launch(campaign, timezone.now())

    for verb in verbs:
        getattr(campaign, verb)(*([timezone.now()] if verb == "cancel" else []))

    campaign.refresh_from_db()
    assert campaign.status == status


def test_a_cancelled_campaign_stays_cancelled():
    campaign = ready()
    launching.launch(campaign, timezone.now())
    campaign.cancel(timezone.now())

    with pytest.raises(InvalidTransition):
        campaign.resume()
