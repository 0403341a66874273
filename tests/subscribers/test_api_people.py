"""People over HTTP as integrators expect it: versions, filters, cursors, many at once."""

from __future__ import annotations

import base64
import io
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any
from urllib.parse import quote

import pytest
from django.db import connection
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from subscribers import importing
from subscribers.models import Engagement, Import, Subscriber, Subscription
from tests import make
from tests.calling import Answer, Api

pytestmark = pytest.mark.django_db

ANN = "subscribers/ann@gmail.com"


# --- One person --------------------------------------------------------------------------


def test_making_somebody_again_overwrites_nothing_unless_asked() -> None:
    news = make.mailing_list()
    api = Api()
    first = {"email": "ann@gmail.com", "first_name": "Ann", "attributes": {"plan": "pro"}}
    assert api.post("subscribers", first).status == 201

    other = {"email": "ANN@gmail.com", "first_name": "Bea", "attributes": {"plan": "free"}}
    again = api.post("subscribers", {**other, "lists": [news.pk]})
    skipped = api.post("subscribers", {**other, "known": "skip"})
    asked = api.post("subscribers", {**other, "known": "update"})

    assert [each.status for each in (again, skipped, asked)] == [200, 200, 200]
    assert again.data["first_name"] == skipped.data["first_name"] == "Ann"
    assert again.data["attributes"] == {"plan": "pro"}
    assert [each["list"] for each in again.data["subscriptions"]] == [news.pk]
    assert (asked.data["first_name"], asked.data["attributes"]) == ("Bea", {"plan": "free"})


def test_somebody_skipped_is_put_on_no_list() -> None:
    news = make.mailing_list()
    make.subscriber("ann@gmail.com")

    Api().post("subscribers", {"email": "ann@gmail.com", "known": "skip", "lists": [news.pk]})

    assert not Subscription.objects.exists()


@pytest.mark.parametrize("slash", ["", "/"])
@pytest.mark.parametrize("email", ["ann+news@gmail.com", "a/b@gmail.com", "ann@gmail.com"])
def test_a_person_is_found_by_encoded_address_and_by_id(email: str, slash: str) -> None:
    person = make.subscriber(email)

    by_address = Api().get(f"subscribers/{quote(email, safe='')}{slash}")
    by_id = Api().get(f"subscribers/{person.pk}{slash}")

    assert by_address.data["id"] == by_id.data["id"] == person.pk


def test_put_says_everything_and_patch_a_part() -> None:
    make.subscriber("ann@gmail.com", first_name="Ann", country="PT", tags=["x"])
    Subscriber.objects.update(attributes={"a": "1", "b": "2"})

    changed = Api().patch(ANN, {"last_name": "Lee"}).data
    replaced = Api().put(ANN, {"first_name": "Anna", "attributes": {"b": "3"}}).data

    assert (changed["first_name"], changed["last_name"], changed["tags"]) == ("Ann", "Lee", ["x"])
    assert (replaced["first_name"], replaced["last_name"], replaced["country"]) == ("Anna", "", "")
    assert (replaced["attributes"], replaced["tags"]) == ({"b": "3"}, [])


def test_put_makes_who_is_not_there_and_never_changes_an_address() -> None:
    api = Api()

    assert api.put(ANN, {"email": "Ann@gmail.com", "first_name": "Ann"}).status == 201
    refused = api.put(ANN, {"email": "bo@gmail.com"})
    assert (refused.status, refused.error["param"]) == (400, "email")
    assert api.put("subscribers/999999", {"first_name": "Nobody"}).status == 404
    assert Subscriber.objects.get().first_name == "Ann"


def test_who_holds_an_old_version_changes_nothing() -> None:
    api = Api()
    make.subscriber("ann@gmail.com", first_name="Ann")
    tag = api.get(ANN).headers["ETag"]
    api.patch(ANN, {"country": "PT"})

    old = {"headers": {"If-Match": tag}}
    answers = [
        api.patch(ANN, {"first_name": "Bea"}, **old),
        api.put(ANN, {"first_name": "Bea"}, **old),
        api.delete(ANN, **old),
    ]

    assert [each.status for each in answers] == [412, 412, 412]
    assert {each.error["code"] for each in answers} == {"outdated"}
    person = Subscriber.objects.get()
    assert (person.first_name, person.status) == ("Ann", "active")
    fresh = {"headers": {"If-Match": f'"other", W/{api.get(ANN).headers["ETag"]}'}}
    assert api.patch(ANN, {"first_name": "Bea"}, **fresh).status == 200


def test_leaving_a_list_is_another_version_and_an_open_is_not() -> None:
    api = Api()
    news = make.mailing_list()
    person = make.subscriber("ann@gmail.com", [news])
    before = api.get(ANN).headers["ETag"]

    Engagement.objects.create(subscriber=person, score=40)
    assert api.get(ANN).headers["ETag"] == before
    api.post(f"{ANN}/unsubscribe", {"lists": [news.pk]})
    assert api.get(ANN).headers["ETag"] != before


def test_a_date_holds_changes_back_as_well() -> None:
    api = Api()
    make.subscriber("ann@gmail.com")
    Subscriber.objects.update(updated_at=timezone.now() + timedelta(minutes=5))

    late = {"headers": {"If-Unmodified-Since": "Mon, 23 Nov 2026 10:00:00 GMT"}}
    unreadable = {"headers": {"If-Unmodified-Since": "yesterday"}}

    assert api.patch(ANN, {"first_name": "A"}, **late).status == 412
    known = {"headers": {"If-Unmodified-Since": api.get(ANN).headers["Last-Modified"]}}
    assert api.patch(ANN, {"first_name": "B"}, **known).status == 200
    assert api.patch(ANN, {"first_name": "C"}, **unreadable).status == 200


@pytest.mark.django_db(transaction=True)
def test_of_two_who_change_the_same_version_one_wins_and_one_is_told() -> None:
    make.subscriber("ann@gmail.com")
    tag = Api().get(ANN).headers["ETag"]
    plain = make.api_key()

    def change(name: str) -> Answer:
        return Api(plain).patch(ANN, {"first_name": name}, headers={"If-Match": tag})

    answers = _at_once(change, ["Ann", "Bea"])

    assert sorted(each.status for each in answers) == [200, 412]
    won = next(each for each in answers if each.status == 200)
    assert Subscriber.objects.get().first_name == won.data["first_name"]


@pytest.mark.django_db(transaction=True)
def test_two_partial_updates_at_once_both_count() -> None:
    make.subscriber("ann@gmail.com", attributes={"kept": "yes"})
    plain = make.api_key()

    def change(number: int) -> Answer:
        return Api(plain).patch(ANN, {"attributes": {f"field_{number}": number}})

    answers = _at_once(change, [1, 2])

    assert [each.status for each in answers] == [200, 200]
    assert Subscriber.objects.get().attributes == {"kept": "yes", "field_1": 1, "field_2": 2}


def _at_once(deed: Any, about: list[Any]) -> list[Answer]:
    together = threading.Barrier(len(about))

    def work(each: Any) -> Answer:
        together.wait(10)
        try:
            answer: Answer = deed(each)
            return answer
        finally:
            connection.close()

    with ThreadPoolExecutor(len(about)) as pool:
        return list(pool.map(work, about))


# --- Finding -----------------------------------------------------------------------------


def _found(**query: Any) -> list[str]:
    answer = Api().get("subscribers", **query)
    assert answer.status == 200, answer.data
    return sorted(row["email"].partition("@")[0] for row in answer.data["results"])


def test_people_are_found_by_what_is_known_of_them() -> None:
    now = timezone.now()
    news = make.mailing_list()
    segment = make.segment(
        {"match": "all", "rules": [{"field": "country", "op": "is", "value": "PT"}]},
        name="Portugal",
    )
    ann = make.subscriber("ann@gmail.com", [news], country="PT", tags=["vip"])
    anton = make.subscriber("anton@outlook.com")
    bo = make.subscriber("bo@example.com", country="PT")
    Engagement.objects.create(subscriber=ann, score=80, stage="active")
    Engagement.objects.create(subscriber=anton, score=10, stage="lost")
    old = now - timedelta(days=9)
    Subscriber.objects.filter(pk=bo.pk).update(created_at=old, updated_at=old)

    assert _found(q="AN") == ["ann", "anton"]
    assert _found(q="an%") == []
    assert _found(tag="vip") == _found(list=news.pk) == _found(stage="active") == ["ann"]
    assert _found(segment=segment.pk) == _found(segment="Portugal") == ["ann", "bo"]
    assert _found(segment=segment.pk, q="a") == ["ann"]
    assert _found(stage="new") == ["bo"]
    assert _found(score_min=10, score_max=79) == ["anton"]
    assert _found(mailbox="gmail") == ["ann"]
    since = (now - timedelta(days=1)).isoformat()
    assert _found(created_since=since) == _found(updated_since=since) == ["ann", "anton"]


def test_a_segment_has_its_people_page_by_page() -> None:
    segment = make.segment(
        {"match": "all", "rules": [{"field": "country", "op": "is", "value": "PT"}]},
        name="Portugal",
    )
    for number in range(5):
        make.subscriber(f"p{number}@gmail.com", country="PT")
    make.subscriber("other@gmail.com", country="DE")

    emails, url = [], f"subscribers/segment/{segment.pk}?limit=2"
    while url:
        answer = Api().get(url)
        emails += [row["email"] for row in answer.data["results"]]
        url = answer.data["next"]

    assert emails == [f"p{number}@gmail.com" for number in (4, 3, 2, 1, 0)]
    assert Api().get("subscribers/segment/Portugal/", q="p1").data["results"][0]["country"] == "PT"
    assert Api().get("subscribers/segment/nowhere").status == 404
    assert Api().get("subscribers", segment="nowhere").error["param"] == "segment"


def test_pages_skip_and_double_nobody_while_people_come_go_and_change() -> None:
    for number in range(9):
        make.subscriber(f"p{number}@gmail.com")
    api = Api()
    first = api.get("subscribers", limit=3)
    seen = [row["email"] for row in first.data["results"]]

    make.subscriber("new@gmail.com")
    Subscriber.objects.filter(email="p7@gmail.com").update(updated_at=timezone.now())
    Subscriber.objects.filter(email="p6@gmail.com").delete()
    url = first.data["next"]
    while url:
        answer = api.get(url)
        seen += [row["email"] for row in answer.data["results"]]
        url = answer.data["next"]

    assert seen == [f"p{number}@gmail.com" for number in range(8, -1, -1)]


@pytest.mark.parametrize("position", ["p=abc", "p=9" + "9" * 40, "p=-1", "o=99999&p=1", "r=1"])
def test_a_cursor_of_somebody_else_is_no_server_error(position: str) -> None:
    cursor = base64.b64encode(position.encode()).decode()

    assert Api().get("subscribers", cursor=cursor).status in (200, 404)


def test_the_figures_say_how_many_there_are() -> None:
    ann, bo = make.subscriber(status="bounced"), make.subscriber()
    make.subscriber()
    make.suppression("gone@example.com")
    Engagement.objects.create(subscriber=ann, stage="lost")
    Engagement.objects.create(subscriber=bo, stage="active")

    from django.core.cache import cache

    cache.delete("audience")
    figures = Api().get("subscribers/stats").data

    assert figures["total"] == 3
    assert (figures["by_status"]["active"], figures["by_status"]["bounced"]) == (2, 1)
    assert figures["by_stage"] == {"new": 1, "active": 1, "cooling": 0, "dormant": 0, "lost": 1}
    assert (figures["added_30d"], figures["left_30d"], figures["suppressions"]) == (3, 1, 1)


# --- Many at once ------------------------------------------------------------------------

PEOPLE: list[dict[str, Any]] = [
    {"email": "ann@gmail.com", "first_name": "Ann", "tags": ["early", "vip"]},
    {"email": "bo@gmail.com", "last_name": '=Bo, "B"', "attributes": {"visits": 3, "code": "007"}},
    {"email": "nobody", "attributes": {"code": "x", "is_vip": True}},
]


def _work(answer: Answer) -> Import:
    assert answer.status == 202, answer.data
    assert answer.headers["Location"] == f"/api/v1/imports/{answer.data['id']}/"
    while importing.run(answer.data["id"]):
        pass
    return Import.objects.get(pk=answer.data["id"])


@pytest.mark.parametrize("way", ["object", "array", "ndjson", "file"])
def test_json_goes_the_way_of_imports(way: str) -> None:
    news = make.mailing_list()
    lines = "\n".join(json.dumps(each) for each in PEOPLE) + "\n\n"
    path = f"subscribers/bulk-import?list={news.pk}"
    if way == "object":
        answer = Api().post("subscribers/bulk-import", {"people": PEOPLE, "list": news.pk})
    elif way == "array":
        answer = Api().post(path, PEOPLE)
    elif way == "ndjson":
        answer = Api().post(path, lines, content_type="application/x-ndjson")
    else:
        file = io.BytesIO(lines.encode())
        file.name = "people.ndjson"
        answer = Api().upload("subscribers/bulk-import/", file=file, list=news.pk)

    work = _work(answer)

    assert (work.status, work.created_count, work.refused_count) == ("done", 2, 1)
    ann, bo = Subscriber.objects.order_by("email")
    assert (ann.first_name, ann.tags) == ("Ann", ["early", "vip"])
    assert (bo.last_name, bo.attributes) == ('=Bo, "B"', {"visits": 3, "code": "007"})
    assert Subscriber.objects.on_lists([news.pk]).count() == 2


def test_csv_is_taken_as_it_is() -> None:
    text = "email,first_name\nann@gmail.com,Ann\n"

    work = _work(Api().post("subscribers/bulk-import?tags=web", text, content_type="text/csv"))

    assert work.created_count == 1
    assert Subscriber.objects.get().tags == ["web"]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ([], "people"),
        ({}, "people"),
        ({"people": "ann@gmail.com"}, "people"),
        ([1], "people.0"),
        ([{"email": "a@gmail.com"}, {}], "people.1"),
        ([{"email": "a@gmail.com", "surname": "X"}], "people.0"),
        ([{"email": ["a@gmail.com"]}], "people.0.email"),
        ([{"email": "a@gmail.com", "tags": "vip"}], "people.0.tags"),
        ([{"email": "a@gmail.com", "tags": ["a,b"]}], "people.0.tags"),
        ([{"email": "a@gmail.com", "attributes": [1]}], "people.0.attributes"),
        ([{"email": "a@gmail.com", "attributes": {"Bad": 1}}], "people.0.attributes"),
        ([{"email": "a@gmail.com", "attributes": {"a": {}}}], "people.0.attributes.a"),
        ({"people": PEOPLE, "list": 999_999}, "list"),
        ({"people": PEOPLE, "known": "revive"}, "known"),
        ({"people": PEOPLE, "lists": [1]}, "lists"),
    ],
)
def test_what_cannot_be_imported_starts_nothing(body: Any, param: str) -> None:
    answer = Api().post("subscribers/bulk-import", body)

    assert (answer.status, answer.data["error"]["param"]) == (400, param)
    assert not Import.objects.exists()


def test_a_broken_line_is_named() -> None:
    body = '{"email": "ann@gmail.com"}\n{"email": \n'

    answer = Api().post("subscribers/bulk-import", body, content_type="application/x-ndjson")

    assert (answer.status, answer.error["param"]) == (400, "line 2")


# --- Rights ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "scope"),
    [
        ("get", "subscribers", "read"),
        ("get", "subscribers/stats", "read"),
        ("get", "subscribers/segment/1", "read"),
        ("get", ANN, "read"),
        ("post", "subscribers", "manage"),
        ("post", "subscribers/bulk-import", "manage"),
        ("put", ANN, "manage"),
        ("patch", ANN, "manage"),
        ("delete", ANN, "manage"),
    ],
)
def test_each_address_takes_one_scope_and_no_other(method: str, path: str, scope: str) -> None:
    make.subscriber("ann@gmail.com")

    def status_with(*scopes: str) -> int:
        api = Api(make.api_key(*scopes))
        deed = getattr(api, method)
        answer: Answer = deed(path, {}) if method in ("post", "put", "patch") else deed(path)
        return answer.status

    others = [each for each in ("read", "manage", "send") if each != scope]
    assert status_with(*others) == 403
    assert status_with(scope) not in (401, 403)
    assert (
        getattr(Api(None), method)(path, *([{}] if method in ("put", "patch") else [])).status
        == 401
    )


# --- Strangers ---------------------------------------------------------------------------

_LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
_JSON = st.recursive(
    _LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=6,
)
_NAMES = ["email", "first_name", "language", "country", "time_zone", "attributes", "tags", "lists",
          "known", "people", "list", "plan"]  # fmt: skip
_BODIES = _JSON | st.dictionaries(
    st.sampled_from(_NAMES), _JSON | st.sampled_from(["ann@gmail.com", ["x"], {"plan": "a"}])
)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(body=_BODIES)
def test_no_body_is_a_server_error(body: Any) -> None:
    api = Api()
    text = json.dumps(body)
    for method, path in [
        ("post", "subscribers"),
        ("post", "subscribers/bulk-import"),
        ("put", ANN),
        ("patch", ANN),
    ]:
        deed = getattr(api._client, method)
        answer = deed(f"/api/v1/{path}", text, content_type="application/json")
        assert answer.status_code < 500, (method, path, text)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    name=st.sampled_from(["q", "list", "segment", "tag", "stage", "score_min", "created_since",
                          "updated_since", "mailbox", "status", "email", "cursor", "limit"]),
    value=st.text(max_size=20) | st.integers().map(str) | st.floats().map(str),
)  # fmt: skip
def test_no_filter_is_a_server_error(name: str, value: str) -> None:
    assert Api().get("subscribers", **{name: value}).status < 500
