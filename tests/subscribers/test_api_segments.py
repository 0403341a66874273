"""Segments over HTTP."""

from __future__ import annotations

from typing import Any

import pytest
from django.utils import timezone

from campaigns import launching
from emailplatform.models import AuditEntry
from subscribers.models import Segment
from tests import make
from tests.calling import Api

pytestmark = pytest.mark.django_db
SEGMENTS = "segments/"


def is_language(code: str) -> dict[str, Any]:
    return {"match": "all", "rules": [{"field": "language", "op": "is", "value": code}]}


def asks_for(segment: Segment) -> dict[str, Any]:
    return {"match": "all", "rules": [{"field": "segment", "op": "is", "value": segment.pk}]}


def test_a_segment_tells_its_rules_in_words():
    api = Api()

    made = api.post(SEGMENTS, {"name": "Germans", "rules": is_language("de")})

    assert made.status == 201
    assert made.data["sentence"] == "language is de"


def test_what_can_be_asked_is_told():
    found = Api().get(f"{SEGMENTS}fields/").data

    by_name = {each["field"]: each for each in found}
    assert {"op": "in_last_days", "label": "in the last", "value": "days"} in (
        by_name["opened"]["ops"]
    )
    assert {"campaign", "segment", "score", "stage", "consent", "import"} <= set(by_name)


def test_people_come_by_cursor():
    for number in range(3):
        make.subscriber(f"p{number}@x.example", language="de")
    make.subscriber(language="fr")
    segment = make.segment(is_language("de"))
    api = Api()

    first = api.get(f"{SEGMENTS}{segment.pk}/people/", limit=2).data
    rest = api.get(first["next"]).data

    emails = [each["email"] for each in first["results"] + rest["results"]]
    assert emails == ["p2@x.example", "p1@x.example", "p0@x.example"]
    assert rest["next"] is None


def test_two_segments_are_compared():
    make.subscriber(language="de", country="DE")
    make.subscriber(language="de")
    one = make.segment(is_language("de"))
    rules = {"match": "all", "rules": [{"field": "country", "op": "is", "value": "DE"}]}
    other = make.segment(rules)
    api = Api()

    found = api.get(f"{SEGMENTS}{one.pk}/overlap/", **{"with": str(other.pk)}).data

    assert found == {"only_this": 1, "both": 1, "only_other": 0}
    for nonsense in ("", "x", "9" * 40, "²"):
        answer = api.get(f"{SEGMENTS}{one.pk}/overlap/", **{"with": nonsense})
        assert answer.status == 404


def test_a_segment_goes_only_when_nothing_reads_it():
    api = Api()
    segment = make.segment(is_language("de"), name="Germans")
    asking = make.segment(asks_for(segment), name="Asking")
    make.subscriber(language="de")
    draft, started = make.campaign(name="Draft"), make.campaign(name="Started")
    draft.segments.add(segment)
    started.segments.add(segment)
    launching.launch(started, timezone.now())
    url = f"{SEGMENTS}{segment.pk}/"

    first = api.delete(url)
    asking.delete()
    second = api.delete(url)
    draft.segments.clear()
    third = api.delete(url)

    assert (first.status, second.status, third.status) == (409, 409, 204)
    assert "Segment Asking, Campaign Draft" in first.error["message"]
    assert not Segment.objects.filter(name="Germans").exists()
    assert AuditEntry.objects.filter(action="segment.destroy", object_id=segment.pk).exists()


@pytest.mark.parametrize(
    "rules",
    [
        {"resolved": 1},
        {"match": "all", "rules": [{"field": ["x"], "op": {}, "value": None}]},
        {"match": ["all"], "rules": []},
        {"match": "all", "rules": {"a": 1}},
        {"match": "all", "rules": [], "not": 1},
        [[]],
        "x",
        7,
    ],
)
def test_nonsense_is_refused_and_never_breaks(rules):
    api = Api()

    counted = api.post(f"{SEGMENTS}count/", {"rules": rules})
    made = api.post(SEGMENTS, {"name": "x", "rules": rules})

    assert (counted.status, made.status) == (400, 400)
