"""Every condition of a segment, answered for one person."""

from __future__ import annotations

from typing import Any

import pytest
from django.utils import timezone

from emailplatform.errors import InvalidInput
from subscribers import explaining, segmenting
from subscribers.explaining import Answer
from subscribers.models import Attribute
from tests import make

pytestmark = pytest.mark.django_db


def condition(field: str, op: str, value: Any = None) -> dict[str, Any]:
    return {"field": field, "op": op, "value": value}


def every(*rules: Any) -> dict[str, Any]:
    return {"match": "all", "rules": list(rules)}


def either(*rules: Any) -> dict[str, Any]:
    return {"match": "any", "rules": list(rules)}


def explained(rules: Any, person: Any) -> Answer:
    return explaining.explain(rules, person, timezone.now())


def test_each_condition_has_its_answer_and_what_is_known_of_the_person():
    Attribute.objects.create(name="visits", label="Visits", type=Attribute.Type.NUMBER)
    ana = make.subscriber(language="pt", tags=["early", "vip"], attributes={"visits": 7})
    rules = every(
        condition("language", "is", "de"),
        condition("tag", "has", "vip"),
        condition("attributes.visits", ">", 5),
        condition("country", "is_empty"),
    )

    found = explained(rules, ana)

    assert (found.text, found.holds) == ("All of these", False)
    assert [(each.text, each.holds, each.known) for each in found.parts] == [
        ("Language is de", False, "pt"),
        ("Tags include vip", True, "early, vip"),
        ("Visits is more than 5", True, "7"),
        ("Country is empty", True, "nothing"),
    ]


def test_lists_are_told_by_the_standing_there():
    news, offers, never = make.mailing_list("News"), make.mailing_list(), make.mailing_list()
    ana = make.subscriber(lists=[news, offers])
    ana.subscriptions.filter(list=offers).update(status="unsubscribed")
    rules = either(*(condition("list", "is", each.pk) for each in (news, offers, never)))

    found = explained(rules, ana)

    assert found.holds
    assert [(each.holds, each.known) for each in found.parts] == [
        (True, "subscribed"),
        (False, "unsubscribed"),
        (False, "never on it"),
    ]


def test_groups_answer_by_their_parts_and_empty_ones_have_no_say():
    ana = make.subscriber(language="pt", country="PT")
    rules = every(
        either(condition("language", "is", "de"), condition("country", "is", "PT")),
        either(),
    )

    found = explained(rules, ana)

    assert (found.text, found.holds) == ("Any of these", True)
    assert [each.holds for each in found.parts] == [False, True]


def test_a_segment_without_rules_is_everybody():
    found = explained({}, make.subscriber())

    assert (found.text, found.holds) == ("Everybody", True)


@pytest.mark.parametrize(
    "rules",
    [
        every(condition("language", "is_not", "de"), condition("attributes.plan", "is", "pro")),
        either(condition("language", "is", "de"), condition("attributes.visits", "<=", 3)),
        every(either(), condition("attributes.visits", "is_not_empty")),
        either(every(condition("tag", "has_not", "vip")), condition("created", "in_last_days", 7)),
        every(condition("attributes.visits", "between", [1, 9]), either()),
        every(),
    ],
)
@pytest.mark.parametrize(
    "facts",
    [
        {"language": "de", "attributes": {"visits": 2, "plan": "pro"}},
        {"language": "", "tags": ["vip"], "attributes": {"visits": "n/a"}},
        {"language": "en", "attributes": {"plan": "pro"}},
    ],
)
def test_the_answer_is_always_that_of_the_segment_itself(rules, facts):
    Attribute.objects.create(name="plan", label="Plan")
    Attribute.objects.create(name="visits", label="Visits", type=Attribute.Type.NUMBER)
    person = make.subscriber(**facts)

    found = explained(rules, person)

    assert found.holds == segmenting.people(rules).filter(pk=person.pk).exists()


def test_rules_that_no_longer_hold_together_are_refused_in_words():
    with pytest.raises(InvalidInput, match="there is no field"):
        explained(every(condition("attributes.gone", "is", "x")), make.subscriber())
