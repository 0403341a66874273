"""The public page: one click (RFC 8058), the form, undo, and links that were not made by us."""

from __future__ import annotations

import re
import secrets as random_secrets
import string
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone, translation
from django.utils.translation import gettext

from campaigns.personalising import TEST_MESSAGE, unsubscribe_url
from delivery import counting, reports
from delivery.models import Message
from emailplatform import secrets
from subscribers import speaking
from subscribers.models import Subscriber, Suppression
from tests import make
from webhooks import unsubscribing
from webhooks.models import Event

pytestmark = pytest.mark.django_db

ONE_CLICK = {"List-Unsubscribe": "One-Click"}


def path(number: int) -> str:
    return "/u/" + unsubscribe_url(number).rpartition("/u/")[2]


def mailed(*lists: Any, **person: Any) -> Message:
    """Return a sent message of a campaign to these lists, its person being on all of them."""
    campaign = make.launched(list(lists), from_name="Example Press")
    given = {"status": "sent", "sent_at": timezone.now(), "provider": make.account()}
    return make.message(campaign, make.subscriber(lists=list(lists), **person), **given)


def standing() -> tuple[str, list[str]]:
    """Return the person's status and those of their subscriptions, by list."""
    person = Subscriber.objects.get()
    return person.status, list(
        person.subscriptions.order_by("list__pk").values_list("status", flat=True)
    )


def unsubscribed(message: Message) -> int:
    assert message.campaign
    return reports.totals(message.campaign).unsubscribed


def recount(message: Message) -> dict[int, dict[str, int]]:
    assert message.campaign_id
    return counting.rebuild(message.campaign_id)


def button(page: bytes, name: str) -> str:
    """Return the value of a button of the page."""
    found = re.search(rf'name="{name}" value="([^"]+)"', page.decode())
    assert found, f"The page has no button {name}."
    return found[1]


# --- One click ---------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["urlencoded", "multipart"])
def test_one_click_unsubscribes_a_bare_client(encoding: str):
    message = mailed(make.mailing_list())
    bare = Client(enforce_csrf_checks=True)
    how: dict[str, Any] = (
        {"data": ONE_CLICK}
        if encoding == "multipart"
        else {
            "data": "List-Unsubscribe=One-Click",
            "content_type": "application/x-www-form-urlencoded",
        }
    )

    answer = bare.post(path(message.pk), **how)

    assert answer.status_code == 200
    assert not answer.cookies
    assert standing() == ("active", ["unsubscribed"])
    message.refresh_from_db()
    assert message.unsubscribed_at
    assert unsubscribed(message) == 1


def test_one_click_again_has_the_same_answer_and_counts_once():
    message = mailed(make.mailing_list())

    first, second = (Client().post(path(message.pk), ONE_CLICK) for _ in "12")

    assert (first.status_code, second.status_code) == (200, 200)
    assert varying(first.content) == varying(second.content)
    assert Event.objects.count() == 1
    assert unsubscribed(message) == 1


def varying(page: bytes) -> bytes:
    """Return a page without its nonce and undo token."""
    return re.sub(rb'(nonce|value)="[^"]+"', b"", page)


@pytest.mark.parametrize("body", [b"", b"--broken", b"\xff\xfe"])
@pytest.mark.parametrize("kind", ["multipart/form-data; boundary=x", "text/plain", ""])
def test_a_post_with_a_broken_body_unsubscribes_too(client: Client, body: bytes, kind: str):
    message = mailed(make.mailing_list())

    assert client.post(path(message.pk), body, content_type=kind).status_code == 200
    assert standing() == ("active", ["unsubscribed"])


def test_a_campaign_without_lists_is_left_for_good(client: Client):
    message = mailed()

    client.post(path(message.pk), ONE_CLICK)

    assert standing() == ("unsubscribed", [])
    assert Suppression.objects.get().reason == "unsubscribed"


def test_a_complaint_is_not_softened_by_unsubscribing(client: Client):
    message = mailed(status="complained")

    client.post(path(message.pk), ONE_CLICK)

    assert standing()[0] == "complained"


def test_the_statistics_are_what_a_recount_gives(client: Client):
    message = mailed(make.mailing_list())
    recount(message)

    client.post(path(message.pk), ONE_CLICK)

    assert recount(message) == {}


# --- The page ----------------------------------------------------------------------------


def test_looking_at_the_page_changes_nothing(client: Client):
    message = mailed(make.mailing_list())

    for _ in range(3):
        assert client.get(path(message.pk)).status_code == 200
        assert client.head(path(message.pk)).status_code == 200

    assert standing() == ("active", ["active"])
    assert not Event.objects.exists()


def test_the_page_shows_who_writes_about_what_and_hides_the_address(client: Client):
    message = mailed(make.mailing_list("Weekly <News>"), email="ana@mail.example.org")

    page = client.get(path(message.pk)).content.decode()

    assert "Example Press" in page
    assert "Weekly &lt;News&gt;" in page
    assert "a•••@m•••.org" in page
    assert "ana@" not in page
    assert "mail.example" not in page


def test_the_page_is_small_and_keeps_to_itself(client: Client):
    answer = client.get(path(mailed(make.mailing_list()).pk))

    assert len(answer.content) < 50_000
    assert b"<script" not in answer.content
    assert b"http" not in answer.content
    assert answer["Referrer-Policy"] == "no-referrer"
    assert answer["Cache-Control"] == "no-store"
    assert "noindex" in answer["X-Robots-Tag"]
    assert answer["Content-Security-Policy"].startswith("default-src 'none'")
    assert not answer.cookies


def test_the_second_choice_is_everything(client: Client):
    news, offers = make.mailing_list(), make.mailing_list()
    message = mailed(news)
    person = Subscriber.objects.get()
    person.subscriptions.create(list=offers)

    client.post(path(message.pk), {"everything": "yes"})

    assert standing() == ("unsubscribed", ["unsubscribed", "unsubscribed"])
    assert unsubscribed(message) == 1


@pytest.mark.parametrize("choice", ["lists", "everything"])
def test_a_mistake_is_undone_exactly(client: Client, choice: str):
    news, offers, old = (make.mailing_list() for _ in range(3))
    message = mailed(news)
    person = Subscriber.objects.get()
    person.subscriptions.create(list=offers)
    person.subscriptions.create(list=old, status="unsubscribed")

    left = client.post(path(message.pk), {choice: "yes"})
    back = client.post(path(message.pk), {"undo": button(left.content, "undo")})

    assert back.status_code == 200
    assert standing() == ("active", ["active", "active", "unsubscribed"])
    assert not Suppression.objects.exists()


def test_who_came_back_can_leave_again(client: Client):
    message = mailed(make.mailing_list())
    left = client.post(path(message.pk), {"lists": "yes"})
    client.post(path(message.pk), {"undo": button(left.content, "undo")})

    client.post(path(message.pk), ONE_CLICK)

    assert standing() == ("active", ["unsubscribed"])
    assert unsubscribed(message) == 1


def test_undo_works_for_its_message_and_for_an_hour(client: Client):
    message = mailed(make.mailing_list())
    left = client.post(path(message.pk), {"lists": "yes"})
    undo = button(left.content, "undo")
    numbers = secrets.unsign("resubscribe", undo)
    assert numbers
    stale = secrets.sign("resubscribe", numbers[0], numbers[1] - 3601, *numbers[2:])
    foreign = secrets.sign("resubscribe", numbers[0] + 1, *numbers[1:])
    borrowed = secrets.sign("unsubscribe", *numbers)

    for token in (stale, foreign, borrowed, undo[:-1], ""):
        client.post(path(message.pk), {"undo": token})
        assert standing() == ("active", ["unsubscribed"]), token

    assert unsubscribing.undo(message, undo, timezone.now() + timedelta(minutes=59))
    assert standing() == ("active", ["active"])


def test_undo_does_not_lift_what_others_decided(client: Client):
    message = mailed(make.mailing_list())
    left = client.post(path(message.pk), {"everything": "yes"})
    Suppression.objects.update(reason="complained")
    Subscriber.objects.update(status="complained")

    client.post(path(message.pk), {"undo": button(left.content, "undo")})

    assert standing()[0] == "complained"
    assert Suppression.objects.get().reason == "complained"


# --- Links that lead nowhere -------------------------------------------------------------


def test_a_test_mail_says_so_and_does_nothing(client: Client):
    for answer in (client.get(path(TEST_MESSAGE)), client.post(path(TEST_MESSAGE), ONE_CLICK)):
        assert answer.status_code == 200
        assert "This is a test mail" in answer.content.decode()
    assert not Event.objects.exists()


def test_a_message_that_is_gone_has_the_answers_of_one_that_is_there(client: Client):
    asked, left = client.get(path(99_999)), client.post(path(99_999), ONE_CLICK)

    assert (asked.status_code, left.status_code) == (200, 200)
    assert "<form" in asked.content.decode()
    assert "You are unsubscribed" in left.content.decode()


def test_a_token_with_any_byte_flipped_unsubscribes_nobody(client: Client, monkeypatch):
    monkeypatch.setattr("subscribers.views.GUESSING_RATE", "100000/m")
    message = mailed(make.mailing_list())
    good = path(message.pk).split("/")[2]
    letters = string.ascii_letters + string.digits + "-_"

    answers = set()
    for index, letter in enumerate(good):
        # Another letter whose bits all count: the last one of base64 carries four only.
        other = next(each for each in letters if each not in {letter, letter.swapcase()})
        flipped = good[:index] + other + good[index + 1 :]
        if secrets.unsign("unsubscribe", flipped) is None:
            answers.add(client.post(f"/u/{flipped}/", ONE_CLICK).status_code)

    assert answers == {404}
    assert standing() == ("active", ["active"])


@pytest.mark.parametrize("purpose", ["resubscribe", "confirm", "click"])
def test_a_token_for_another_purpose_is_unknown(client: Client, purpose: str):
    message = mailed(make.mailing_list())

    answer = client.post(f"/u/{secrets.sign(purpose, message.pk)}/", ONE_CLICK)

    assert answer.status_code == 404
    assert standing() == ("active", ["active"])


def test_guessing_finds_nothing_and_is_slowed_down(monkeypatch):
    monkeypatch.setattr("subscribers.views.GUESSING_RATE", "4/h")
    stranger = Client(REMOTE_ADDR=f"2001:db8:{random_secrets.token_hex(2)}::1")

    answers = [
        stranger.get(f"/u/{random_secrets.token_urlsafe(20)}/").status_code for _ in range(6)
    ]

    assert answers == [404] * 4 + [429] * 2


def test_old_links_work_after_the_key_was_rotated_twice(client: Client, settings):
    message = mailed(make.mailing_list())
    old = path(message.pk)
    settings.TOKEN_KEYS = ["newest", "newer", *settings.TOKEN_KEYS]

    assert client.post(old, ONE_CLICK).status_code == 200
    assert standing() == ("active", ["unsubscribed"])


# --- Languages ---------------------------------------------------------------------------


@pytest.mark.parametrize("language", speaking.LANGUAGES)
def test_the_page_speaks_the_language_of_the_person(client: Client, language: str):
    message = mailed(make.mailing_list(), language=language)
    with translation.override(language):
        leave, left_title = gettext("Unsubscribe"), gettext("You are unsubscribed")

    asked = client.get(path(message.pk), headers={"accept-language": "sv"})
    left = client.post(path(message.pk), {"lists": "yes"})

    assert f'<html lang="{language}">' in asked.content.decode()
    assert f"<h1>{leave}</h1>" in asked.content.decode()
    assert left_title in left.content.decode()
    assert asked["Content-Language"] == language


def test_without_a_language_the_browser_is_asked(client: Client):
    message = mailed(make.mailing_list())

    page = client.get(path(message.pk), headers={"accept-language": "sv, ja;q=0.8, de;q=0.5"})

    assert '<html lang="ja">' in page.content.decode()
