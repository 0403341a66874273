"""List hygiene: found and explained first, then done, and taken back."""

from __future__ import annotations

from datetime import datetime, timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import timezone

from emailplatform.errors import InvalidInput
from subscribers.models import (
    ConsentRecord,
    Engagement,
    HygieneAct,
    HygieneRule,
    HygieneRun,
    Segment,
    Subscriber,
    Subscription,
    Suppression,
)
from tests import make
from webhooks import cleaning

pytestmark = pytest.mark.django_db

NOW = timezone.now()


@pytest.fixture(autouse=True)
def _few_people(settings):
    settings.HYGIENE_MOST_PERCENT = 100


def ago(days: float) -> datetime:
    return NOW - timedelta(days=days)


def reader(person: Subscriber | None = None, **facts: Any) -> Subscriber:
    """Somebody who has got mail for a year, the last one yesterday, and never read any."""
    person = person or make.subscriber()
    given = {"received": 30, "first_received_at": ago(365), "last_received_at": ago(1)}
    Engagement.objects.create(subscriber=person, **{**given, **facts})
    return person


def rule(kind: str, **fields: Any) -> HygieneRule:
    given = {"days": 180, "count": 3, "action": "tag", "tag": "silent", "is_active": True}
    return HygieneRule.objects.create(name=kind, kind=kind, **{**given, **fields})


def found(run: HygieneRun) -> dict[int, str]:
    return dict(run.acts.values_list("subscriber_id", "reason"))


def bounced(person: Subscriber, bounce_class: str, days: float) -> None:
    make.message(
        make.launched(), person, status="sent", sent_at=ago(days), bounced_at=ago(days),
        bounce_class=bounce_class,
    )  # fmt: skip


def test_who_shows_no_sign_of_life_although_mailed_is_found_with_the_reason() -> None:
    never, long_ago = reader(), reader(last_opened_at=ago(200))
    reader(last_opened_at=ago(400), last_clicked_at=ago(20))
    rule("silent")

    run = cleaning.look(NOW)

    assert set(found(run)) == {never.pk, long_ago.pk}
    assert found(run)[never.pk].startswith("Never opened or clicked; 30 mails since ")
    assert found(run)[long_ago.pk].startswith(f"Last sign of life on {ago(200):%Y-%m-%d}")
    assert not Subscriber.objects.exclude(tags=[]).exists(), "looking changes nobody"


def test_nobody_is_judged_without_mail_that_arrived() -> None:
    reader(received=0, first_received_at=None, last_received_at=None)
    reader(last_received_at=ago(300))
    reader(received=2)
    reader(first_received_at=ago(100))
    rule("silent")

    assert found(cleaning.look(NOW)) == {}


def test_bounces_are_found_within_their_days() -> None:
    dead, full, twice, old = (make.subscriber(soft_bounces=n) for n in (0, 3, 2, 3))
    bounced(dead, "hard", 10)
    for person, days in [(full, [1, 2, 3]), (twice, [1, 2]), (old, [1, 2, 40])]:
        for day in days:
            bounced(person, "soft", day)
    rule("soft_bounces", days=30)
    rule("hard_bounce", days=30)

    run = cleaning.look(NOW)

    assert set(found(run)) == {dead.pk, full.pk}
    assert found(run)[full.pk] == "3 soft bounces in 30 days, nothing delivered since"


def test_silent_people_are_tagged_and_there_is_a_segment_of_them() -> None:
    person = reader()
    rule("silent", tag="win-back")

    run = cleaning.clean(NOW)

    assert run.status == HygieneRun.Status.DONE
    person.refresh_from_db()
    assert person.tags == ["win-back"]
    assert Segment.objects.get().rules["rules"][0]["value"] == "win-back"
    assert cleaning.clean(NOW + timedelta(hours=1)).found == 0, "once is enough"


def test_who_answers_loses_the_tag_and_who_does_not_is_let_go() -> None:
    news = make.mailing_list()
    answers, mute, unasked = (reader(make.subscriber(lists=[news])) for _ in range(3))
    rule("silent")
    rule("unanswered", days=30, action="unsubscribe", tag="")
    cleaning.clean(ago(40))
    assert HygieneAct.objects.filter(done_at__isnull=False).count() == 3
    Engagement.objects.filter(pk=answers.pk).update(last_clicked_at=ago(35))
    Engagement.objects.filter(pk=unasked.pk).update(last_received_at=ago(50))

    cleaning.clean(NOW)

    people = {each.pk: each for each in Subscriber.objects.all()}
    assert (people[answers.pk].status, people[answers.pk].tags) == ("active", [])
    assert people[mute.pk].status == "unsubscribed"
    assert people[unasked.pk].status == "active", "no mail has asked them yet"
    record = ConsentRecord.objects.get(action="left_all")
    assert (record.via, record.source) == ("system", "list hygiene: unanswered")


def test_a_run_is_taken_back_but_not_for_those_who_left_by_themselves() -> None:
    news = make.mailing_list()
    stays, left = (reader(make.subscriber(lists=[news])) for _ in range(2))
    rule("silent", action="unsubscribe", tag="")
    run = cleaning.clean(NOW)
    later = NOW + timedelta(days=3)
    Subscriber.objects.filter(pk=left.pk).update(status_changed_at=later)

    assert cleaning.undo(run, later, "ana") == 1

    stays.refresh_from_db()
    assert stays.status == "active"
    assert Subscription.objects.get(subscriber=stays).status == "active"
    assert not Suppression.objects.filter(address_key=stays.address_key).exists()
    left.refresh_from_db()
    assert left.status == "unsubscribed"
    assert cleaning.clean(later + timedelta(days=1)).found == 0, "let off for a while"


def test_tags_are_taken_back_too_and_only_in_time() -> None:
    person = reader()
    rule("silent")
    run = cleaning.clean(NOW)

    with pytest.raises(InvalidInput, match="for 30 days"):
        cleaning.undo(run, NOW + timedelta(days=31), "ana")
    assert cleaning.undo(run, NOW + timedelta(days=29), "ana") == 1

    person.refresh_from_db()
    assert person.tags == []
    assert run.status == HygieneRun.Status.UNDONE


def test_too_many_people_wait_for_a_yes(settings) -> None:
    settings.HYGIENE_MOST_PERCENT = 40
    person = reader()
    make.subscriber()
    rule("silent")

    with pytest.raises(CommandError, match="Nothing was done"):
        call_command("clean_lists", stdout=StringIO())
    run = HygieneRun.objects.get()
    assert (run.status, run.found, run.active_people) == ("waiting", 1, 2)
    person.refresh_from_db()
    assert person.tags == []

    cleaning.act(run, timezone.now(), "ana")

    person.refresh_from_db()
    assert (person.tags, run.status, run.by) == (["silent"], "done", "ana")
    with pytest.raises(InvalidInput, match="done already"):
        cleaning.act(run, timezone.now(), "ana")


def test_a_dry_run_of_the_command_shows_who_and_why() -> None:
    person = reader()
    rule("silent")
    out = StringIO()

    call_command("clean_lists", dry_run=True, stdout=out)

    assert f"{person.email}: Never opened or clicked" in out.getvalue()
    assert "1 of 1 people. Dry run: nothing was done." in out.getvalue()


def test_the_night_needs_an_active_rule() -> None:
    night = NOW.replace(hour=4)
    rule("silent", is_active=False)
    assert not cleaning.is_due(night)

    HygieneRule.objects.update(is_active=True)

    assert cleaning.is_due(night)
    cleaning.clean(night)
    assert not cleaning.is_due(night + timedelta(hours=1))


def test_in_the_admin_one_looks_then_does_it_then_takes_it_back(admin_client: Client) -> None:
    person = reader()
    rule("silent", is_active=False)
    page = "/admin/subscribers/hygienerun/"

    answer = admin_client.post(f"{page}look/", follow=True)
    assert "Never opened or clicked" in answer.content.decode()
    run = HygieneRun.objects.get()
    assert "Do it with 1 people" in answer.content.decode()

    admin_client.post(f"{page}{run.pk}/act/")
    person.refresh_from_db()
    assert person.tags == ["silent"]

    admin_client.post(f"{page}{run.pk}/undo/")
    person.refresh_from_db()
    assert person.tags == []
    assert "Taken back" in admin_client.get(page).content.decode()


def test_programs_can_look_act_and_take_back(client: Client) -> None:
    person = reader()
    reads, manages = (
        {"Authorization": f"Bearer {make.api_key(scope)}"} for scope in ("read", "manage")
    )
    rule_of = {"name": "Silent", "kind": "silent", "days": 180, "action": "tag"}
    root, kind = "/api/v1/hygiene/", "application/json"

    refused = client.post(f"{root}rules/", rule_of, kind, headers=manages)
    assert refused.status_code == 400
    assert "tag" in refused.content.decode()
    made = client.post(f"{root}rules/", {**rule_of, "tag": "silent"}, kind, headers=manages)
    assert made.status_code == 201, made.content
    assert client.post(f"{root}runs/", {}, kind, headers=reads).status_code == 403

    run = client.post(f"{root}runs/", {}, kind, headers=manages).json()
    assert (run["status"], run["found"]) == ("dry", 1)
    [found] = client.get(f"{root}runs/{run['id']}/people/", headers=reads).json()["results"]
    assert found["email"] == person.email
    assert found["reason"].startswith("Never opened or clicked")

    acted = client.post(f"{root}runs/{run['id']}/act/", headers=manages).json()
    person.refresh_from_db()
    assert (acted["status"], person.tags) == ("done", ["silent"])
    undone = client.post(f"{root}runs/{run['id']}/undo/", headers=manages).json()
    person.refresh_from_db()
    assert (undone["status"], person.tags) == ("undone", [])
    assert client.post(f"{root}runs/{run['id']}/undo/", headers=manages).status_code == 400
