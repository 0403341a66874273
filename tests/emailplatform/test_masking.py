"""No address of a person in the log, wherever it comes from."""

from __future__ import annotations

import logging
from io import StringIO

import pytest
from django.test import Client
from django.utils.module_loading import import_string
from hypothesis import given
from hypothesis import strategies as st

from emailplatform.masking import masked
from emailplatform.settings import LOGGING
from subscribers import api
from tests import make


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> StringIO:
    """What the handler of the root logger writes, formatted as the settings say."""
    line: dict[str, str] = LOGGING["formatters"]["line"]
    formatter = import_string(line["()"])(line["format"], style=line["style"])
    out = StringIO()
    handler = logging.StreamHandler(out)
    handler.setFormatter(formatter)
    monkeypatch.setattr(logging.getLogger(), "handlers", [handler])
    return out


@pytest.mark.django_db
def test_a_failure_of_ours_is_logged_without_the_address_in_its_path(written, monkeypatch):
    def broken(*_: object) -> None:
        raise RuntimeError("Key (email)=(ana.b+c@mail.example.org) exists")

    monkeypatch.setattr(api.SubscriberViewSet, "get_queryset", broken)
    client = Client(raise_request_exception=False)
    key = {"authorization": f"Bearer {make.api_key('read')}"}

    answer = client.get("/api/v1/subscribers/ana.b+c@mail.example.org/", headers=key)

    assert answer.status_code == 500
    lines = written.getvalue()
    assert "/api/v1/subscribers/a***@m***/" in lines
    assert "RuntimeError: Key (email)=(a***@m***) exists" in lines
    assert "mail.example.org" not in lines


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("to <ana@example.com>, bo@example.org.", "to <a***@e***>, b***@e***"),
        ("/x/ana%40example.com/?y", "/x/a***@e***/?y"),
        ("jürgen@bücher.example wrote", "j***@b*** wrote"),
        ("no address @ all", "no address @ all"),
    ],
)
def test_two_letters_of_an_address_are_left(text, line):
    assert masked(text) == line


def _is_usual(email: str) -> bool:
    """A slash would end the part of a path that is an address: nobody's address has one."""
    local = email.rpartition("@")[0]
    return "/" not in local and any(each.isalnum() for each in local)


@given(st.emails().filter(_is_usual))
def test_no_domain_survives(email):
    domain = email.rpartition("@")[2]

    line = masked(f"sent to {email} today")

    assert f"@{domain}" not in line
    assert "***@" in line
