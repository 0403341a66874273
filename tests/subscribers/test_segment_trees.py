"""Random rules against a random crowd: SQL, the explained tree and plain Python must agree."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import time_machine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from campaigns.models import Campaign
from emailplatform.errors import InvalidInput
from subscribers import explaining, segmenting
from subscribers.consents import BY_SYSTEM
from subscribers.models import (
    Attribute,
    ConsentRecord,
    Engagement,
    Import,
    Segment,
    Subscriber,
    Subscription,
)
from subscribers.upserting import source_of
from tests import make

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 11, 23, 15, tzinfo=UTC)
PAST = [NOW - timedelta(days=days) for days in (1, 6, 29, 31, 200)]
MOMENTS = [None, *PAST]
PEOPLE = 40


def rule(field: str, op: str, value: Any = None) -> dict[str, Any]:
    return {"field": field, "op": op, "value": value}


def all_of(*rules: Any, **more: Any) -> dict[str, Any]:
    return {"match": "all", "rules": list(rules), **more}


def any_of(*rules: Any, **more: Any) -> dict[str, Any]:
    return {"match": "any", "rules": list(rules), **more}


class Crowd:
    """People of every kind, and what there is to ask about them."""

    def __init__(self) -> None:
        self.dice = random.Random(7)
        self.lists = [make.mailing_list("News"), make.mailing_list("Offers")]
        self.campaign: Campaign = make.launched(self.lists)
        self.import_ = Import.objects.create(filename="people.csv")
        Attribute.objects.create(name="points", label="Points", type=Attribute.Type.NUMBER)
        self.everybody = [self._person(number) for number in range(PEOPLE)]

    def _person(self, number: int) -> Subscriber:
        dice = self.dice
        person = make.subscriber(
            dice.choice(
                [f"p{number}@gmail.com", f"info@x{number}.example", f"q{number}@gmial.com"]
            ),
            language=dice.choice(["", "de", "fr"]),
            tags=dice.sample(["a", "b", "c"], dice.randint(0, 3)),
            attributes=dice.choice([{}, {"points": 3}, {"points": 9}, {"points": "n/a"}]),
            source=dice.choice(["", source_of(self.import_)]),
        )
        for each in self.lists:
            if dice.random() < 0.6:
                status = dice.choice(Subscription.Status.values)
                made = Subscription.objects.create(subscriber=person, list=each, status=status)
                changed = NOW - timedelta(days=dice.choice([1, 8, 50]))
                Subscription.objects.filter(pk=made.pk).update(changed_at=changed)
        if dice.random() < 0.7:
            self._engagement(person)
        if dice.random() < 0.5:
            action = dice.choice(["subscribed", "confirmed", "left"])
            at = dice.choice(PAST)
            who = (bytes(person.address_key), person.pk)
            ConsentRecord.objects.write(action, who, [self.lists[0].pk], at, BY_SYSTEM, "x")
        if dice.random() < 0.6:
            make.message(
                self.campaign,
                person,
                status=dice.choice(["sent", "queued"]),
                person_opened_at=dice.choice(MOMENTS),
                person_clicked_at=dice.choice(MOMENTS),
            )
        return person

    def _engagement(self, person: Subscriber) -> None:
        dice = self.dice
        Engagement.objects.create(
            subscriber=person,
            received=dice.choice([0, 3]),
            opened=dice.choice([0, 2]),
            last_received_at=dice.choice(MOMENTS),
            last_opened_at=dice.choice(MOMENTS),
            last_clicked_at=dice.choice(MOMENTS),
            score=dice.choice([0, 10, 40, 90]),
            score_before=dice.choice([None, 0, 40, 90]),
            stage=dice.choice(Engagement.Stage.values),
            churn=dice.choice([None, 0.1, 0.5]),
        )


def each_of(ops: list[str], values: list[Any] | None = None) -> dict[str, list[Any]]:
    return {op: values or [None] for op in ops}


def conditions_of(crowd: Crowd) -> list[dict[str, Any]]:
    news = crowd.lists[0].pk
    asked: dict[str, dict[str, list[Any]]] = {
        "list": {
            **each_of(["is", "is_not", "pending", "held", "left", "ever", "never"], [news]),
            **each_of(["joined_in_last_days", "on_for_days"], [[news, 7], [news, 40]]),
        },
        "language": {"is": ["de"], "is_one_of": [["de", "fr"]], "is_none_of": [["de"]]},
        "tag": {"has": ["a"], "has_not": ["a"], "has_one_of": [["a", "b"]], "has_none_of": [["c"]]},
        "flag": each_of(["is", "is_not"], ["role"]),
        "import": each_of(["brought", "not_brought", "listed"], [crowd.import_.pk]),
        "consent": {
            "confirmed": [None],
            "not_confirmed": [None],
            "confirmed_in_last_days": [7, 30],
            "given_in_last_days": [7, 365],
            "given_via": ["system"],
        },
        **{
            deed: {"in_last_days": [7, 30], "not_in_last_days": [7], **each_of(["ever", "never"])}
            for deed in ("received", "opened", "clicked")
        },
        "opened_count": {"=": [0, 2], ">=": [1], "<": [0.5]},
        "score": {">": [10, 9.5], "<": [40], "between": [[5, 50]], "is_empty": [None]},
        "score_trend": each_of(["rising", "falling", "steady"], [None]),
        "stage": {"is": ["new", "lost"], "is_not": ["new"]},
        "churn": {">": [20], "<=": [10], "is_not_empty": [None]},
        "campaign": each_of(
            ["received", "not_received", "opened", "not_opened", "clicked", "not_clicked"],
            [crowd.campaign.pk],
        ),
        "attributes.points": {">": [5], "is_empty": [None]},
        "created": {"in_last_days": [7], "not_in_last_days": [7]},
    }  # fmt: skip
    return [
        rule(field, op, value)
        for field, ops in asked.items()
        for op, values in ops.items()
        for value in values
    ]


def found(rules: Any) -> set[int]:
    return set(segmenting.people(rules, NOW).values_list("pk", flat=True))


@pytest.fixture
def crowd():
    with time_machine.travel(NOW, tick=False):
        yield Crowd()


def test_every_question_can_be_asked_turned_round_and_told(crowd):
    everybody = {each.pk for each in crowd.everybody}
    asked = set()
    for condition in conditions_of(crowd):
        rules = all_of(condition)
        holds = found(rules)

        assert found(all_of(condition, **{"not": True})) == everybody - holds, condition
        assert segmenting.describe(rules)
        asked.add((condition["field"], 0 < len(holds) < PEOPLE))

    # No question is answered alike for everybody whatever is asked, but who never was imported.
    assert {field for field, tells in asked if tells} == {field for field, _ in asked} - {"created"}


def test_the_explained_tree_of_every_question_is_what_sql_says(crowd):
    for condition in conditions_of(crowd):
        rules, some = all_of(condition), crowd.dice.sample(crowd.everybody, 5)
        holds = found(rules)
        answers = [explaining.explain(rules, each, NOW).holds for each in some]
        assert answers == [each.pk in holds for each in some], condition


def test_random_trees_find_whom_their_explanation_and_plain_logic_say(crowd):
    conditions = conditions_of(crowd)
    within = make.segment(any_of(*crowd.dice.sample(conditions, 3)), name="Inner")
    conditions += [rule("segment", op, within.pk) for op in ("is", "is_not")] * 5
    alone = {str(each): found(all_of(each)) for each in conditions}
    everybody = {each.pk for each in crowd.everybody}

    def meant(node: dict[str, Any]) -> set[int] | None:
        """Who is meant, by set operations; None for a group that asks nothing."""
        if "field" in node:
            return alone[str(node)]
        parts = [each for each in map(meant, node["rules"]) if each is not None]
        if not parts:
            return None
        both = set.intersection if node["match"] == "all" else set.union
        joined = both(*parts)
        return everybody - joined if node.get("not") else joined

    groups = st.recursive(
        st.sampled_from(conditions),
        lambda inner: st.builds(
            lambda match, rules, is_not: {"match": match, "rules": rules, "not": is_not},
            st.sampled_from(["all", "any"]),
            st.lists(inner, max_size=3),
            st.booleans(),
        ),
        max_leaves=8,
    ).filter(lambda node: "rules" in node and depth(node) <= segmenting.DEEPEST)
    sizes = set()

    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    @given(groups)
    def agree(rules):
        expected = meant(rules)
        people = found(rules)
        assert people == (everybody if expected is None else expected)
        some = crowd.dice.sample(crowd.everybody, 4)
        answers = [explaining.explain(rules, each, NOW).holds for each in some]
        assert answers == [each.pk in people for each in some]
        assert found({"resolved": segmenting.resolved(rules)}) == people
        assert segmenting.validate(segmenting.validate(rules)) == segmenting.validate(rules)
        sizes.add(len(people))

    agree()
    assert len(sizes) > 8


def depth(node: dict[str, Any]) -> int:
    return 1 + max(map(depth, node["rules"]), default=0) if "rules" in node else 0


# --- Segments within segments -----------------------------------------------------------------


def is_language(code: str) -> dict[str, Any]:
    return rule("language", "is", code)


def test_a_segment_may_ask_for_another_and_says_so_in_words():
    german = make.segment(all_of(is_language("de")), name="Germans")
    make.subscriber("a@x.example", language="de", country="DE")
    make.subscriber("b@x.example", language="de", country="AT")
    make.subscriber("c@x.example", language="fr", country="DE")
    inside = all_of(rule("segment", "is", german.pk), rule("country", "is", "DE"))
    outside = all_of(rule("segment", "is_not", str(german.pk)))

    assert segmenting.people(inside).get().email == "a@x.example"
    assert segmenting.people(outside).get().email == "c@x.example"
    assert segmenting.describe(inside) == "is in segment Germans and country is DE"


def test_segments_do_not_ask_for_each_other_in_a_circle():
    first = make.segment(all_of(is_language("de")), name="First")
    second = make.segment(all_of(rule("segment", "is", first.pk)), name="Second")
    circle = all_of(rule("segment", "is_not", second.pk))

    with pytest.raises(InvalidInput, match=r"asks for “First”.*circle"):
        segmenting.validate(circle, of=first.pk)

    # Two people who saved at the same moment may have closed one all the same.
    Segment.objects.filter(pk=first.pk).update(rules=circle)
    with pytest.raises(InvalidInput, match="circle"):
        segmenting.people(circle)


def test_a_segment_of_everybody_within_another_is_everybody():
    everybody = make.segment({}, name="Everybody")
    make.subscriber()

    assert segmenting.people(all_of(rule("segment", "is", everybody.pk))).count() == 1
    assert segmenting.people(all_of(rule("segment", "is_not", everybody.pk))).count() == 0


def test_segments_together_stay_within_bounds():
    many = make.segment(any_of(*[is_language("de")] * 50), name="Many")

    with pytest.raises(InvalidInput, match="more than 300 conditions"):
        segmenting.validate(all_of(*[rule("segment", "is", many.pk)] * 7))


@pytest.mark.parametrize(
    ("rules", "sentence"),
    [
        (all_of(is_language("de"), **{"not": "yes"}), "neither true nor false"),
        (all_of(rule("tag", "has_one_of", [])), "give it a value"),
        (all_of(rule("tag", "has_one_of", {"a": 1})), "must be a list"),
        (all_of(rule("tag", "has_one_of", [["a"]])), "give it a value"),
        (all_of(rule("language", "is_one_of", ["x"] * 51)), "more than 50 values"),
        (all_of(rule("list", "joined_in_last_days", 7)), "a number of days"),
        (all_of(rule("list", "is", True)), "none of those"),
        (all_of(rule("list", "is", "1 OR 1=1")), "none of those"),
        (all_of(rule("score", ">", "50; DROP TABLE x")), "must be a number"),
        (all_of(rule("opened", "in_last_days", 1e308)), "too large|from 1 to"),
        (all_of(rule("campaign", "opened", [1])), "none of those"),
        (all_of(rule("segment", "is", 10**30)), "none of those"),
        ({"resolved": {"match": "all", "rules": "x"}}, "no list of rules"),
        ({"resolved": 3}, "must have"),
        ({"resolved": all_of(is_language("de"), sql="x")}, "nothing else"),
    ],
)  # fmt: skip
def test_what_is_no_rule_is_refused_in_words(rules, sentence):
    with pytest.raises(InvalidInput, match=sentence):
        segmenting.people(rules)


@pytest.mark.parametrize(
    "text", ["'; DROP TABLE subscribers_subscriber; --", "%s", "{0}", "\\", "$1"]
)
def test_text_stays_text_whatever_it_says(text):
    Attribute.objects.create(name="plan", label="Plan")
    make.subscriber(first_name=text, tags=[text], attributes={"plan": text})
    for field, op, value in [
        ("first_name", "is", text),
        ("first_name", "contains", text),
        ("first_name", "is_one_of", [text]),
        ("tag", "has", text),
        ("tag", "has_one_of", [text]),
        ("attributes.plan", "begins_with", text),
    ]:
        rules = all_of(rule(field, op, value))
        assert segmenting.people(rules).count() == 1
        assert text.strip() in segmenting.describe(rules)


def test_days_are_counted_from_the_moment_that_is_given():
    person = make.subscriber()
    Engagement.objects.create(subscriber=person, last_opened_at=NOW - timedelta(days=10))
    rules = all_of(rule("opened", "in_last_days", 7))

    assert not segmenting.people(rules, NOW).exists()
    assert segmenting.people(rules, NOW - timedelta(days=5)).exists()
