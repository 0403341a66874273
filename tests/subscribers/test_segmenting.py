from __future__ import annotations

import json
import random
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import pytest
import time_machine
from django.db import connection
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from emailplatform.errors import InvalidInput
from subscribers import conditions, segmenting
from subscribers.models import Attribute, MailingList, Subscriber, Subscription
from tests import make

pytestmark = pytest.mark.django_db


def rule(field: str, op: str, value: Any = None) -> dict[str, Any]:
    return {"field": field, "op": op, "value": value}


def all_of(*rules: Any) -> dict[str, Any]:
    return {"match": "all", "rules": list(rules)}


def any_of(*rules: Any) -> dict[str, Any]:
    return {"match": "any", "rules": list(rules)}


def found(rules: Any) -> set[str]:
    return {person.email.partition("@")[0] for person in segmenting.people(rules)}


@pytest.fixture
def attributes():
    for name, kind in [
        ("plan", "text"),
        ("points", "number"),
        ("since", "date"),
        ("vip", "boolean"),
    ]:
        Attribute.objects.create(name=name, label=name.title(), type=kind)


# --- SQL and plain Python agree ---------------------------------------------------------------

DAY = "2026-11-20"
WORDS = ["", "a", "A", "ab", "b%", "_", "free", "0", "12"]
ODD: list[Any] = [
    None,
    "n/a",
    7,
    -1.5,
    "12",
    "7.0",
    True,
    False,
    "true",
    "2026-11-20",
    10**20,
    [],
    {},
]
TODAY = date(2026, 11, 23)
DAYS = [(TODAY - timedelta(days=n)).isoformat() for n in (-2, 0, 1, 5, 29, 30, 400)]


USUAL: dict[str, list[Any]] = {
    "plan": WORDS * 2,
    "points": [0, 1, 2.5, 7, 100],
    "since": DAYS * 2,
    "vip": [True, False],
}


def crowd(dice: random.Random, lists: list[MailingList]) -> None:
    """Make people of every kind, with attributes that are not what they should be."""
    for number in range(60):
        attributes = {
            name: dice.choice(ODD + values) for name, values in USUAL.items() if dice.random() < 0.8
        }
        person = make.subscriber(
            f"p{number}@{dice.choice(['gmail.com', 'x.example', 'mail.x.example'])}",
            language=dice.choice(["", "de", "de-AT", "fr"]),
            first_name=dice.choice(WORDS),
            tags=dice.sample(["a", "b", "free"], dice.randint(0, 3)),
            status=dice.choice(Subscriber.Status.values),
            attributes=attributes,
        )
        created = datetime.combine(date.fromisoformat(dice.choice(DAYS)), time(12), tzinfo=UTC)
        Subscriber.objects.filter(pk=person.pk).update(created_at=created)
        for each in lists:
            if dice.random() < 0.5:
                status = dice.choice(Subscription.Status.values)
                Subscription.objects.create(subscriber=person, list=each, status=status)


def text_of(value: Any) -> str:
    """Return what PostgreSQL's ->> makes of a value, "" for none."""
    if value is None or isinstance(value, str):
        return value or ""
    return json.dumps(value)


def is_decimal(text: str) -> bool:
    sign_free = text.removeprefix("-")
    whole, _, rest = sign_free.partition(".")
    return whole.isdecimal() and (rest.isdecimal() or "." not in sign_free) and len(whole) <= 30


def is_day(text: str) -> bool:
    return len(text) == 10 and text[4] == text[7] == "-" and text.replace("-", "").isdecimal()


COMPARE = {
    "=": lambda a, b: a == b,
    "on": lambda a, b: a == b,
    "<": lambda a, b: a < b,
    "before": lambda a, b: a < b,
    ">": lambda a, b: a > b,
    "after": lambda a, b: a > b,
    "<=": lambda a, b: a <= b,
    ">=": lambda a, b: a >= b,
}


def holds(node: dict[str, Any], person: Subscriber) -> bool:
    """Evaluate rules the slow way: what segments mean."""
    if "field" in node:
        return holds_alone(node["field"], node["op"], node["value"], person)
    rules = [each for each in node["rules"] if not is_hollow(each)]
    results = [holds(each, person) for each in rules]
    return (all(results) if node["match"] == "all" else any(results)) if results else True


def is_hollow(node: dict[str, Any]) -> bool:
    return "rules" in node and all(map(is_hollow, node["rules"]))


def holds_alone(field: str, op: str, value: Any, person: Subscriber) -> bool:
    if field == "list":
        standings = {(each.list_id, each.status) for each in person.subscriptions.all()}
        return ((value, "active") in standings) == (op == "is")
    if field == "tag":
        return (value in person.tags) == (op == "has")
    if field == "created":
        return holds_for_time(op, value, person.created_at)
    if field.startswith("attributes."):
        name = field.partition(".")[2]
        return holds_for_attribute(name, op, value, text_of(person.attributes.get(name)))
    return holds_for_text(op, value, getattr(person, field))


def holds_for_text(op: str, value: Any, text: str) -> bool:
    return {
        "is": lambda: text == value,
        "is_not": lambda: text != value,
        "contains": lambda: value.lower() in text.lower(),
        "begins_with": lambda: text.startswith(value),
        "ends_with": lambda: text.endswith(value),
        "is_empty": lambda: text == "",
        "is_not_empty": lambda: text != "",
    }[op]()


def holds_for_time(op: str, value: Any, moment: datetime) -> bool:
    if op == "in_last_days":
        return moment > NOW - timedelta(days=value)
    return COMPARE[op](moment.date().isoformat(), value)


def holds_for_attribute(name: str, op: str, value: Any, text: str) -> bool:
    if name == "plan":
        return holds_for_text(op, value, text)
    if name == "vip":
        return {
            "is": lambda: text == json.dumps(value),
            "is_empty": lambda: not text,
            "is_not_empty": lambda: bool(text),
        }[op]()
    if name == "points":
        return holds_for_number(op, value, Decimal(text) if is_decimal(text) else None)
    return holds_for_day(op, value, text if is_day(text) else None)


def holds_for_number(op: str, value: Any, number: Decimal | None) -> bool:
    if op in {"is_empty", "is_not_empty"} or number is None:
        return op == ("is_empty" if number is None else "is_not_empty")
    if op == "between":
        return value[0] <= number <= value[1]
    return COMPARE[op](number, Decimal(str(value)))


def holds_for_day(op: str, value: Any, day: str | None) -> bool:
    if op in {"is_empty", "is_not_empty"} or day is None:
        return op == ("is_empty" if day is None else "is_not_empty")
    if op == "in_last_days":
        first = NOW.date() - timedelta(days=value - 1)
        return first.isoformat() <= day <= NOW.date().isoformat()
    return COMPARE[op](day, value)


NOW = datetime(2026, 11, 23, 15, tzinfo=UTC)
_words = [word for word in WORDS if word]
_numbers = [-1.5, 0, 1, 2.5, 7, 12, 100]
_lasting = [1, 2, 30, 31]
_empty: dict[str, list[Any]] = {"is_empty": [None], "is_not_empty": [None]}
_text = dict.fromkeys(["is", "is_not", "contains", "begins_with", "ends_with"], _words)
QUESTIONS: dict[str, dict[str, list[Any]]] = {
    "first_name": {**_text, **_empty},
    "language": {"is": ["de", "fr"], "is_not": ["de"], **_empty},
    "email": {"contains": ["X.ex"], "ends_with": ["@gmail.com"], "is_not": ["p1@gmail.com"]},
    "status": dict.fromkeys(["is", "is_not"], Subscriber.Status.values),
    "mailbox": {"is": ["gmail"], "is_not": ["gmail"]},
    "tag": {"has": ["a", "free"], "has_not": ["a", "free"]},
    "list": {"is": [0, 1], "is_not": [0, 1]},
    "created": {"before": DAYS, "after": DAYS, "in_last_days": _lasting},
    "attributes.plan": {**_text, **_empty},
    "attributes.points": {
        **dict.fromkeys(["=", "<", ">", "<=", ">="], _numbers),
        "between": [[0, 7], [7, 7]],
        **_empty,
    },
    "attributes.since": {
        **dict.fromkeys(["on", "before", "after"], DAYS),
        "in_last_days": _lasting,
        **_empty,
    },
    "attributes.vip": {"is": [True, False], **_empty},
}
"""Field -> op -> values worth asking for; of lists, their place."""
CONDITIONS = [
    rule(field, op, value)
    for field, ops in QUESTIONS.items()
    for op, values in ops.items()
    for value in values
]
_conditions = st.sampled_from(CONDITIONS)
_groups = st.recursive(
    _conditions,
    lambda inner: st.builds(
        lambda match, rules: {"match": match, "rules": rules},
        st.sampled_from(["all", "any"]),
        st.lists(inner, max_size=3),
    ),
    max_leaves=8,
).map(lambda node: all_of(node) if "field" in node else node)


def with_lists(node: dict[str, Any], lists: list[MailingList]) -> dict[str, Any]:
    if "rules" in node:
        return {**node, "rules": [with_lists(each, lists) for each in node["rules"]]}
    return {**node, "value": lists[node["value"]].pk} if node["field"] == "list" else node


def depth(node: dict[str, Any]) -> int:
    return 1 + max(map(depth, node["rules"]), default=0) if "rules" in node else 0


@pytest.fixture
def lists(attributes):
    both = [make.mailing_list(), make.mailing_list()]
    crowd(random.Random(11), both)
    return both


@time_machine.travel(NOW, tick=False)
@pytest.mark.parametrize("field", QUESTIONS)
def test_every_question_finds_whom_plain_python_finds(lists, field):
    people = list(Subscriber.objects.prefetch_related("subscriptions"))
    sizes = set()
    for condition in CONDITIONS:
        if condition["field"] == field:
            rules = with_lists(all_of(condition), lists)
            expected = {each.email for each in people if holds(rules, each)}
            assert {each.email for each in segmenting.people(rules)} == expected, condition
            sizes.add(len(expected))

    assert sizes - {0, len(people)}


@time_machine.travel(NOW, tick=False)
def test_groups_of_questions_find_whom_plain_python_finds(lists):
    people = list(Subscriber.objects.prefetch_related("subscriptions"))
    sizes = set()

    @settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
    @given(_groups.filter(lambda node: depth(node) <= segmenting.DEEPEST))
    def agree(rules):
        rules = with_lists(rules, lists)
        expected = {each.email for each in people if holds(rules, each)}
        assert {each.email for each in segmenting.people(rules)} == expected
        assert segmenting.validate(segmenting.validate(rules)) == segmenting.validate(rules)
        assert segmenting.describe(rules)
        sizes.add(len(expected))

    agree()
    assert len(sizes) > 10


# --- What it means ----------------------------------------------------------------------------


def test_lists_conditions_and_groups_select_people(attributes):
    news = make.mailing_list("News")
    make.subscriber("a@x.example", [news], language="de", attributes={"plan": "pro"})
    make.subscriber("b@x.example", [news], language="de", attributes={"plan": "free"})
    make.subscriber("c@x.example", [news], language="fr", tags=["vip"])
    make.subscriber("d@x.example", language="de", attributes={"plan": "pro"})
    rules = all_of(
        rule("list", "is", str(news.pk)),
        any_of(rule("tag", "has", "vip"), rule("attributes.plan", "is_not", "free")),
    )

    assert found(rules) == {"a", "c"}
    assert segmenting.describe(rules) == "list is News and (tags include vip or plan is not free)"
    assert found({}) == {"a", "b", "c", "d"}
    assert segmenting.describe({}) == "everybody"


def test_the_count_is_of_those_who_may_be_mailed():
    make.subscriber("a@x.example", language="de")
    make.subscriber("b@x.example", language="de", status=Subscriber.Status.BOUNCED)
    make.subscriber("c@x.example", language="de")
    make.suppression("c@x.example")

    assert segmenting.count(all_of(rule("language", "is", "de"))) == 1


def test_a_count_that_takes_too_long_is_given_up(monkeypatch):
    monkeypatch.setattr(segmenting, "COUNT_TIMEOUT_MS", 20)
    with connection.cursor() as cursor:
        cursor.execute("""
            INSERT INTO subscribers_subscriber (email, address_key, tags, attributes)
            SELECT n || '@x.example', decode(md5(n::text), 'hex'), '{}', '{"plan": "a"}'
            FROM generate_series(1, 20000) AS n
        """)
    slow = any_of(*[rule("first_name", "contains", f"%{n}%") for n in range(40)])

    with pytest.raises(segmenting.CountTooSlow, match="make the rules simpler"):
        segmenting.count(slow)

    with connection.cursor() as cursor:
        cursor.execute("SHOW statement_timeout")
        assert cursor.fetchone() == ("0",)


def test_values_get_their_canonical_spelling(attributes):
    raw = all_of(
        rule("attributes.points", ">", "2,50"),
        rule("attributes.points", "between", ["1", 3]),
        rule("attributes.vip", "is", "yes"),
        rule("email", "ends_with", " @GMAIL.com "),
        rule("attributes.since", "is_empty", "anything"),
    )

    values = [each["value"] for each in segmenting.validate(raw)["rules"]]

    assert values == [2.5, [1, 3], True, "@gmail.com", None]


@pytest.mark.parametrize(
    ("rules", "sentence"),
    [
        ([], "The segment must have “match” and “rules”"),
        ({"match": "none", "rules": []}, "must match “all” or “any”"),
        ({"match": "all"}, "The segment has no list of rules"),
        ({"match": "all", "rules": [], "sql": "1=1"}, "and nothing else"),
        (all_of("x"), "Rule 1 must have"),
        (all_of(rule("password", "is", "x")), "Rule 1 cannot be used: there is no field"),
        (all_of(rule("attributes.plan", "is", "x")), "there is no field “attributes.plan”"),
        (all_of(rule("email", "matches", "x")), "“E-mail” takes one of is, .* not “matches”"),
        (all_of(any_of(rule("email", "is", "a@b.c"), rule("created", "before", "soon"))),
         "Rule 2 of rule 1 cannot be used: its value must be a date"),
        (all_of(rule("list", "is", 99)), "none of those to choose from"),
        (all_of(rule("language", "is", "")), "give it a value"),
        (all_of(rule("language", "is", "a\0b")), "no text"),
        (all_of(rule("language", "is", "\ud800")), "no text"),
        (all_of(rule("language", "is", "x" * 201)), "longer than 200"),
        (all_of(rule("created", "in_last_days", 0)), "from 1 to"),
        (all_of({**rule("language", "is", "de"), "sql": "x"}), "nothing else"),
        (all_of(*[all_of(*[rule("language", "is", "de")] * 26)] * 2), "more than 50 conditions"),
        (all_of(all_of(all_of(all_of(all_of(all_of()))))), "nested deeper than 5"),
    ],
)  # fmt: skip
def test_rules_that_cannot_be_used_are_refused_with_their_place(rules, sentence):
    with pytest.raises(InvalidInput, match=sentence) as refusal:
        segmenting.people(rules)

    assert refusal.value.param == "rules"


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["match", "rules", "field", "op", "value"]), inner)
        | st.dictionaries(
            st.sampled_from(["field", "op", "value"]),
            st.sampled_from(["email", "is", "list", "tag", "has", "created"]) | inner,
        )
    ),
    max_leaves=12,
)


def test_no_json_breaks_it(attributes):
    @settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
    @given(_json)
    def try_it(rules):
        try:
            query = segmenting.people(rules)
        except InvalidInput:
            return
        assert query.count() == 0

    try_it()


def test_a_form_is_told_what_it_may_offer(attributes):
    news = make.mailing_list("News")

    offered = {each["field"]: each for each in segmenting.choices()}

    assert offered["list"]["options"] == [{"value": news.pk, "label": "News"}]
    assert offered["attributes.points"]["kind"] == "number"
    assert {"op": "between", "label": "is between", "value": "numbers"} in (
        offered["attributes.points"]["ops"]
    )
    json.dumps(segmenting.choices())


def test_only_the_digits_a_number_may_have_count_whatever_the_collation():
    """PostgreSQL's own digits are those of every script where ICU sorts; a cast takes only ours."""
    sql = 'SELECT %s COLLATE "und-x-icu" ~ %s'
    spelled = {
        conditions.NUMBER: ["\u0661\u0662", "-\u0967", "1.\u0665"],
        conditions.DATE: ["\u0662026-11-23", "2026-\u0967\u0967-23"],
    }
    with connection.cursor() as cursor:
        for pattern, texts in spelled.items():
            for text in texts:
                cursor.execute(sql, [text, pattern])
                assert cursor.fetchone() == (False,), text
