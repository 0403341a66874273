"""Lists, tags, suppressions and files over HTTP: what is done to many people at once."""

from __future__ import annotations

import csv
import io
import json
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.test import Client
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from emailplatform.models import AuditEntry
from subscribers import exporting, tagging
from subscribers.models import (
    Attribute,
    ConsentRecord,
    MailingList,
    Subscriber,
    Subscription,
    Suppression,
)
from tests import make
from tests.calling import Answer, Api

pytestmark = pytest.mark.django_db


# --- Lists -------------------------------------------------------------------------------


def test_people_are_put_on_a_list_and_taken_off_by_address() -> None:
    news = make.mailing_list()
    make.subscriber("ann@gmail.com", first_name="Ann")
    emails = ["ANN@gmail.com", "new@gmail.com", "nobody"]

    added = Api().post(f"lists/{news.pk}/add", {"emails": emails}).data
    removed = Api().post(f"lists/{news.pk}/remove", {"emails": ["ann@gmail.com", "x@x.com"]}).data
    again = Api().post(f"lists/{news.pk}/add", {"emails": ["ann@gmail.com"]})

    assert added["accepted"] == 2
    assert [each["email"] for each in added["refused"]] == ["nobody"]
    assert removed == {"changed": 1}
    assert again.status == 200
    assert list(Subscriber.objects.on_lists([news.pk]).values_list("email")) == [("new@gmail.com",)]
    assert Subscriber.objects.get(email="ann@gmail.com").first_name == "Ann"
    assert ConsentRecord.objects.filter(action="left").count() == 1


def test_the_people_of_a_list_come_page_by_page_with_their_standing() -> None:
    news = make.mailing_list()
    people = [make.subscriber(f"p{number}@gmail.com", [news]) for number in range(5)]
    Subscription.objects.filter(subscriber=people[2]).update(status="unsubscribed")

    emails, url = [], f"lists/{news.pk}/members?limit=2&status=active"
    while url:
        page = Api().get(url).data
        emails += [row["email"] for row in page["results"]]
        url = page["next"]

    assert emails == [f"p{number}@gmail.com" for number in (4, 3, 1, 0)]
    assert Api().get("lists/999999/members").status == 404


def test_a_list_is_deleted_only_if_nobody_misses_it() -> None:
    empty, used, aimed_at = make.mailing_list(), make.mailing_list(), make.mailing_list()
    make.subscriber("ann@gmail.com", [used])
    make.campaign([aimed_at])

    answers = [Api().delete(f"lists/{each.pk}") for each in (empty, used, aimed_at)]

    assert [each.status for each in answers] == [204, 409, 409]
    assert answers[1].error["code"] == "in_use"
    assert set(MailingList.objects.all()) == {used, aimed_at}


def test_lists_are_found_by_name() -> None:
    make.mailing_list("Customers")
    make.mailing_list("News")

    assert [each["name"] for each in Api().get("lists", q="custom").data["results"]] == [
        "Customers"
    ]


# --- Tags --------------------------------------------------------------------------------


def _tags() -> dict[str, list[str]]:
    rows = Subscriber.objects.order_by("email").values_list("email", "tags")
    return {email.partition("@")[0]: tags for email, tags in rows}


def test_tags_are_counted_renamed_merged_and_deleted() -> None:
    make.subscriber("ann@gmail.com", tags=["VIP", "vip", "web"])
    make.subscriber("bo@gmail.com", tags=["v.i.p."])
    make.subscriber("cy@gmail.com")
    api = Api()

    assert api.get("tags").data["results"][0] == {"tag": "VIP", "count": 1}
    merged = api.post("tags/rename", {"tags": ["VIP", "v.i.p."], "to": "vip"})
    assert merged.data == {"changed": 2, "more": False}
    assert _tags() == {"ann": ["web", "vip"], "bo": ["vip"], "cy": []}
    assert api.get("tags").data["results"] == [
        {"tag": "vip", "count": 2},
        {"tag": "web", "count": 1},
    ]
    assert api.post("tags/rename", {"tags": ["vip"], "to": "vip"}).data["changed"] == 0
    assert api.post("tags/delete", {"tags": ["vip"]}).data["changed"] == 2
    assert _tags() == {"ann": ["web"], "bo": [], "cy": []}


def test_tags_are_given_and_taken_by_address_filter_or_to_all() -> None:
    make.subscriber("ann@gmail.com", country="PT", tags=["vip"])
    make.subscriber("bo@gmail.com", country="PT")
    make.subscriber("cy@gmail.com")
    api = Api()

    given_ = api.post("tags/add", {"tag": "vip", "filter": {"country": "PT"}})
    api.post("tags/add", {"tag": "new", "emails": ["CY@gmail.com"]})
    api.post("tags/add", {"tag": "all", "all": True})
    api.post("tags/remove", {"tag": "vip", "filter": {"q": "ann"}})

    assert given_.data == {"changed": 1, "more": False}
    assert _tags() == {"ann": ["all"], "bo": ["vip", "all"], "cy": ["new", "all"]}


def test_many_people_are_changed_in_chunks_and_the_rest_is_told(monkeypatch: Any) -> None:
    monkeypatch.setattr(tagging, "CHUNK", 2)
    monkeypatch.setattr(tagging, "MOST", 4)
    for number in range(5):
        make.subscriber(f"p{number}@gmail.com")

    assert Api().post("tags/add", {"tag": "x", "all": True}).data == {"changed": 4, "more": True}
    assert Api().post("tags/add", {"tag": "x", "all": True}).data == {"changed": 1, "more": False}
    assert all(tags == ["x"] for tags in _tags().values())


def test_nobody_has_more_tags_than_fit() -> None:
    make.subscriber("ann@gmail.com", tags=[f"t{number}" for number in range(100)])

    assert Api().post("tags/add", {"tag": "x", "all": True}).data == {"changed": 0, "more": False}


@pytest.mark.parametrize(
    "wish",
    [
        {},
        {"all": False},
        {"all": True, "emails": ["ann@gmail.com"]},
        {"filter": {}},
        {"filter": {"colour": "red"}},
        {"filter": {"list": "x"}},
        {"filter": {"segment": "nowhere"}},
        {"filter": {"tag": "a\x00"}},
        {"emails": ["nobody"]},
        {"emails": []},
    ],
)
def test_whom_nobody_can_tell_is_nobody(wish: dict[str, Any]) -> None:
    make.subscriber("ann@gmail.com")

    answer = Api().post("tags/add", {"tag": "x", **wish})

    assert answer.status == 400, answer.data
    assert _tags() == {"ann": []}


# --- Suppressions ------------------------------------------------------------------------


def test_an_address_is_suppressed_found_and_let_back() -> None:
    make.subscriber("ann@gmail.com")
    api = Api()

    made = api.post("suppressions", {"email": "Ann@gmail.com"})
    again = api.post("suppressions", {"email": "ann@gmail.com"})
    found = api.get("suppressions", email="ann@gmail.com").data["results"]

    assert (made.status, again.status) == (201, 200)
    assert [row["id"] for row in found] == [made.data["id"]]
    assert "ann" not in json.dumps(found)
    assert Subscriber.objects.get().status == "blocked"
    assert api.delete(f"suppressions/{made.data['id']}").status == 204
    assert Subscriber.objects.get().status == "active"
    assert not Suppression.objects.exists()


def test_mail_is_stopped_in_part_and_for_a_time() -> None:
    news = make.mailing_list()
    end = (timezone.now() + timedelta(days=9)).isoformat()
    api = Api()

    listed = api.post("suppressions", {"email": "ann@gmail.com", "list": news.pk})
    timed = api.post(
        "suppressions", {"email": "ann@gmail.com", "stream": "marketing", "expires_at": end}
    )

    assert (listed.status, timed.status) == (201, 201)
    assert len(api.get("suppressions", stream="marketing").data["results"]) == 1
    assert len(api.get("suppressions", list=news.pk).data["results"]) == 1
    assert len(api.get("suppressions", reason="bounced").data["results"]) == 0
    both = {"email": "a@gmail.com", "stream": "marketing", "list": news.pk}
    assert api.post("suppressions", both).error["param"] == "list"
    assert api.post("suppressions", {"email": "x", "reason": "bounced"}).error["param"] == "email"


# --- Files -------------------------------------------------------------------------------


def _rows(answer: Answer) -> list[dict[str, str]]:
    assert answer.status == 200, answer.data
    return list(csv.DictReader(io.StringIO(answer.data, newline="")))


def test_every_person_is_in_the_file_once_however_many_pages_it_takes(monkeypatch: Any) -> None:
    monkeypatch.setattr(exporting, "PAGE", 2)
    for number in range(5):
        make.subscriber(f"p{number}@gmail.com")

    answer = Api(make.api_key("export")).get("subscribers/export")

    assert [row["email"] for row in _rows(answer)] == [f"p{n}@gmail.com" for n in range(5)]
    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert answer.headers["Cache-Control"] == "no-store"
    assert AuditEntry.objects.get().action == "subscriber.export"


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", *"\uff1d\uff0b\uff0d\uff20"])
def test_no_cell_is_a_formula_and_every_cell_comes_back(start: str) -> None:
    Attribute.objects.create(name="plan", label="Plan")
    text = f'{start}cmd|"x"\n, y'
    make.subscriber("ann@gmail.com", first_name=text, attributes={"plan": text})

    row = _rows(Api().get("subscribers/export"))[0]

    assert row["first_name"] == row["attributes.plan"] == f"'{text}"


def test_lines_end_as_the_standard_says_and_cells_are_quoted() -> None:
    make.subscriber("ann@gmail.com", first_name='A "B", C', tags=["x", "y"])

    text = Api().get("subscribers/export", columns="email,first_name,tags,score").data

    assert text == 'email,first_name,tags,score\r\nann@gmail.com,"A ""B"", C",x|y,\r\n'


def test_a_list_a_segment_or_any_filter_can_be_taken_out() -> None:
    news = make.mailing_list()
    rules = {"match": "all", "rules": [{"field": "country", "op": "is", "value": "PT"}]}
    segment = make.segment(rules)
    make.subscriber("ann@gmail.com", [news])
    make.subscriber("bo@gmail.com", country="PT")

    def taken(**query: Any) -> list[str]:
        return [row["email"] for row in _rows(Api().get("subscribers/export", **query))]

    assert taken(list=news.pk) == ["ann@gmail.com"]
    assert taken(segment=segment.pk) == ["bo@gmail.com"]
    assert taken(q="b") == ["bo@gmail.com"]
    refused = Api().get("subscribers/export", columns="password")
    assert (refused.status, refused.error["param"]) == (400, "columns")


def test_taking_people_out_takes_a_right_of_its_own() -> None:
    for scope in ("read", "manage", "send", "track"):
        assert Api(make.api_key(scope)).get("subscribers/export").status == 403
    assert Api(make.api_key("export")).get("subscribers").status == 403
    client, user = Client(), make.user(is_staff=True)
    client.force_login(user)
    assert client.get("/api/v1/subscribers/export").status_code == 403
    user.user_permissions.add(Permission.objects.get(codename="export_subscriber"))
    assert client.get("/api/v1/subscribers/export").status_code == 200


def test_the_page_of_people_offers_the_file_of_whom_it_shows(admin_client: Client) -> None:
    news = make.mailing_list()
    make.subscriber("ann@gmail.com", [news])
    make.subscriber("bo@gmail.com")
    page = "/admin/subscribers/subscriber/"

    shown = admin_client.get(page, {"list": str(news.pk), "q": "a"}).content.decode()
    unknown = admin_client.get(page, {"language": "de"}).content.decode()

    address = f"/api/v1/subscribers/export?list={news.pk}&amp;q=a"
    assert address in shown
    assert "subscribers/export" not in unknown
    file = admin_client.get(address.replace("&amp;", "&"))
    assert b"".join(file.streaming_content).decode().count("@") == 1  # type: ignore[attr-defined]


# --- Rights and strangers ----------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    ["lists/1/add", "lists/1/remove", "tags/add", "tags/remove", "tags/rename", "tags/delete",
     "suppressions"],
)  # fmt: skip
def test_changes_to_many_take_the_scope_to_manage(path: str) -> None:
    assert Api(make.api_key("read", "send", "export", "track")).post(path, {}).status == 403
    assert Api(make.api_key("manage")).post(path, {}).status in (400, 404)
    assert Api(None).post(path, {}).status == 401


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner),
    max_leaves=5,
)
_FIELDS = ["emails", "filter", "all", "tag", "tags", "to", "email", "reason", "stream", "list",
           "expires_at", "source"]  # fmt: skip


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    body=_JSON
    | st.dictionaries(
        st.sampled_from(_FIELDS),
        _JSON
        | st.sampled_from([["a@gmail.com"], {"q": "a"}, {"list": "9" * 30}, "blocked", ["x"]]),
        max_size=4,
    )
)
def test_no_body_is_a_server_error(body: Any) -> None:
    news = MailingList.objects.first() or make.mailing_list()
    for path in (f"lists/{news.pk}/add", f"lists/{news.pk}/remove", "tags/add", "tags/rename",
                 "tags/delete", "suppressions"):  # fmt: skip
        assert Api().post(path, json.dumps(body)).status < 500, (path, body)
