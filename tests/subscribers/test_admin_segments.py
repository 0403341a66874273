"""The segment builder: a count that follows, errors at the condition, nothing wrong is stored."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.test import Client

from subscribers.models import Segment
from tests import make

pytestmark = pytest.mark.django_db
SEGMENTS = "/admin/subscribers/segment/"


def rules(*conditions: Any, match: str = "all") -> dict[str, Any]:
    return {"match": match, "rules": list(conditions)}


def is_language(code: str) -> dict[str, str]:
    return {"field": "language", "op": "is", "value": code}


def look(client: Client, given: Any) -> Any:
    body = given if isinstance(given, str) else json.dumps(given)
    answer = client.post(f"{SEGMENTS}look/", {"rules": body})
    assert answer.status_code == 200
    return answer.json()


def test_the_builder_is_told_how_many_and_ten_of_them(admin_client):
    for number in range(12):
        make.subscriber(f"de{number}@example.com", language="de")
    make.subscriber("en@example.com", language="en")
    make.subscriber("gone@example.com", language="de", status="bounced")

    found = look(admin_client, rules(is_language("de")))

    assert found["count"] == 12
    assert found["sentence"] == "language is de"
    assert [each["email"] for each in found["people"]] == [
        f"de{n}@example.com" for n in range(11, 1, -1)
    ]
    assert found["problems"] == {}


def test_errors_stand_at_their_conditions(admin_client):
    group = rules(
        is_language("de"), {"field": "created", "op": "before", "value": "soon"}, match="any"
    )

    found = look(admin_client, rules({"field": "gone", "op": "is", "value": "x"}, group))

    assert found["problems"] == {
        "0": "There is no field “gone”.",
        "1.1": "Its value must be a date such as 2026-11-23.",
    }
    assert found["count"] is None


@pytest.mark.parametrize(
    "given", ["", "no json", "[]", "3", '{"match": "none", "rules": []}', '{"rules": 3}']
)
def test_nonsense_is_answered_in_words(admin_client, given):
    found = look(admin_client, given)

    assert found["problem"] or found["count"] == 0


def test_rules_nested_without_end_are_refused(admin_client):
    nested: Any = is_language("de")
    for _ in range(400):
        nested = rules(nested)

    assert "nested deeper" in look(admin_client, nested)["problem"]


def test_a_segment_is_saved_in_canonical_spelling(admin_client):
    given = rules({"field": "created", "op": "in_last_days", "value": "30"})

    admin_client.post(f"{SEGMENTS}add/", {"name": "New", "rules": json.dumps(given)})

    assert Segment.objects.get().rules == rules(
        {"field": "created", "op": "in_last_days", "value": 30}
    )


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ("no json", "These rules are no JSON."),
        ("{}", "Add at least one condition"),
        (json.dumps(rules({"field": "gone", "op": "is", "value": "x"})), "there is no field"),
    ],
)
def test_what_cannot_be_used_is_not_saved_and_kept_on_the_page(admin_client, given, sentence):
    page = admin_client.post(f"{SEGMENTS}add/", {"name": "Mine", "rules": given}).content.decode()

    assert sentence in page
    assert 'value="Mine"' in page
    assert not Segment.objects.exists()


def test_a_name_in_use_is_refused_at_its_field(admin_client):
    make.segment(rules(is_language("de")), name="Mine")

    form = {"name": "Mine", "rules": json.dumps(rules(is_language("fr")))}
    page = admin_client.post(f"{SEGMENTS}add/", form).content.decode()

    assert "already exists" in page


def test_a_stored_segment_that_cannot_be_used_any_more_says_so_everywhere(admin_client):
    broken = make.segment(rules({"field": "gone", "op": "is", "value": "x"}))

    for page in ("change/", "edit/", "sample/", "size/"):
        assert admin_client.get(f"{SEGMENTS}{broken.pk}/{page}").status_code == 200
    assert "cannot be used any more" in admin_client.get(SEGMENTS).content.decode()


def test_groups_within_groups_turned_round_are_built_and_kept(admin_client):
    inner = {**rules(is_language("de"), match="any"), "not": True}
    segment = make.segment(rules(rules(inner)), name="Deep")
    url = f"{SEGMENTS}{segment.pk}/edit/"

    page = admin_client.get(url).content.decode()
    admin_client.post(url, {"name": "Deeper", "rules": json.dumps(segment.rules)})

    assert "Add group inside" in page
    segment.refresh_from_db()
    assert (segment.name, segment.rules) == ("Deeper", rules(rules(inner)))


def test_a_circle_is_refused_while_it_is_being_built(admin_client):
    segment = make.segment(rules(is_language("de")), name="Mine")
    other = make.segment(rules({"field": "segment", "op": "is", "value": segment.pk}))
    circle = rules({"field": "segment", "op": "is", "value": other.pk})

    answer = admin_client.post(f"{SEGMENTS}{segment.pk}/look/", {"rules": json.dumps(circle)})
    page = admin_client.post(
        f"{SEGMENTS}{segment.pk}/edit/", {"name": "Mine", "rules": json.dumps(circle)}
    )

    assert "circle" in answer.json()["problem"]
    assert "circle" in page.content.decode()


def test_values_are_suggested_from_what_people_have(admin_client):
    make.subscriber(language="de", tags=["vip", "early"], attributes={"plan": "pro"})
    make.subscriber(language="de", tags=["vip"])

    def suggested(field: str) -> Any:
        return admin_client.get(f"{SEGMENTS}suggest/", {"field": field}).json()["values"]

    assert suggested("tag") == ["vip", "early"]
    assert suggested("language") == ["de"]
    assert suggested("attributes.plan") == ["pro"]
    assert suggested("email") == suggested("password") == []


def test_the_page_compares_explains_and_says_where_it_is_used(admin_client):
    german = make.segment(rules(is_language("de")), name="Germans")
    vips = make.segment(rules({"field": "tag", "op": "has", "value": "vip"}), name="Important")
    make.subscriber("a@x.example", language="de", tags=["vip"])
    make.subscriber("b@x.example", language="de")
    make.subscriber("c@x.example", tags=["vip"])
    make.campaign(name="November").segments.add(german)
    url = f"{SEGMENTS}{german.pk}/"

    page = admin_client.get(f"{url}change/").content.decode()
    overlap = admin_client.get(f"{url}overlap/", {"with": vips.pk}).content.decode()
    why = admin_client.get(f"{url}why/", {"email": "C@x.example "}).content.decode()
    nobody = admin_client.get(f"{url}why/", {"email": "x@x.example"}).content.decode()

    assert "Campaign November, draft" in page
    assert "50.0 %" in overlap or "50 %" in overlap
    assert "not in" in why
    assert "Language is de" in why
    assert "Nobody here has the address x@x.example" in nobody
    assert admin_client.get(f"{SEGMENTS}{german.pk}/delete/").status_code == 403


def test_a_viewer_sees_a_segment_and_does_not_change_it():
    segment = make.segment(rules(is_language("de")), name="Germans")
    user = make.user(is_staff=True)
    user.groups.add(Group.objects.get(name="Viewer"))
    client = Client()
    client.force_login(user)

    assert "language is de" in client.get(f"{SEGMENTS}{segment.pk}/change/").content.decode()
    assert client.get(f"{SEGMENTS}{segment.pk}/size/").content == b"0"
    assert client.get(f"{SEGMENTS}add/").status_code == 403
    assert client.post(f"{SEGMENTS}{segment.pk}/edit/", {"name": "Mine"}).status_code == 403
