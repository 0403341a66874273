"""Signing up, confirming and choosing, as strangers and their mailboxes meet it."""

from __future__ import annotations

import hashlib
import itertools
import json
import re
import shutil
import subprocess
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import time_machine
from django.test import Client
from django.utils import timezone
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from delivery import confirming as asking
from delivery import watching
from delivery.models import Alert, Mail, Message
from emailplatform import secrets
from subscribers import confirming, enrolling, guarding, preferring, verifying
from subscribers.models import (
    Confirmation,
    ConsentRecord,
    SignupDay,
    SignupForm,
    Subscriber,
    Subscription,
    Suppression,
)
from tests import make
from tests.pages import use_own_cache

pytestmark = pytest.mark.django_db
_ip = itertools.count(1)


@pytest.fixture(autouse=True)
def _own_limits(settings):
    use_own_cache(settings)
    settings.CONFIRM_FROM = "News <news@example.com>"


def form(*lists: Any, **fields: Any) -> SignupForm:
    row = SignupForm.objects.create(**{"name": "News form", "slug": "news", **fields})
    row.lists.set(lists or [make.mailing_list("News", double_opt_in=True)])
    return row


def client() -> Client:
    """Return a browser with an address of its own, in a network of its own."""
    number = next(_ip)
    return Client(REMOTE_ADDR=f"10.{number >> 8}.{number & 255}.7", HTTP_USER_AGENT="Firefox")


def filled(row: SignupForm, email: str = "ana@x.example", **more: Any) -> dict[str, Any]:
    token = guarding.stamp(row, timezone.now() - timedelta(seconds=10))
    return {"token": token, "email": email, **more}


def sign_up(row: SignupForm, email: str = "ana@x.example", **more: Any) -> Any:
    return client().post(f"/f/{row.slug}/", filled(row, email, **more))


def standing(email: str = "ana@x.example") -> tuple[str, dict[str, str]]:
    person = Subscriber.objects.get(email=email)
    return person.status, dict(person.subscriptions.values_list("list__name", "status"))


def link() -> str:
    """Return the path in the newest confirmation mail."""
    asking.ask_due(timezone.now())
    mail = Mail.objects.latest("message_id")
    found = re.search(r"/s/[^/\s]+/", mail.text)
    assert found
    assert found[0] in mail.html
    return found[0]


def shape(answer: Any) -> str:
    """Return a page without its nonce and token."""
    return re.sub(r'(nonce|value)="[^"]*"', "", answer.content.decode())


# --- Double opt-in -----------------------------------------------------------------------


def test_from_the_form_to_the_list_by_way_of_the_mailbox():
    row = form()

    thanks = sign_up(row)

    assert "Look in your mailbox" in thanks.content.decode()
    assert not thanks.cookies
    assert standing() == ("pending", {"News": "pending"})
    assert not Subscriber.objects.mailable().exists()
    where = link()
    message = Message.objects.get()
    assert (message.stream, message.email) == ("transactional", "ana@x.example")
    asked = client().get(where)
    assert "Yes, I want these mails" in asked.content.decode()
    assert standing()[0] == "pending"

    done = client().post(where)

    assert "You are subscribed" in done.content.decode()
    assert standing() == ("active", {"News": "active"})
    assert Subscriber.objects.mailable().exists()
    actions = ConsentRecord.objects.order_by("id").values_list("action", "via", "language")
    assert list(actions) == [("asked", "form", "en"), ("confirmed", "confirmation", "en")]
    shown = ConsentRecord.objects.get(action="confirmed")
    assert shown.text
    assert "I want to get e-mail from: News." in shown.text.text
    assert shown.details
    assert shown.details["user_agent"] == "Firefox"
    assert verifying.verify().breaks == []
    day = SignupDay.objects.get()
    assert (day.asked, day.confirmed, day.stopped) == (1, 1, 0)


def test_a_link_confirms_once_and_never_brings_back_who_left_since():
    row = form()
    sign_up(row)
    where = link()
    client().post(where)
    Subscription.objects.end([Subscriber.objects.get().pk], [row.lists.get().pk], timezone.now())

    again = client().post(where)

    assert "You have confirmed already" in again.content.decode()
    assert standing()[1] == {"News": "unsubscribed"}


def test_a_link_that_is_too_old_offers_a_new_one():
    row = form()
    sign_up(row)
    where = link()

    with time_machine.travel(timezone.now() + timedelta(days=8), tick=False):
        old = client().post(where)
        assert "a new link is on its way" in old.content.decode()
        assert standing()[0] == "pending"
        fresh = link()
        assert fresh != where
        client().post(fresh)

    assert standing() == ("active", {"News": "active"})


def test_who_waited_too_long_leaves_no_trace_on_the_list():
    row = form()
    sign_up(row)

    assert confirming.lapse(timezone.now() + timedelta(days=7)) == 0
    assert confirming.lapse(timezone.now() + timedelta(days=9)) == 1

    assert standing() == ("pending", {})


def test_the_api_and_the_team_ask_as_well_and_imports_never_do():
    news = make.mailing_list("News", double_opt_in=True)
    enrolling.enrol("ana@x.example", [news], source="API", now=timezone.now())

    assert standing() == ("active", {"News": "pending"})
    client().post(link())
    assert standing() == ("active", {"News": "active"})

    from tests.subscribers import files

    files.imported(files.table(["email"], ["ben@x.example"]), news)
    assert standing("ben@x.example") == ("active", {"News": "active"})
    assert asking.ask_due(timezone.now()) == 0


@hypothesis_settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(st.integers(0, 2**31), min_size=1, max_size=4),
    st.sampled_from(["confirm", "form", "p"]),
)
def test_tokens_carry_what_was_signed_and_nothing_else_passes(numbers, purpose):
    token = secrets.sign(purpose, *numbers)

    found = confirming.link_of(token)

    assert (found is not None) == (purpose == "confirm" and len(numbers) == 2)


@pytest.mark.parametrize("path", ["/s/{}/", "/p/{}/", "/f/no-such-form/"])
def test_links_that_we_did_not_make_lead_nowhere(path):
    for token in ("x", secrets.sign("unsubscribe", 1), secrets.sign("confirm", 1)):
        assert client().get(path.format(token)).status_code == 404
        assert client().post(path.format(token)).status_code == 404


# --- Nobody learns anything, nobody is bombed --------------------------------------------


def test_the_answer_is_the_same_for_everybody():
    row = form()
    news = row.lists.get()
    make.subscriber("active@x.example", [news])
    left = make.subscriber("left@x.example", [news])
    Subscription.objects.end([left.pk], [news.pk], timezone.now())
    make.subscriber("gone@x.example", status="unsubscribed")
    make.suppression("gone@x.example", "unsubscribed")
    make.suppression("spam@x.example", "complained")

    pages = {
        shape(sign_up(row, f"{who}@x.example"))
        for who in ("new", "new", "active", "left", "gone", "spam")
    }

    assert len(pages) == 1


def test_a_strangers_typing_changes_nobodys_standing():
    news = make.mailing_list("News")  # asks for no confirmation
    row = form(news)
    left = make.subscriber("left@x.example", [news], first_name="Lea")
    Subscription.objects.end([left.pk], [news.pk], timezone.now())
    make.subscriber("gone@x.example", status="unsubscribed")
    make.suppression("gone@x.example", "unsubscribed")
    make.suppression("spam@x.example", "complained")
    make.subscriber("elsewhere@x.example", [make.mailing_list("Other")])

    for who in ("new", "left", "gone", "spam", "elsewhere"):
        sign_up(row, f"{who}@x.example")

    assert standing("new@x.example") == ("active", {"News": "active"})
    assert standing("left@x.example") == ("active", {"News": "unsubscribed"})
    assert standing("gone@x.example")[0] == "unsubscribed"
    assert standing("elsewhere@x.example")[1].get("News") != "active"
    assert not Subscriber.objects.filter(email="spam@x.example").exists()
    asking.ask_due(timezone.now())
    assert set(Message.objects.values_list("email", flat=True)) == {
        "left@x.example",
        "gone@x.example",
        "elsewhere@x.example",
    }


def test_who_left_everything_comes_back_by_their_own_mailbox():
    row = form()
    make.subscriber("ana@x.example", status="unsubscribed")
    make.suppression("ana@x.example", "unsubscribed")

    sign_up(row)
    client().post(link())

    assert standing() == ("active", {"News": "active"})
    assert not Suppression.objects.exists()


def test_one_mailbox_gets_one_mail_per_list_and_three_a_day():
    lists = [make.mailing_list(double_opt_in=True) for _ in range(5)]
    forms = [form(each, slug=f"form-{n}") for n, each in enumerate(lists)]

    for _ in range(3):
        for row in forms:
            sign_up(row)
    asking.ask_due(timezone.now())

    assert Message.objects.count() == 3
    with time_machine.travel(timezone.now() + timedelta(hours=25), tick=False):
        sign_up(forms[0])
        asking.ask_due(timezone.now())
    assert Message.objects.count() == 4


def test_one_address_signs_up_ten_an_hour_and_a_network_thirty():
    row = form()
    bot = Client(REMOTE_ADDR="198.51.100.7")

    codes = [bot.post("/f/news/", filled(row, f"p{n}@x.example")).status_code for n in range(14)]
    others = [
        Client(REMOTE_ADDR=f"198.51.100.{n}").post("/f/news/", filled(row, f"q{n}@x.example"))
        for n in range(20, 50)
    ]

    assert codes == [200] * 10 + [429] * 4
    assert sum(answer.status_code == 200 for answer in others) < 20
    assert "Too many sign-ups" in others[-1].content.decode()
    assert others[-1]["Retry-After"]


def test_a_flood_on_one_form_is_held_and_somebody_is_told():
    row = form(hourly_limit=3, proof_of_work="off")
    for n in range(5):
        sign_up(row, f"p{n}@x.example")
    asking.ask_due(timezone.now())

    watching.watch(timezone.now())

    assert Message.objects.count() == 3
    alert = Alert.objects.get(kind="signups")
    assert "2 confirmation mails are held" in alert.text
    assert confirming.release(row) == 2
    asking.ask_due(timezone.now())
    assert Message.objects.count() == 5
    watching.watch(timezone.now())
    alert.refresh_from_db()
    assert alert.resolved_at


def test_the_mail_says_nothing_that_a_stranger_typed():
    row = form(fields={"first_name": False})

    sign_up(row, first_name="Buy http://evil.example now")
    link()

    mail = Mail.objects.get()
    assert "evil" not in mail.text + mail.html + mail.subject
    assert mail.from_email == "news@example.com"


# --- Machines ----------------------------------------------------------------------------


def test_who_fills_in_the_trap_is_thanked_and_forgotten():
    row = form()

    trapped = sign_up(row, website="http://x.example")

    assert shape(trapped) == shape(sign_up(row, "real@x.example"))
    assert not Subscriber.objects.filter(email="ana@x.example").exists()
    assert SignupDay.objects.get().stopped == 1


@pytest.mark.parametrize(
    ("token", "said"),
    [
        ("", "Please look at it once more"),
        ("forged", "open for a long time"),
        ("old", "open for a long time"),
        ("of another form", "open for a long time"),
        ("quick", "That was very quick"),
    ],
)
def test_a_page_that_is_no_fresh_page_of_ours_is_shown_again_filled_in(token, said):
    row = form()
    other = form(row.lists.get(), slug="other")
    now = timezone.now()
    tokens = {
        "old": guarding.stamp(row, now - timedelta(hours=13)),
        "of another form": guarding.stamp(other, now - timedelta(seconds=10)),
        "quick": guarding.stamp(row, now),
    }

    answer = client().post(
        "/f/news/", {"email": "ana@x.example", "token": tokens.get(token, token)}
    )

    assert said in answer.content.decode()
    assert 'value="ana@x.example"' in answer.content.decode()
    assert not Subscriber.objects.exists()


def solved(token: str) -> str:
    for number in itertools.count():
        digest = hashlib.sha256(f"{token}.{number}".encode()).digest()
        if int.from_bytes(digest[:2], "big") == 0:
            return str(number)
    raise AssertionError


def test_a_proof_of_work_is_wanted_and_counts_once():
    row = form(proof_of_work="always")
    assert 'data-bits="16"' in client().get("/f/news/").content.decode()
    without, given = filled(row), filled(row)
    proof = solved(given["token"])

    refused = client().post("/f/news/", {**without, "proof": "1"})
    taken = client().post("/f/news/", {**given, "proof": proof})
    repeated = client().post("/f/news/", {**given, "proof": proof, "email": "b@x.example"})

    assert "has to prove" in refused.content.decode()
    assert "Look in your mailbox" in taken.content.decode()
    assert "has to prove" in repeated.content.decode()
    assert Subscriber.objects.count() == 1


def test_when_many_sign_up_at_once_browsers_must_prove_themselves():
    row = form(hourly_limit=4)
    assert "data-bits" not in client().get("/f/news/").content.decode()

    for n in range(2):
        sign_up(row, f"p{n}@x.example")

    page = client().get("/f/news/")
    assert "data-bits" in page.content.decode()
    assert "script-src 'self'" in page["Content-Security-Policy"]


@pytest.mark.skipif(not shutil.which("node"), reason="no JavaScript engine here")
def test_the_script_computes_the_same_hash_as_python():
    source = Path("static/public/proof.js").read_text(encoding="utf-8")
    words = ["", "abc", "x" * 55, "x" * 56, "x" * 64, "1.a2.b3.token.12345"]
    inner = source.replace(
        "const form = document",
        f"""
        console.log(JSON.stringify({json.dumps(words)}.map(
            (each) => firstWords(new TextEncoder().encode(each)))));
        return; const form = document""",
    )

    done = subprocess.run(["node", "-e", inner], capture_output=True, text=True, check=True)

    expected = [int.from_bytes(hashlib.sha256(each.encode()).digest()[:4], "big") for each in words]
    assert json.loads(done.stdout) == expected


# --- The page of a form ------------------------------------------------------------------


def test_a_form_asks_for_what_its_owner_chose_and_keeps_what_was_typed():
    news, offers = make.mailing_list("News"), make.mailing_list("Offers")
    row = form(news, offers, fields={"first_name": True})

    missing = sign_up(row, "nonsense")
    page = missing.content.decode()
    assert "Please enter an e-mail address" in page
    assert page.count("Please fill this in.") == 2
    assert 'value="nonsense"' in page

    sign_up(row, first_name=" Ana\n B ", lists=[str(offers.pk), "999"])
    assert not Subscriber.objects.exists()
    sign_up(row, first_name=" Ana\n B ", lists=[str(offers.pk)])

    person = Subscriber.objects.get()
    assert (person.first_name, person.source) == ("Ana B", "form: News form")
    assert standing() == ("active", {"Offers": "active"})


def test_its_own_texts_are_shown_and_kept_as_versions():
    row = form(texts={"de": {"title": "Neues", "consent": "Ja, ich will."}}, language="de")

    page = client().get("/f/news/?lang=de").content.decode()
    sign_up(row)

    assert "<h1>Neues</h1>" in page
    assert "Ja, ich will." in page
    text = ConsentRecord.objects.get().text
    assert text
    assert (text.language, text.version, text.text) == ("de", 1, "Ja, ich will.")


def test_a_form_is_framed_by_its_origins_only_and_leads_where_it_says():
    row = form(origins=["https://shop.example"], redirect_url="https://shop.example/thanks")

    page, framed = client().get("/f/news/"), client().get("/f/news/?embed=1")
    onward = sign_up(row)

    assert "frame-ancestors 'none'" in page["Content-Security-Policy"]
    assert "frame-ancestors 'self' https://shop.example" in framed["Content-Security-Policy"]
    assert "X-Frame-Options" not in framed
    assert "form-action 'self' https://shop.example" in page["Content-Security-Policy"]
    assert (onward.status_code, onward["Location"]) == (302, "https://shop.example/thanks")


def test_a_closed_form_takes_nobody():
    row = form(is_active=False)

    assert "closed" in sign_up(row).content.decode()
    assert not Subscriber.objects.exists()


# --- Preferences -------------------------------------------------------------------------


def preferences(person: Subscriber, **choice: Any) -> Any:
    where = f"/p/{preferring.token_of(person)}/"
    return client().post(where, choice) if choice else client().get(where)


def test_looking_at_the_preferences_changes_nothing_and_hides_the_address():
    person = make.subscriber("ana@mail.example.org", [make.mailing_list("News")])
    make.mailing_list("Internal")
    make.mailing_list("Offers", is_open=True)

    page = preferences(person).content.decode()

    assert "News" in page
    assert "Offers" in page
    assert "Internal" not in page
    assert "ana@" not in page
    assert not ConsentRecord.objects.exists()


def test_lists_language_frequency_and_a_rest_are_chosen_and_on_record():
    news, offers = make.mailing_list("News"), make.mailing_list("Offers", is_open=True)
    secret = make.mailing_list("Internal")
    person = make.subscriber("ana@x.example", [news])

    saved = preferences(person, lists=[offers.pk, secret.pk], language="de", often="7", rest="30")

    assert '<html lang="de">' in saved.content.decode()
    person.refresh_from_db()
    assert standing()[1] == {"News": "unsubscribed", "Offers": "active"}
    assert (person.language, person.days_between) == ("de", 7)
    assert person.paused_until
    actions = list(ConsentRecord.objects.order_by("id").values_list("action", "via"))
    assert actions == [("left", "page"), ("subscribed", "page"), ("chose", "page")]

    preferences(person, lists=[offers.pk], language="de", often="0", rest="0")
    person.refresh_from_db()
    fresh = Subscriber.objects.get()
    assert fresh.days_between == 0
    assert fresh.paused_until is None


def test_leaving_all_and_coming_back():
    news = make.mailing_list("News")
    person = make.subscriber("ana@x.example", [news])

    left = preferences(person, everything="yes")
    assert "Choose a list to subscribe again" in left.content.decode()
    assert standing() == ("unsubscribed", {"News": "unsubscribed"})

    preferences(person, lists=[news.pk])
    assert standing() == ("active", {"News": "active"})
    assert not Suppression.objects.exists()


def test_who_complained_is_not_let_in_by_a_click():
    news = make.mailing_list("News", is_open=True)
    person = make.subscriber("ana@x.example", status="complained")
    make.suppression("ana@x.example", "complained")

    answer = preferences(person, lists=[news.pk])

    assert "We do not write to this address any more" in answer.content.decode()
    assert standing() == ("complained", {})


def test_a_message_leads_to_the_preferences_of_its_person():
    person = make.subscriber("ana@x.example", [make.mailing_list("News")])
    message = make.message(make.launched(), person)

    page = client().get(f"/p/{secrets.sign('preferences', message.pk)}/")
    assert "News" in page.content.decode()
    gone = client().get(f"/p/{secrets.sign('preferences', 99_999)}/")
    assert "do not know this address" in gone.content.decode()
    test = client().get(f"/p/{secrets.sign('preferences', 0)}/")
    assert "This is a test mail" in test.content.decode()


def test_pages_keep_to_themselves():
    person = make.subscriber()
    form()

    for where in ("/f/news/", f"/p/{preferring.token_of(person)}/", "/s/x/"):
        answer = client().get(where)
        assert len(answer.content) < 50_000
        assert answer["Referrer-Policy"] == "no-referrer"
        assert answer["Cache-Control"] == "no-store"
        assert "noindex" in answer["X-Robots-Tag"]
        assert answer["Content-Security-Policy"].startswith("default-src 'none'")
        assert not answer.cookies


# --- Release -----------------------------------------------------------------------------


def test_confirmations_are_asked_once_by_two_at_a_time():
    sign_up(form())

    assert asking.ask_due(timezone.now()) == 1
    assert asking.ask_due(timezone.now()) == 0
    assert Confirmation.objects.get().queued_at
