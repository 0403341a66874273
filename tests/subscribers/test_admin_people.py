"""People, lists and suppressions in the admin."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import Group
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from emailplatform.secrets import address_key
from subscribers.models import Attribute, Subscriber, Subscription, Suppression
from tests import make

pytestmark = pytest.mark.django_db
HOSTILE = "<script>alert('x')</script>"
PEOPLE = "/admin/subscribers/subscriber/"


@pytest.fixture(autouse=True)
def own_cache(settings: Any) -> None:
    """Keep what other tests left in Redis out of this one."""
    default = {**settings.CACHES["default"], "KEY_PREFIX": uuid4().hex}
    settings.CACHES = {"default": default}


def member(role: str) -> Client:
    user = make.user(is_staff=True)
    user.groups.add(Group.objects.get(name=role))
    client = Client()
    client.force_login(user)
    return client


def text(answer: Any) -> str:
    assert answer.status_code == 200
    return str(answer.content.decode())


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("status=bounced", ["bea"]),
        ("status=active", ["ana", "cem"]),
        ("language=pt", ["ana"]),
        ("language=-", ["bea", "cem"]),
        ("mailbox__exact=gmail", ["bea"]),
        ("list={news}", ["ana"]),
        ("list={news}-unsubscribed", ["cem"]),
        ("list=x", ["ana", "bea", "cem"]),
        ("q=AN", ["ana"]),
        ("q=%25", []),
    ],
)
def test_people_are_narrowed_by_what_is_asked(admin_client, query, found):
    news = make.mailing_list()
    make.subscriber("ana@example.com", lists=[news], language="pt-BR")
    make.subscriber("bea@gmail.com", status="bounced")
    cem = make.subscriber("cem@example.com", lists=[news])
    cem.subscriptions.update(status="unsubscribed")

    page = text(admin_client.get(f"{PEOPLE}?{query.format(news=news.pk)}"))

    assert [name for name in ("ana", "bea", "cem") if f"{name}@" in page] == found


def test_people_are_narrowed_to_a_segment(admin_client):
    make.subscriber("ana@example.com", language="de")
    make.subscriber("bea@example.com", language="en")
    rules = {"match": "all", "rules": [{"field": "language", "op": "is", "value": "de"}]}
    broken = {"match": "all", "rules": [{"field": "gone", "op": "is", "value": "x"}]}

    page = text(admin_client.get(f"{PEOPLE}?segment={make.segment(rules).pk}"))
    nobody = text(admin_client.get(f"{PEOPLE}?segment={make.segment(broken).pk}"))

    assert "ana@" in page
    assert "bea@" not in page
    assert "No people match" in nobody


def test_the_list_of_people_teaches_while_it_is_empty(admin_client):
    page = text(admin_client.get(PEOPLE))

    assert "Nobody here yet" in page
    assert 'href="/admin/subscribers/import/add/"' in page


def test_hostile_values_are_shown_as_they_are(admin_client):
    news = make.mailing_list(HOSTILE, description=HOSTILE)
    Attribute.objects.create(name="plan", label=HOSTILE, type="text")
    person = make.subscriber(
        lists=[news], first_name=HOSTILE, source=HOSTILE, tags=[HOSTILE],
        attributes={"plan": HOSTILE, HOSTILE: HOSTILE},
    )  # fmt: skip
    rules = {"match": "all", "rules": [{"field": "first_name", "op": "is", "value": HOSTILE}]}
    segment = make.segment(rules, name=HOSTILE)
    urls = [
        PEOPLE, f"{PEOPLE}{person.pk}/change/", f"{PEOPLE}{person.pk}/edit/",
        "/admin/subscribers/mailinglist/", f"/admin/subscribers/mailinglist/{news.pk}/change/",
        "/admin/subscribers/segment/", f"/admin/subscribers/segment/{segment.pk}/change/",
        f"/admin/subscribers/segment/{segment.pk}/edit/", "/admin/subscribers/attribute/",
        f"/admin/subscribers/segment/{segment.pk}/sample/",
    ]  # fmt: skip

    for url in urls:
        assert "<script>alert" not in text(admin_client.get(url)), url


def test_the_page_of_a_person_says_how_they_stand_and_why(admin_client):
    person = make.subscriber("ana@example.com", status="bounced")
    Suppression.objects.create(
        address_key=person.address_key, reason="bounced", source="SendGrid said 5.1.1"
    )

    page = text(admin_client.get(f"{PEOPLE}{person.pk}/change/"))

    assert "Address does not work" in page
    assert "SendGrid said 5.1.1" in page
    assert "Unsubscribe" not in page.split("ui-head")[1].split("</header>")[0]


def test_the_page_of_a_person_needs_few_queries_however_many_lists(admin_client):
    person = make.subscriber(lists=[make.mailing_list() for _ in range(25)])

    with CaptureQueriesContext(connection) as queries:
        admin_client.get(f"{PEOPLE}{person.pk}/change/")

    assert len(queries) <= 15


def test_unsubscribing_ends_everything(admin_client):
    news = make.mailing_list()
    person = make.subscriber(lists=[news])

    answer = admin_client.post(f"{PEOPLE}{person.pk}/unsubscribe/", follow=True)

    assert "is unsubscribed from everything." in text(answer)
    assert Subscriber.objects.get().status == "unsubscribed"
    assert Subscription.objects.get().status == "unsubscribed"
    assert "unsubscribed by admin" in Suppression.objects.get().source


def test_suppressing_asks_why_and_keeps_the_note(admin_client):
    person = make.subscriber()
    form = {"reason": "complained", "note": "By phone"}

    asked = text(admin_client.get(f"{PEOPLE}{person.pk}/suppress/"))
    admin_client.post(f"{PEOPLE}{person.pk}/suppress/", form)

    assert "Why?" in asked
    assert Suppression.objects.values_list("reason", "source").get() == ("complained", "By phone")
    assert Subscriber.objects.get().status == "complained"


def test_a_person_is_put_on_a_list_and_taken_off(admin_client):
    news, person = make.mailing_list(), make.subscriber()

    admin_client.post(f"{PEOPLE}{person.pk}/lists/", {"list": news.pk})
    joined = Subscription.objects.get().status
    admin_client.post(f"{PEOPLE}{person.pk}/lists/{news.pk}/leave/")

    assert (joined, Subscription.objects.get().status) == ("active", "unsubscribed")


def test_who_left_a_list_is_not_put_back_by_the_team(admin_client):
    news = make.mailing_list("News")
    person = make.subscriber(lists=[news])
    person.subscriptions.update(status="unsubscribed")

    answer = admin_client.post(f"{PEOPLE}{person.pk}/lists/", {"list": news.pk}, follow=True)

    assert "left News by themselves" in text(answer)
    assert Subscription.objects.get().status == "unsubscribed"


@pytest.mark.parametrize("choice", ["", "x", "999999"])
def test_adding_to_no_list_is_refused_in_words(admin_client, choice):
    person = make.subscriber()

    answer = admin_client.post(f"{PEOPLE}{person.pk}/lists/", {"list": choice}, follow=True)

    assert "Choose a list first." in text(answer)


def test_a_person_is_added_with_a_clean_address(admin_client):
    Attribute.objects.create(name="spent", label="Spent", type="number")
    form = {"email": " Ana.Gil@Example.COM ", "language": "PT_br", "attribute_spent": "9,90"}

    admin_client.post(f"{PEOPLE}add/", {**form, "tags": "shop, vip"})

    person = Subscriber.objects.get()
    assert person.email == "ana.gil@example.com"
    assert bytes(person.address_key) == address_key("ana.gil@example.com")
    assert (person.language, person.attributes) == ("pt-BR", {"spent": 9.9})
    assert person.tags == ["shop", "vip"]
    assert person.source.startswith("added by")


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        ("email", "ana", "is no e-mail address: no @."),
        ("email", "known@example.com", "is there already"),
        ("language", "german", "Write a language like"),
        ("country", "XX", "Write two letters"),
        ("time_zone", "Mars", "Write a zone like"),
        ("attribute_spent", "lots", "This is no number"),
    ],
)
def test_a_wrong_value_is_marked_at_its_field_and_kept(admin_client, field, value, sentence):
    Attribute.objects.create(name="spent", label="Spent", type="number")
    make.subscriber("known@example.com")

    page = text(admin_client.post(f"{PEOPLE}add/", {"email": "new@example.com", field: value}))

    assert sentence in page
    assert f'value="{value}"' in page
    assert Subscriber.objects.count() == 1


def test_editing_changes_what_was_given_and_empties_what_was_emptied(admin_client):
    for name, kind in (("plan", "text"), ("vip", "boolean")):
        Attribute.objects.create(name=name, label=name, type=kind)
    person = make.subscriber(first_name="Ana", attributes={"plan": "pro", "vip": True, "old": 1})
    form = {"first_name": "Anna", "attribute_plan": "", "attribute_vip": "no"}

    admin_client.post(f"{PEOPLE}{person.pk}/edit/", form)

    person.refresh_from_db()
    assert (person.first_name, person.attributes) == ("Anna", {"vip": False, "old": 1})
    assert person.email


def test_the_page_of_a_person_is_for_looking_only_to_viewers():
    person = make.subscriber(lists=[make.mailing_list()])
    client = member("Viewer")

    page = text(client.get(f"{PEOPLE}{person.pk}/change/"))

    assert "Suppress" not in page.split("ui-page")[1].split("ui-columns")[0]
    assert "Take off" not in page
    assert client.post(f"{PEOPLE}{person.pk}/unsubscribe/").status_code == 403
    assert Subscriber.objects.get().status == "active"


def test_lists_show_how_many_stand_how(admin_client):
    news = make.mailing_list("News")
    for status in ["active"] * 3 + ["pending"] * 2 + ["unsubscribed"]:
        make.subscriber(lists=[news]).subscriptions.update(status=status)

    page = text(admin_client.get("/admin/subscribers/mailinglist/"))

    cells = [
        page.split(f"field-{name}_count")[1].split("</td>")[0]
        for name in ("subscribed", "pending", "unsubscribed")
    ]
    assert [cell.split(">")[-2 if "</a>" in cell else -1].split("<")[0] for cell in cells] == [
        "3",
        "2",
        "1",
    ]


def test_the_list_of_lists_needs_few_queries_however_many_lists(admin_client):
    for _ in range(30):
        make.subscriber(lists=[make.mailing_list()])

    with CaptureQueriesContext(connection) as queries:
        admin_client.get("/admin/subscribers/mailinglist/")

    assert len(queries) <= 10


def test_the_page_of_a_list_shows_its_growth(admin_client):
    news = make.mailing_list()
    for days in (0, 0, 3, 45):
        joined = timezone.now() - timedelta(days=days)
        make.subscriber(lists=[news]).subscriptions.update(created_at=joined, changed_at=joined)

    page = text(admin_client.get(f"/admin/subscribers/mailinglist/{news.pk}/change/"))

    assert "3 joined, 0 left" in page


def test_an_empty_list_offers_to_import_into_it(admin_client):
    news = make.mailing_list()

    page = text(admin_client.get(f"/admin/subscribers/mailinglist/{news.pk}/change/"))

    assert "Nobody is on this list yet" in page
    assert f'href="/admin/subscribers/import/add/?list={news.pk}"' in page


@pytest.mark.parametrize("asked", ["Gone@Example.com", " gone@example.com "])
def test_a_suppressed_address_is_found_in_any_spelling(admin_client, asked):
    make.suppression("gone@example.com", "complained")
    make.suppression("other@example.com", "bounced")

    page = text(admin_client.get("/admin/subscribers/suppression/", {"q": asked}))

    rows = page.split('id="result_list"')[1].split("</table>")[0]
    assert "Spam complaint" in rows
    assert "Hard bounce" not in rows


@pytest.mark.parametrize("asked", ["new@example.com", "gone", "'; DROP", "\N{SNOWMAN}@"])
def test_an_address_that_is_not_suppressed_is_not_found(admin_client, asked):
    make.suppression("gone@example.com")

    page = text(admin_client.get("/admin/subscribers/suppression/", {"q": asked}))

    assert "No suppressions match" in page


def test_only_who_may_lifts_a_suppression():
    person = make.subscriber("ana@example.com", status="bounced")
    suppression = make.suppression("ana@example.com", "bounced")
    url = f"/admin/subscribers/suppression/{suppression.pk}/lift/"

    refused = member("Marketer").post(url).status_code
    still_there = Suppression.objects.exists()
    member("Operator").post(url)

    assert (refused, still_there) == (403, True)
    assert not Suppression.objects.exists()
    assert Subscriber.objects.get(pk=person.pk).status == "active"


def test_any_address_is_suppressed_by_hand(admin_client):
    form = {"email": "Stranger@Example.com", "reason": "blocked", "note": ""}

    answer = admin_client.post("/admin/subscribers/suppression/add/", form, follow=True)

    assert "is suppressed." in text(answer)
    assert bytes(Suppression.objects.get().address_key) == address_key("stranger@example.com")


def test_suppressing_no_address_says_so_at_the_field(admin_client):
    form = {"email": "stranger", "reason": "blocked"}

    page = text(admin_client.post("/admin/subscribers/suppression/add/", form))

    assert "This is no e-mail address: no @." in page
    assert 'value="stranger"' in page
