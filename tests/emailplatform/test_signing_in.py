"""Nobody guesses passwords for long, and nobody learns which names exist."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from emailplatform.signing_in import MOST_OF_ADDRESS, MOST_OF_NAME, WINDOW_S
from tests import make
from tests.pages import use_own_cache

pytestmark = pytest.mark.django_db
RIGHT = "correct horse battery"


@pytest.fixture(autouse=True)
def own_cache(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache of its own, and the middle of a window: no test may cross its end."""
    use_own_cache(settings)
    monkeypatch.setattr("emailplatform.limiting.time.time", lambda: 1_000_000 * WINDOW_S + 60.0)


def sign_in(name: str, password: str, address: str = "192.0.2.1") -> Any:
    form = {"username": name, "password": password}
    return Client(REMOTE_ADDR=address).post("/admin/login/", form)


@pytest.mark.parametrize("exists", [True, False])
def test_the_sixth_failure_is_refused_in_one_sentence_whether_or_not_the_name_exists(exists):
    if exists:
        make.user("anna", is_staff=True)

    before = [sign_in("anna", "wrong") for _ in range(MOST_OF_NAME)]
    after = sign_in("Anna", RIGHT)

    assert {answer.status_code for answer in before} == {200}
    assert after.status_code == 429
    assert after["Retry-After"] == str(WINDOW_S - 60)
    assert "Too many failed attempts to sign in. Try again in 14 min." in after.content.decode()
    assert "_auth_user_id" not in after.client.session


def test_another_name_and_another_address_are_not_held_back():
    make.user("anna", is_staff=True)
    make.user("bert", is_staff=True)
    for _ in range(MOST_OF_NAME + 1):
        sign_in("anna", "wrong")

    assert sign_in("bert", RIGHT).status_code == 302
    assert sign_in("anna", RIGHT, "192.0.2.2").status_code == 302


def test_who_signs_in_begins_anew():
    make.user("anna", is_staff=True)
    for _ in range(3):
        for _ in range(MOST_OF_NAME - 1):
            sign_in("anna", "wrong")
        assert sign_in("anna", RIGHT).status_code == 302


def test_one_address_cannot_try_many_names_and_a_success_gives_back_one_try_only():
    make.user("mallory", is_staff=True)
    for number in range(MOST_OF_ADDRESS):
        assert sign_in(f"name{number}", "wrong").status_code == 200
        if number == 3:
            sign_in("mallory", RIGHT)

    assert sign_in("mallory", RIGHT).status_code == 429


def test_without_redis_people_still_sign_in(settings, caplog):
    make.user("anna", is_staff=True)
    gone = {**settings.CACHES["default"], "LOCATION": "redis://127.0.0.1:9/0"}
    settings.CACHES = {"default": gone}

    answers = [sign_in("anna", "wrong").status_code for _ in range(MOST_OF_NAME + 1)]

    assert set(answers) == {200}
    assert sign_in("anna", RIGHT).status_code == 302
    assert "The limit on sign-in is off: Redis is away" in caplog.text
    assert "anna" not in caplog.text
