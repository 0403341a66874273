"""The main pages work under the content security policy: nothing is refused, nothing fails."""

from __future__ import annotations

import os
from typing import Any

import pytest
from playwright.sync_api import expect, sync_playwright

from tests import make
from tests.browser.test_walk import CHROMIUM, FLAGS, sign_in
from tests.pages import use_own_cache

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

PAGES = [
    "/admin/",
    "/admin/subscribers/subscriber/",
    "/admin/subscribers/segment/add/",
    "/admin/campaigns/campaign/",
    "/admin/delivery/provideraccount/",
    "/admin/delivery/provideraccount/add/?kind=sendgrid",
    "/admin/delivery/message/",
    "/admin/webhooks/rawrequest/",
    "/admin/webhooks/event/",
    "/admin/auth/user/add/",
    "/admin/django_celery_beat/periodictask/",
    "/admin/emailplatform/apikey/",
]


def test_no_page_asks_for_what_the_policy_refuses(live_server: Any, settings: Any, monkeypatch):
    use_own_cache(settings)
    monkeypatch.setitem(os.environ, "DJANGO_ALLOW_ASYNC_UNSAFE", "true")
    user = make.user("anna", is_staff=True, is_superuser=True)
    template, wrong = make.template(), []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_context(base_url=live_server.url).new_page()
        page.on("console", lambda told: wrong.append(told.text) if told.type == "error" else None)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        sign_in(page, user.username)

        for address in PAGES:
            page.goto(address)
            page.wait_for_load_state("networkidle")
            expect(page.locator("body")).not_to_be_empty()
        page.goto(f"/admin/campaigns/template/{template.pk}/change/")
        expect(page.frame_locator("iframe").locator("h1")).to_contain_text("Hello")
        page.goto("/api/docs/")
        expect(page.locator(".opblock").first).to_be_visible()
        browser.close()

    assert wrong == []
