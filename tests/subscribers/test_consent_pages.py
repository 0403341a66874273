"""Consent as the team and programs see it: forms, a person's record, who is left out and why."""

from __future__ import annotations

import html
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from delivery.models import Message
from delivery.sending import send_slice
from emailplatform.models import AuditEntry
from subscribers import confirming, consenting
from subscribers.consents import Proof
from subscribers.models import Confirmation, ConsentText, SignupForm
from tests import make, scripted
from tests.calling import Api
from tests.pages import member, text
from tests.scripted import Scripted

pytestmark = pytest.mark.django_db
FORMS = "/admin/subscribers/signupform/"


def filled(*lists: Any, **fields: Any) -> dict[str, Any]:
    return {
        "name": "Spring",
        "slug": "spring",
        "is_active": "on",
        "lists": [each.pk for each in lists],
        "language": "de",
        "proof_of_work": "busy",
        "hourly_limit": "50",
        **fields,
    }


# --- Forms -------------------------------------------------------------------------------


def test_a_marketer_makes_a_form_and_is_shown_how_to_use_it():
    news = make.mailing_list("News")
    marketer = member("Marketer")
    said = {"text_de_title": "Frühling", "text_de_consent": "Ja.", "ask_first_name": "required"}

    page = text(
        marketer.post(
            f"{FORMS}add/", filled(news, origins="https://shop.example", **said), follow=True
        )
    )

    row = SignupForm.objects.get()
    assert row.texts == {"de": {"title": "Frühling", "consent": "Ja."}}
    assert row.fields == {"first_name": True}
    assert row.origins == ["https://shop.example"]
    assert '<form action="' in html.unescape(page.partition('id="snippet"')[2][:200])
    assert "<iframe" in html.unescape(page.partition('id="frame"')[2][:200])
    assert "Frühling" in Client().get("/f/spring/").content.decode()
    edited = text(marketer.get(f"{FORMS}{row.pk}/edit/"))
    assert "Frühling" in edited


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"origins": "shop.example"}, "is no site"),
        ({"origins": "https://shop.example/page"}, "is no site"),
        ({"slug": "Not this"}, "Use a-z, 0-9 and -"),
        ({"redirect_url": "javascript:alert(1)"}, "Enter a valid URL"),
    ],
)
def test_what_cannot_work_is_refused_in_words(fields, sentence):
    answer = member("Marketer").post(f"{FORMS}add/", filled(make.mailing_list(), **fields))

    assert sentence in html.unescape(text(answer))
    assert not SignupForm.objects.exists()


def test_a_form_that_asks_for_confirmation_needs_a_sender(settings):
    settings.CONFIRM_FROM = ""
    news = make.mailing_list(double_opt_in=True)

    refused = member("Marketer").post(f"{FORMS}add/", filled(news))
    assert "say from which address" in html.unescape(text(refused))

    member("Marketer").post(f"{FORMS}add/", filled(news, from_email="news@example.com"))
    assert SignupForm.objects.get().from_email == "news@example.com"


@pytest.mark.parametrize(("deed", "left"), [("release", 1), ("drop", 0)])
def test_held_confirmations_are_sent_or_dropped_by_a_press(deed, left):
    row = SignupForm.objects.create(name="Flood", slug="flood", hourly_limit=0)
    news = make.mailing_list(double_opt_in=True)
    confirming.ask(make.subscriber(), [news.pk], timezone.now(), Proof("form"), row)
    marketer = member("Marketer")
    assert "1 confirmation mails are held" in text(marketer.get(f"{FORMS}{row.pk}/change/"))

    marketer.post(f"{FORMS}{row.pk}/{deed}/")

    assert Confirmation.objects.due(timezone.now()).count() == left
    assert member("Viewer").post(f"{FORMS}{row.pk}/{deed}/").status_code == 403


def test_programs_make_and_change_forms():
    api, news = Api(), make.mailing_list()
    body = {"name": "Shop", "slug": "shop", "lists": [news.pk], "texts": {"ja": {"title": "週刊"}}}

    made = api.post("forms/", body)
    changed = api.patch(f"forms/{made.data['id']}/", {"is_active": False})

    assert made.status == 201
    assert made.data["url"].endswith("/f/shop/")
    assert changed.data["is_active"] is False
    assert api.get("forms/").data["results"][0]["slug"] == "shop"
    assert AuditEntry.objects.filter(action__startswith="form.").count() == 2


@pytest.mark.parametrize(
    "wrong",
    [
        {"lists": []},
        {"texts": {"xx": {}}},
        {"texts": {"de": {"nothing": "x"}}},
        {"language": "tlh"},
        {"redirect_url": "ftp://x.example"},
        {"origins": "x"},
    ],
)
def test_programs_are_told_what_is_wrong_with_a_form(wrong):
    body = {"name": "Shop", "slug": "shop", "lists": [make.mailing_list().pk]}

    answer = Api().post("forms/", {**body, **wrong})

    assert answer.status == 400
    assert next(iter(wrong)) in answer.error["param"]


# --- The record --------------------------------------------------------------------------


def test_a_person_shows_what_they_agreed_to():
    digest = ConsentText.objects.keep("form news", "de", "Ja, ich will.")
    news = make.mailing_list("News")
    person = make.subscriber("ana@x.example", [news])
    proof = Proof("form", "192.0.2.7", "Firefox", "de", digest)
    consenting.unsubscribe(person, [news.pk], timezone.now(), "by a test", proof)

    page = text(member("Viewer").get(f"/admin/subscribers/subscriber/{person.pk}/change/"))
    rows = Api().get("subscribers/ana@x.example/consent/").data

    for said in ("Left: News", "a sign-up form", "Ja, ich will.", "192.0.2.7", "version 1"):
        assert said in page
    assert [(row["action"], row["text"], row["via"]) for row in rows] == [
        ("left", "Ja, ich will.", "form")
    ]
    assert rows[0]["details"]["ip"] == "192.0.2.7"
    assert Api().get("subscribers/nobody@x.example/consent/").status == 404
    assert Api(None).get("subscribers/ana@x.example/consent/").status == 401


# --- What people chose is kept when it is their turn ---------------------------------------


def test_who_rests_or_wants_fewer_mails_is_left_out_with_the_reason(monkeypatch):
    scripted.install(monkeypatch)
    news = make.mailing_list()
    earlier, campaign = make.launched([news]), make.launched([news])
    now = timezone.now()
    usual, resting, rested, weekly, lately = (make.subscriber(lists=[news]) for _ in range(5))
    type(usual).objects.filter(pk=resting.pk).update(paused_until=now + timedelta(days=3))
    type(usual).objects.filter(pk=rested.pk).update(paused_until=now - timedelta(days=3))
    type(usual).objects.filter(pk__in=[weekly.pk, lately.pk]).update(days_between=7)
    for person, days in ((usual, 1), (weekly, 9), (lately, 2)):
        sent_at = now - timedelta(days=days)
        make.message(earlier, person, status="sent", sent_at=sent_at)
    for person in (usual, resting, rested, weekly, lately):
        make.message(campaign, person)
    account = scripted.account()

    send_slice(5)

    assert sorted(Scripted.sent_to(account)) == sorted([usual.email, rested.email, weekly.email])
    left_out = Message.objects.filter(campaign=campaign, status="skipped")
    assert dict(left_out.values_list("subscriber", "error")) == {
        resting.pk: "paused",
        lately.pk: "too often",
    }
