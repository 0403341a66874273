"""In a real browser: an endpoint is made and tried, and events are watched as they come."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Page, expect, sync_playwright

from emailplatform import calling
from tests import make
from tests.browser.test_walk import CHROMIUM, FLAGS, sign_in, without_browser
from tests.pages import use_own_cache
from tests.receiving import Receiver
from tests.webhooks.test_delivering import happens, post_all

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True), without_browser]


@pytest.fixture
def page(live_server: Any, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Page]:
    """A page that forgives nothing: no error in the console, no script that fails."""
    use_own_cache(settings)
    monkeypatch.setitem(os.environ, "DJANGO_ALLOW_ASYNC_UNSAFE", "true")
    wrong: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_context(base_url=live_server.url).new_page()
        page.on("console", lambda told: wrong.append(told.text) if told.type == "error" else None)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        sign_in(page, make.user("anna", is_staff=True, is_superuser=True).username)
        yield page
        browser.close()
    assert wrong == []


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    calling.hang_up()
    server = Receiver()
    yield server
    server.close()
    calling.hang_up()


def test_an_endpoint_is_made_and_tried(page: Page, receiver: Receiver) -> None:
    page.goto("/admin/webhooks/endpoint/")
    page.get_by_role("link", name="Add endpoint").first.click()
    page.fill("[name=name]", "shop")
    page.fill("[name=url]", receiver.url)
    page.get_by_label("Bounced (bounced)").check()
    page.get_by_role("button", name="Save").click()
    expect(page.locator("#secret")).to_contain_text("whsec_")

    page.get_by_role("link", name="I have it").click()
    page.get_by_role("button", name="Send a test").click()
    expect(page.locator("body")).to_contain_text("The test was taken: 200")

    happens("bounced")
    post_all()
    page.reload()
    expect(page.locator("#log")).to_contain_text("Delivered")


def test_events_come_to_whoever_watches_and_wait_while_paused(page: Page) -> None:
    first, second = (make.mail(f"{name}@gmail.com", status="sent") for name in ("ana", "bo"))
    page.goto("/admin/webhooks/event/live/")
    rows = page.locator("#live-rows")
    expect(rows).to_contain_text("Nothing yet")

    happens("bounced", first)
    expect(rows).to_contain_text("ana@gmail.com")

    page.locator("h2").first.click()
    page.keyboard.press("Space")
    expect(page.locator("#live-state")).to_contain_text("Paused")
    happens("opened", second)
    page.wait_for_timeout(3000)
    expect(rows).not_to_contain_text("bo@gmail.com")
    page.keyboard.press("Space")
    expect(rows).to_contain_text("bo@gmail.com")

    page.select_option("#live-type", "bounced")
    expect(rows).not_to_contain_text("bo@gmail.com")
    expect(rows).to_contain_text("ana@gmail.com")
