"""What every answer tells the browser to refuse, and that stricter pages keep their own."""

from __future__ import annotations

import pytest
from django.test import Client

from campaigns.personalising import unsubscribe_url
from tests import make

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    "address", ["/health", "/admin/login/", "/api/docs/", "/api/v1/lists/", "/nothing", "/admin/"]
)
def test_every_answer_refuses_what_no_page_of_ours_needs(address):
    answer = Client().get(address)

    policy = answer["Content-Security-Policy"]
    assert {"object-src 'none'", "base-uri 'none'", "frame-ancestors 'self'"} <= set(
        policy.split("; ")
    )
    assert "script-src 'self' 'unsafe-eval';" in policy
    assert "camera=()" in answer["Permissions-Policy"]
    assert answer["Referrer-Policy"] == "same-origin"
    assert answer["X-Content-Type-Options"] == "nosniff"


def test_the_page_to_unsubscribe_keeps_its_stricter_policy():
    message = make.message(make.launched())

    answer = Client().get("/u/" + unsubscribe_url(message.pk).split("/u/")[1])

    assert answer["Content-Security-Policy"].startswith("default-src 'none'")
    assert answer["Referrer-Policy"] == "no-referrer"


def test_the_api_page_has_no_inline_script(client):
    page = client.get("/api/docs/").content.decode()

    assert "<script>" not in page
    assert client.get("/api/docs/?script=")["Content-Type"].startswith("application/javascript")
