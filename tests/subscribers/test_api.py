"""People, lists, segments and imports over HTTP."""

from __future__ import annotations

import csv
import io
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.utils import timezone

from subscribers import consenting, enrolling, importing
from subscribers.models import Attribute, Import, Subscriber, Subscription, Suppression
from tests import make
from tests.calling import Api

pytestmark = pytest.mark.django_db

ANN = "subscribers/ann@gmail.com/"


# --- People ------------------------------------------------------------------------------


def test_a_person_is_made_with_everything_one_may_say() -> None:
    news = make.mailing_list("News")

    answer = Api().post(
        "subscribers/",
        {
            "email": " Ann@GMAIL.com ",
            "first_name": "Ann",
            "language": "PT_br",
            "country": "pt",
            "time_zone": "europe/lisbon",
            "attributes": {"plan": "pro", "visits": 3, "is_vip": True},
            "tags": ["early"],
            "lists": [news.pk],
        },
    )

    assert answer.status == 201
    person = answer.data
    assert person["email"] == "Ann@gmail.com".lower()
    assert (person["language"], person["country"], person["time_zone"]) == (
        "pt-BR",
        "PT",
        "Europe/Lisbon",
    )
    assert person["attributes"] == {"plan": "pro", "visits": 3, "is_vip": True}
    assert person["source"] == "API"
    assert [(s["list"], s["status"]) for s in person["subscriptions"]] == [(news.pk, "active")]


def test_new_attributes_are_known_to_segments_and_templates_from_then_on() -> None:
    attributes = {"plan": "pro", "visits": 3, "is_vip": True}
    Api().post("subscribers/", {"email": "ann@gmail.com", "attributes": attributes})

    known = dict(Attribute.objects.values_list("name", "type"))
    assert known == {"plan": "text", "visits": "number", "is_vip": "boolean"}


def test_creating_somebody_twice_makes_one_person_and_says_which() -> None:
    api = Api()
    first = api.post("subscribers/", {"email": "ann@gmail.com", "first_name": "Ann"})
    second = api.post("subscribers/", {"email": "Ann@Gmail.com"})

    assert (first.status, second.status) == (201, 200)
    assert second.data == first.data


def test_an_update_changes_what_it_names_and_nothing_else() -> None:
    make.subscriber(
        "ann@gmail.com", first_name="Ann", country="PT", attributes={"a": "1", "b": "2"}, tags=["x"]
    )

    person = Api().patch(ANN, {"last_name": "Lee", "attributes": {"b": None, "c": "3"}}).data

    assert (person["first_name"], person["last_name"], person["country"]) == ("Ann", "Lee", "PT")
    assert person["attributes"] == {"a": "1", "c": "3"}
    assert person["tags"] == ["x"]


@pytest.mark.parametrize("reason", ["unsubscribed", "complained"])
@pytest.mark.parametrize("is_known", [True, False], ids=["known", "erased"])
def test_who_said_no_is_put_on_no_list(reason: str, is_known: bool) -> None:
    news, other = make.mailing_list(), make.mailing_list()
    if is_known:
        make.subscriber("ann@gmail.com", [news])
    consenting.suppress("ann@gmail.com", reason, "by themselves", timezone.now())

    Api().post("subscribers/", {"email": "ann@gmail.com", "lists": [other.pk]})
    consenting.lift(Suppression.objects.get(), timezone.now())

    assert Subscription.objects.get(list=other).status == "unsubscribed"
    assert not Subscriber.objects.on_lists([other.pk]).exists()


def test_whose_address_failed_is_on_the_list_once_it_works_again() -> None:
    news = make.mailing_list()
    make.subscriber("ann@gmail.com")
    consenting.suppress("ann@gmail.com", "bounced", "SendGrid", timezone.now())

    Api().post("subscribers/", {"email": "ann@gmail.com", "lists": [news.pk]})

    assert Subscription.objects.get(list=news).status == "active"


@pytest.mark.django_db(transaction=True)
def test_two_updates_at_once_both_count() -> None:
    make.subscriber("ann@gmail.com")
    together = threading.Barrier(4)

    def update(number: int) -> None:
        together.wait(10)
        for turn in range(5):
            facts = {f"field_{number}": str(turn)}
            enrolling.enrol("ann@gmail.com", source="API", now=timezone.now(), attributes=facts)
        connection.close()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(update, range(4)))

    assert Subscriber.objects.get().attributes == {f"field_{number}": "4" for number in range(4)}


@pytest.mark.parametrize(
    ("data", "param"),
    [
        ({}, "email"),
        ({"email": "no address"}, "email"),
        ({"email": "a@b@c.com"}, "email"),
        ({"email": "x" * 400 + "@gmail.com"}, "email"),
        ({"email": "a\x00@gmail.com"}, "email"),
        ({"email": "a@gmail.com", "country": "XX"}, "country"),
        ({"email": "a@gmail.com", "language": "Klingon"}, "language"),
        ({"email": "a@gmail.com", "time_zone": "Mars/Olympus"}, "time_zone"),
        ({"email": "a@gmail.com", "first_name": "x" * 101}, "first_name"),
        ({"email": "a@gmail.com", "attributes": {"Bad Name": 1}}, "attributes.Bad Name"),
        ({"email": "a@gmail.com", "attributes": {"email": "x"}}, "attributes.email"),
        ({"email": "a@gmail.com", "attributes": {"deep": {"a": 1}}}, "attributes.deep"),
        ({"email": "a@gmail.com", "attributes": {"nul": "a\x00b"}}, "attributes.nul"),
        ({"email": "a@gmail.com", "attributes": {"much": 10**30}}, "attributes.much"),
        ({"email": "a@gmail.com", "attributes": [1]}, "attributes"),
        ({"email": "a@gmail.com", "tags": ["a\x00"]}, "tags.0"),
        ({"email": "a@gmail.com", "tags": "early"}, "tags"),
        ({"email": "a@gmail.com", "lists": [999_999]}, "lists"),
        ({"email": "a@gmail.com", "lists": ["x"]}, "lists"),
        ({"email": "a@gmail.com", "lists": [10**30]}, "lists"),
        ({"email": "a@gmail.com", "status": "active"}, "status"),
    ],
)
def test_what_cannot_be_used_is_refused_by_name_and_nothing_is_stored(
    data: dict[str, object], param: str
) -> None:
    answer = Api().post("subscribers/", data)

    assert answer.status == 400, answer.data
    assert answer.error["code"] == "invalid"
    assert answer.error["param"] == param
    assert not Subscriber.objects.exists()
    assert not Attribute.objects.exists()


def test_a_value_is_turned_into_the_type_its_attribute_has() -> None:
    Attribute.objects.create(name="visits", label="Visits", type="number")
    Attribute.objects.create(name="born", label="Born", type="date")
    api = Api()

    given = {"visits": "12", "born": "31.12.1990"}
    person = api.post("subscribers/", {"email": "ann@gmail.com", "attributes": given}).data
    wrong = api.patch(ANN, {"attributes": {"visits": "many"}})

    assert person["attributes"] == {"visits": 12, "born": "1990-12-31"}
    assert wrong.error["param"] == "attributes.visits"


def test_people_are_found_by_address_list_and_standing() -> None:
    news = make.mailing_list()
    ann = make.subscriber("ann@gmail.com", [news])
    make.subscriber("bob@gmail.com", status="bounced")
    api = Api()

    def found(**query: object) -> list[str]:
        return [row["email"] for row in api.get("subscribers/", **query).data["results"]]

    assert found(email="ANN@gmail.com") == found(list=news.pk) == [ann.email]
    assert found(status="bounced") == ["bob@gmail.com"]
    assert api.get(ANN).data["id"] == ann.pk
    assert api.get("subscribers/nobody@gmail.com/").status == 404
    assert api.get("subscribers/nonsense/").status == 404


def test_an_address_with_a_slash_can_be_asked_for() -> None:
    make.subscriber("a/b@example.org")

    assert Api().get("subscribers/a%2Fb@example.org/").status == 200


def test_deleting_unsubscribes_for_good() -> None:
    news = make.mailing_list()
    make.subscriber("ann@gmail.com", [news])
    api = Api()

    assert api.delete(ANN).status == 204
    assert api.delete(ANN).status == 204, "saying it twice changes nothing"
    again = api.post("subscribers/", {"email": "ann@gmail.com", "lists": [news.pk]}).data

    assert again["status"] == "unsubscribed"
    assert Suppression.objects.count() == 1
    assert Subscription.objects.get().status == "unsubscribed"


def test_leaving_one_list_keeps_the_others() -> None:
    news, offers = make.mailing_list("News"), make.mailing_list("Offers")
    make.subscriber("ann@gmail.com", [news, offers])
    api = Api()

    person = api.post(f"{ANN}unsubscribe/", {"lists": [offers.pk]}).data

    standing = {row["list_name"]: row["status"] for row in person["subscriptions"]}
    assert standing == {"News": "active", "Offers": "unsubscribed"}
    assert person["status"] == "active"
    assert api.post(f"{ANN}unsubscribe/", {"lists": []}).status == 400


# --- Lists and segments ------------------------------------------------------------------


def test_lists_are_made_and_renamed_and_their_names_are_unique() -> None:
    api = Api()
    made = api.post("lists/", {"name": "News"})
    renamed = api.patch(f"lists/{made.data['id']}/", {"description": "Every Friday."})
    twice = api.post("lists/", {"name": "News"})

    assert made.status == 201
    assert renamed.data["name"] == "News"
    assert (twice.status, twice.error["param"]) == (400, "name")


RULES = {"match": "all", "rules": [{"field": "country", "op": "is", "value": "PT"}]}


def test_a_segment_is_made_counted_and_changed() -> None:
    make.subscriber("ann@gmail.com", country="PT")
    make.subscriber("bob@gmail.com", country="DE")
    make.subscriber("cat@gmail.com", country="PT", status="bounced")
    api = Api()

    made = api.post("segments/", {"name": "Portugal", "rules": RULES})
    path = f"segments/{made.data['id']}/"

    assert made.status == 201
    assert api.get(f"{path}count/").data == {"count": 1}
    assert api.patch(path, {"rules": {}}).data["rules"] == {"match": "all", "rules": []}
    assert api.get(f"{path}count/").data == {"count": 2}


def test_rules_can_be_tried_before_they_are_saved() -> None:
    make.subscriber("ann@gmail.com", country="PT")

    assert Api().post("segments/count/", {"rules": RULES}).data == {"count": 1}


@pytest.mark.parametrize(
    "rules",
    [
        {"match": "none", "rules": []},
        {"match": "all", "rules": [{"field": "nose", "op": "is", "value": 1}]},
        [],
        "x",
        {"match": "all", "rules": [{"field": "country", "op": "is", "value": "a\x00"}]},
    ],
)
def test_rules_that_make_no_sense_are_refused(rules: object) -> None:
    api = Api()

    saved = api.post("segments/", {"name": "x", "rules": rules})
    tried = api.post("segments/count/", {"rules": rules})

    assert (saved.status, saved.error["param"]) == (400, "rules"), saved.data
    assert (tried.status, tried.error["param"]) == (400, "rules"), tried.data


# --- Imports -----------------------------------------------------------------------------

CSV = b"Mail;Vorname;Plan\nann@gmail.com;Ann;pro\nno address;Bob;free\n"


@pytest.fixture(autouse=True)
def own_media(settings: object, tmp_path: Path) -> None:
    settings.MEDIA_ROOT = tmp_path  # type: ignore[attr-defined]


def _file(content: bytes = CSV, name: str = "people.csv") -> SimpleUploadedFile:
    return SimpleUploadedFile(name, content, "text/csv")


def test_a_file_is_imported_watched_and_its_refused_rows_fetched() -> None:
    news = make.mailing_list()
    api = Api()

    made = api.upload("imports/", file=_file(), list=news.pk)
    assert made.status == 202
    assert made.data["status"] == "queued"
    assert made.data["mapping"]["Mail"] == "email"
    assert importing.run(made.data["id"])

    path = f"imports/{made.data['id']}/"
    done = api.get(path).data
    assert (done["status"], done["rows"], done["created_count"], done["refused_count"]) == (
        "done", 2, 1, 1,
    )  # fmt: skip
    errors = api.get(f"{path}errors/")
    rows = list(csv.reader(io.StringIO(errors.data)))
    assert rows[0] == ["Line", "Reason", "Content"]
    assert rows[1][0] == "3"
    assert api.get("subscribers/", list=news.pk).data["results"][0]["email"] == "ann@gmail.com"


def test_columns_can_be_named_by_the_caller() -> None:
    mapping = {"Mail": "email", "Plan": "attributes.tariff"}
    made = Api().upload("imports/", file=_file(), mapping=json.dumps(mapping))

    assert made.data["mapping"] == {"Mail": "email", "Vorname": "", "Plan": "attributes.tariff"}


@pytest.mark.parametrize(
    ("form", "param"),
    [
        ({}, "file"),
        ({"file": b""}, None),
        ({"file": b"PK\x03\x04 a workbook"}, None),
        ({"file": b"a,b\n1,2\n"}, "mapping"),
        ({"file": CSV, "mapping": '{"Nose": "email"}'}, "mapping"),
        ({"file": CSV, "mapping": '{"Mail": 1}'}, "mapping"),
        ({"file": CSV, "mapping": "{"}, "mapping"),
        ({"file": CSV, "list": "999999"}, "list"),
        ({"file": CSV, "known": "forget"}, "known"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_and_not_kept(
    form: dict[str, object], param: str | None, tmp_path: Path
) -> None:
    content = form.get("file")
    form = {**form, "file": _file(content)} if isinstance(content, bytes) else form

    answer = Api().upload("imports/", **form)

    assert answer.status == 400, answer.data
    assert answer.error["param"] == param
    assert not Import.objects.exists()
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_an_import_that_is_not_a_form_is_refused() -> None:
    answer = Api().post("imports/", {"file": "x"})

    assert (answer.status, answer.error["code"]) == (415, "unsupported_media_type")
