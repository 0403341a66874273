"""The main job in a real browser: a file of people becomes a campaign and its report."""

from __future__ import annotations

import os
import re
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.conf import settings as project
from django.db import connection
from django.utils import timezone
from playwright.sync_api import Browser, Page, expect, sync_playwright

from campaigns.models import Campaign
from delivery import demonstrating, expanding, reports, sending
from delivery.models import Message
from delivery.sandbox.config import Config, Options
from delivery.sandbox.server import Sandbox
from subscribers import importing
from subscribers.models import Import, MailingList, Subscriber
from tests import make
from tests.pages import use_own_cache
from webhooks import applying, crediting

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
# CI must have it; somebody who tries the project may not.
without_browser = pytest.mark.skipif(
    CHROMIUM is None and "CI" not in os.environ, reason="Chromium is not installed."
)
pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True), without_browser]

ROWS = 300
PATIENCE_MS = 60_000
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]


class Worker(threading.Thread):
    """Does what workers do: imports, sends, applies what providers tell. Until it is stopped."""

    def __init__(self) -> None:
        super().__init__(name="worker")
        self.over = threading.Event()
        self.failure: BaseException | None = None

    def run(self) -> None:
        try:
            while not self.over.is_set():
                self._turn()
                self.over.wait(0.1)
        except BaseException as error:  # noqa: BLE001 (told by stop)
            self.failure = error
        finally:
            connection.close()

    def _turn(self) -> None:
        now = timezone.now()
        for pk in Import.objects.workable(now).values_list("pk", flat=True):
            importing.run(pk)
        expanding.expand_all(now)
        sending.send_slice(0.2)
        expanding.finish_done(timezone.now())
        applying.apply_pending(100, timezone.now())
        crediting.credit_sightings(timezone.now())

    def stop(self) -> None:
        self.over.set()
        self.join(timeout=30)
        if self.failure:
            raise self.failure


@pytest.fixture
def sandbox(live_server: Any, settings: Any, tmp_path: Path) -> Iterator[Sandbox]:
    """Two sandboxed providers that post what happens to the live server, and people who read."""
    settings.PUBLIC_URL = live_server.url
    settings.TRUSTED_PROXIES = 1
    settings.MEDIA_ROOT = tmp_path / "media"
    use_own_cache(settings)
    options = Options(event_latency=0.1, open=0.6, click=0.6, bounce=0.05, soft_bounce=0.0)
    hosts = [urlsplit(live_server.url).netloc]
    config = Config(options=options, port=0, smtp_port=None, reader_hosts=hosts)
    running = Sandbox(config).start()
    store = tmp_path / "accounts.json"
    demonstrating.make_sandbox_accounts(running.url, store)
    running.set_accounts(demonstrating.sandbox_accounts(store))
    yield running
    running.stop()


@pytest.fixture
def worker(sandbox: Sandbox) -> Iterator[Worker]:
    running = Worker()
    running.start()
    yield running
    running.stop()


@pytest.fixture
def browser(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> Iterator[Browser]:
    """Chromium with a profile of its own."""
    assert CHROMIUM, "Install Chromium: .ci/run does."
    # Playwright's loop runs in this thread; the queries of the test itself are no harm to it.
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield running
        running.close()


@pytest.fixture
def page(browser: Browser, live_server: Any) -> Iterator[Page]:
    """A page that forgives nothing: no error in the console, no failed request."""
    if not connection.is_usable():  # a test before this one may have cut it off
        connection.close()
    context = browser.new_context(base_url=live_server.url)
    context.set_default_timeout(PATIENCE_MS)
    page = context.new_page()
    wrong: list[str] = []
    page.on("console", lambda message: _note(wrong, message.type == "error", message.text))
    page.on("pageerror", lambda error: _note(wrong, True, str(error)))
    page.on("response", lambda got: _note(wrong, got.status >= 400, f"{got.status} {got.url}"))
    yield page
    context.close()
    assert wrong == []


def _note(wrong: list[str], is_wrong: bool, text: str) -> None:
    if is_wrong:
        wrong.append(text)


def test_a_marketer_walks_from_a_file_to_a_report(page: Page, sandbox: Sandbox, tmp_path: Path):
    user = make.user("anna", is_staff=True, is_superuser=True)
    template = (project.BASE_DIR / "demo" / "newsletter.mjml").read_text(encoding="utf-8")
    make.template(name="November", format="mjml", subject="Hello {{ first_name }}", body=template)

    sign_in(page, user.username)
    import_people(page, tmp_path)
    make_segment(page)
    compose(page)
    launch(page)
    read_the_report(page)
    read_a_person(page)

    assert sandbox.duplicates() == []
    assert sandbox.stats()["messages"] == Message.objects.filter(status="sent").count()


expect.set_options(timeout=PATIENCE_MS)


def sign_in(page: Page, name: str) -> None:
    page.goto("/admin/")
    page.fill("[name=username]", name)
    page.fill("[name=password]", "correct horse battery")
    page.click("[type=submit]")
    expect(page.get_by_role("heading", name="Overview").first).to_be_visible()


def import_people(page: Page, folder: Path) -> None:
    """Upload the head of the demo file into a new list, and watch it come in."""
    rows = (project.BASE_DIR / "demo" / "subscribers.csv").read_bytes().splitlines(keepends=True)
    file = folder / "people.csv"
    file.write_bytes(b"".join(rows[: ROWS + 1]))

    page.goto("/admin/subscribers/import/add/")
    page.set_input_files("[name=file]", file)
    page.fill("[name=new_list]", "Newsletter")
    page.get_by_role("button", name="See what will happen").click()
    page.wait_for_url("**/change/")
    page.get_by_role("button", name="See what will happen").click()
    page.locator("form[action$='/start/'] button").click()
    expect(page.get_by_text("newly on Newsletter")).to_be_visible()
    expect(page.locator("body")).to_contain_text("Make a segment")
    until(lambda: Import.objects.get().status == Import.Status.DONE)
    assert Subscriber.objects.count() > ROWS * 0.8


def make_segment(page: Page) -> None:
    """Describe a group in words, and see how many belong to it."""
    page.goto("/admin/subscribers/segment/add/")
    page.fill("#name", "Members")
    page.get_by_label("What of a person").select_option(label="Plan")
    page.get_by_label("Value").fill("pro")
    expect(page.locator(".ui-live")).to_have_text(re.compile(r"\d+"))
    page.get_by_role("button", name="Save segment").click()
    expect(page.locator("body")).to_contain_text("Members")


def compose(page: Page) -> None:
    """Begin a campaign and go through its steps; look at the mail as somebody."""
    page.goto("/admin/campaigns/campaign/")
    page.get_by_role("link", name="New campaign").first.click()
    page.fill("[name=name]", "November issue")
    page.get_by_role("button", name="Create and choose who gets it").click()

    page.get_by_label("Newsletter").first.check()
    expect(page.locator("#reach .ui-live")).to_have_text(re.compile(r"\d+"))
    page.get_by_role("button", name="Save and go on").click()

    someone = Subscriber.objects.exclude(first_name="").filter(status="active").first()
    assert someone is not None
    page.select_option("[name=template]", label="November")
    page.locator("[data-preview] [name=person]").fill(someone.email)
    expect(page.locator("[data-note]")).to_contain_text(someone.email)
    expect(page.locator("[data-subject]")).to_have_text(f"Hello {someone.first_name}")
    frame = page.frame_locator("[data-preview] iframe")
    expect(frame.locator("body")).to_contain_text(someone.first_name)
    page.get_by_role("button", name="Text").click()
    expect(page.locator("[data-text]")).to_contain_text("Unsubscribe")
    page.get_by_role("button", name="Save and go on").click()

    page.fill("[name=from_name]", "Example Press")
    page.fill("[name=from_email]", "news@press.example")
    page.get_by_role("button", name="Save and go on").click()
    expect(page.locator("body")).to_contain_text("It can be sent")


def launch(page: Page) -> None:
    """Read what will happen, send, and watch it go out until the report is there."""
    page.get_by_role("link", name="Review and send").click()
    reached = page.locator(".ui-say strong").first
    people = int(re.sub(r"\D", "", reached.inner_text()))
    page.get_by_role("button", name=re.compile(r"Send to \d+ people")).click()
    expect(page.locator("body")).to_contain_text("From sent to clicked")

    campaign = Campaign.objects.get()
    assert campaign.status == Campaign.Status.SENT
    assert Message.objects.filter(campaign=campaign).count() == people


def read_the_report(page: Page) -> None:
    """The numbers on the page are those of the database, once everything is heard."""
    campaign = Campaign.objects.get()
    people = Message.objects.filter(campaign=campaign, status="sent")
    until(lambda: not people.filter(delivered_at=None, bounced_at=None).exists())
    until(lambda: reports.totals(campaign).clicked > 0)

    page.goto(f"/admin/campaigns/campaign/{campaign.pk}/change/")
    expect(page.locator("body")).to_contain_text("Links people clicked")
    totals = reports.totals(campaign)
    assert totals.delivered > totals.opened > totals.clicked > 0
    report = page.locator("#totals")
    expect(report).to_contain_text(f"{totals.delivered} of {totals.sent} sent")
    expect(report).to_contain_text(f"of {totals.delivered} delivered")
    expect(page.locator("body")).to_contain_text("https://www.press.example/november")
    assert MailingList.objects.get().name == "Newsletter"


def read_a_person(page: Page) -> None:
    """From a number to the people behind it, and what one of them did."""
    campaign = Campaign.objects.get()
    page.goto(f"/admin/delivery/message/?campaign={campaign.pk}&outcome=clicked")
    page.locator("#result_list tbody a").first.click()
    page.get_by_role("link", name=re.compile("@")).last.click()
    timeline = page.locator(".ui-timeline").first
    expect(timeline).to_contain_text("Clicked")
    expect(timeline).to_contain_text("Was sent November issue")


def until(condition: Any, seconds: float = 60.0) -> None:
    """Wait for what the worker brings about."""
    stop_at = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < stop_at, "It did not happen in time."
        time.sleep(0.1)
