"""Rules: for whom each is, the stamp of what is queued, and the stamp anew."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from campaigns import launching
from delivery import expanding, ruling
from delivery.lanes import Lane
from delivery.models import Message, RoutingRule, Stamping, covers
from delivery.providers.base import Event, EventType
from delivery.querysets import NO_STAMP, Stamp
from subscribers.models import Subscriber
from tests import make
from webhooks.concluding import apply_own

pytestmark = pytest.mark.django_db


def rule(**fields) -> RoutingRule:
    return RoutingRule.objects.create(
        **{"name": f"Rule {RoutingRule.objects.count() + 1}", **fields}
    )


def expanded(*people: Subscriber) -> None:
    newsletter = make.mailing_list()
    for person in people:
        person.subscriptions.create(list=newsletter)
    launching.launch(make.campaign([newsletter]), timezone.now())
    expanding.expand_all(timezone.now())


def routes() -> dict[str, int]:
    return dict(Message.objects.values_list("email", "route"))


@pytest.mark.parametrize(
    ("pattern", "domain", "expected"),
    [
        ("gmail.com", "gmail.com", True),
        ("gmail.com", "mail.gmail.com", False),
        ("*.gov", "irs.gov", True),
        ("*.gov", "a.irs.gov", True),
        ("*.gov", "gov", False),
        ("*.gov", "notgov", False),
    ],
)
def test_a_pattern_names_a_domain_or_all_below_one(pattern, domain, expected):
    assert covers(pattern, domain) is expected


ADDRESSES = ["a@gmail.com", "b@irs.gov", "c@a.irs.gov", "d@gov", "e@outlook.com", "f@x.org"]
CHOICES = [
    {},
    {"domains": ["gmail.com"]},
    {"domains": ["*.gov", "x.org"]},
    {"mailbox": "microsoft"},
    {"mailbox": "microsoft", "domains": ["x.org"]},
    {"tier": "engaged"},
    {"tier": "new"},
    {"tier": "cold"},
    {"tier": "cold", "domains": ["irs.gov", "gmail.com"]},
    {"stream": "transactional"},
    {"stream": "marketing", "domains": ["gmail.com"]},
    {"is_active": False},
]


@pytest.mark.parametrize("fields", CHOICES)
@pytest.mark.parametrize("tier", ["engaged", "new", "cold"])
def test_what_a_rule_says_of_one_address_is_what_the_statement_stamps(fields, tier):
    now = timezone.now()
    facts: dict[str, Any] = {
        "engaged": {"engaged_at": now - timedelta(days=3)},
        "new": {},
        "cold": {"created_at": now - timedelta(days=300)},
    }[tier]
    people = [make.subscriber(address, **facts) for address in ADDRESSES]
    rule(**fields)

    expanded(*people)

    assert {ruling.tier_of(each, now) for each in people} == {tier}
    assert routes() == {each: ruling.route_of(each, "marketing", tier) for each in ADDRESSES}


def test_the_first_rule_that_matches_counts_and_rules_can_be_moved():
    first, second = rule(mailbox="gmail"), rule(domains=["gmail.com"])
    assert ruling.route_of("a@gmail.com", "critical") == first.pk

    ruling.move(second, -1)

    assert ruling.route_of("a@gmail.com", "critical") == second.pk


def test_without_a_rule_expansion_stamps_a_constant_and_with_one_it_joins_nothing():
    now = timezone.now()
    make.subscriber()

    assert RoutingRule.objects.stamp("marketing", now) is NO_STAMP
    rule(tier="engaged", domains=["gmail.com"])
    plan = plan_of(RoutingRule.objects.stamp("marketing", now))

    assert "Join" not in plan
    assert plan.count("Scan") == plan_of(NO_STAMP).count("Scan")


def plan_of(stamp: Stamp) -> str:
    """Return the plan of an expansion with this stamp."""
    campaign = make.launched()
    people = Subscriber.objects.all()
    with CaptureQueriesContext(connection) as captured:
        Message.objects.enqueue(campaign, people, timezone.now(), stamp)
    [insert] = [each["sql"] for each in captured if "INSERT" in each["sql"]]
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN {insert}")
        return "\n".join(row[0] for row in cursor.fetchall())


def queued(*emails: str, route: int = 0, **fields) -> None:
    campaign = make.launched()
    for email in emails:
        make.message(campaign, make.subscriber(email), route=route, **fields)


def test_a_changed_rule_stamps_what_is_queued_and_leaves_everything_else_alone():
    queued("a@gmail.com", "b@x.org")
    queued("c@gmail.com", status="sent")
    queued("d@gmail.com", route=-7)
    Message.objects.create(email="e@gmail.com", address_key=b"", stream="critical")
    gmail = rule(domains=["gmail.com"])

    assert ruling.stamp_queued(timezone.now()) == 2

    assert routes() == {
        "a@gmail.com": gmail.pk,
        "b@x.org": 0,
        "c@gmail.com": 0,
        "d@gmail.com": -7,
        "e@gmail.com": gmail.pk,
    }


def test_no_queued_message_keeps_the_stamp_of_a_rule_that_is_gone():
    gmail = rule(domains=["gmail.com"])
    queued("a@gmail.com", "b@gmail.com", route=gmail.pk)
    other = rule(mailbox="gmail")

    gmail.delete()
    ruling.stamp_queued(timezone.now())
    assert set(routes().values()) == {other.pk}

    other.delete()
    ruling.stamp_queued(timezone.now())
    assert set(routes().values()) == {0}


def test_stamping_goes_through_a_long_lane_in_chunks(monkeypatch):
    monkeypatch.setattr(ruling, "CHUNK", 3)
    queued(*(f"p{number}@gmail.com" for number in range(10)))
    gmail = rule(mailbox="gmail")

    assert ruling.stamp_queued(timezone.now()) == 10

    assert set(routes().values()) == {gmail.pk}


def test_it_is_stamped_once_more_for_what_others_did_by_the_old_rules_and_then_no_more():
    rule(mailbox="gmail")
    now = timezone.now()
    ruling.stamp_queued(now)
    queued("late@gmail.com")

    assert ruling.stamp_queued(now + ruling.SETTLED_AFTER * 2) == 1
    Message.objects.update(route=0)
    assert ruling.stamp_queued(now + ruling.SETTLED_AFTER * 3) == 0


def test_saving_moving_and_deleting_a_rule_asks_for_stamps_anew():
    asked = []
    for change in (
        rule,
        lambda: ruling.move(rule(name="Second"), -1),
        lambda: RoutingRule.objects.earliest("pk").delete(),
    ):
        Stamping.objects.update(changed_at=make.NOW)
        change()
        asked.append(Stamping.objects.get().changed_at > make.NOW)

    assert asked == [True, True, True]


def test_mail_by_api_is_stamped_as_it_is_accepted():
    gmail = rule(domains=["gmail.com"], tier="engaged")
    engaged = make.subscriber("ana@gmail.com", engaged_at=timezone.now())
    messages = [
        Message(email="ana@gmail.com", stream="critical", subscriber=engaged),
        Message(email="bo@gmail.com", stream="critical"),
    ]

    ruling.stamp(messages, timezone.now())

    assert [each.route for each in messages] == [gmail.pk, 0]


def test_the_stamp_of_a_lane_reads_no_more_than_the_lane():
    queued("a@gmail.com")
    lane = Lane("marketing", "gmail", Message.objects.get().campaign_id)

    assert Message.objects.queued_lanes() == [lane]


# --- Engagement -----------------------------------------------------------------------------


def heard(message: Message, kind: EventType, at, *, is_machine=None) -> None:
    event = Event(
        type=kind,
        occurred_at=at,
        dedupe_key=f"{kind}{at}{is_machine}",
        message_id=message.token,
        recipient=message.email,
        is_machine=is_machine,
    )
    apply_own(event, timezone.now())


def test_the_latest_open_or_click_of_a_human_is_kept_whatever_comes_in_which_order():
    message = make.message(make.launched(), status="sent", sent_at=make.NOW)
    hours = [make.NOW + timedelta(hours=each) for each in range(4)]

    heard(message, EventType.CLICKED, hours[1])
    heard(message, EventType.OPENED, hours[0])
    heard(message, EventType.OPENED, hours[2])
    heard(message, EventType.OPENED, hours[3], is_machine=True)

    assert Subscriber.objects.get().engaged_at == hours[2]
