"""Queues & lanes: on the page, by API, in the terminal; and limits in the form of a provider."""

from __future__ import annotations

import json
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.utils import timezone

from delivery import limiting, overseeing, throttling
from delivery.models import DailyCount, ProviderAccount, Worker
from tests import make, scripted
from tests.pages import member, text, use_own_cache

pytestmark = pytest.mark.django_db
PAGE = "/admin/delivery/worker/"


@pytest.fixture(autouse=True)
def _own(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    use_own_cache(settings)
    scripted.install(monkeypatch)
    limiting.forget()


def busy(now=None) -> ProviderAccount:
    """Gmail waits and is slowed, Yahoo moves, and one worker counts alone."""
    now = now or timezone.now()
    account = make.account("Relay", limit_per_day=50_000, lane_limits={"gmail": "20/sec"})
    campaign = make.launched()
    for number in range(3):
        make.message(campaign, due_at=now - timedelta(minutes=number + 1))
    make.message(campaign, due_at=now + timedelta(hours=1))
    make.handoff(campaign, account, mailbox="yahoo", status="done", accepted=40, started_at=now)
    make.handoff(campaign, account, mailbox="yahoo", status="unknown", started_at=now)
    make.handoff(campaign, account, mailbox="yahoo", status="in_flight", started_at=now)
    throttling.slow(account, ("marketing", "gmail"), "421 4.7.0 unusual rate", now)
    DailyCount.objects.create(account=account, day=now.date(), used=18_000)
    for name, seen in (("web-1:7", timedelta(0)), ("old:9", timedelta(hours=1))):
        Worker.objects.create(
            name=name,
            kind="dispatch",
            streams=["marketing", "critical"],
            host="web-1",
            pid=7,
            has_redis=False,
            seen_at=now - seen,
        )
    return account


def test_each_lane_says_what_waits_how_fast_it_goes_and_what_holds_it_up():
    now = timezone.now()
    busy(now)

    facts = overseeing.overview(now)

    gmail, yahoo = facts.queues
    assert (gmail.stream, gmail.mailbox, gmail.due, gmail.is_more) == (
        "marketing",
        "gmail",
        3,
        False,
    )
    assert gmail.oldest_due_s == pytest.approx(180, abs=1)
    assert gmail.limits == ["Relay: 20 a second"]
    assert [(each.per_minute, each.reason) for each in gmail.slowed] == [
        (30, "421 4.7.0 unusual rate")
    ]
    assert (yahoo.per_minute, yahoo.in_flight, yahoo.in_doubt) == (40, 1, 1)
    assert [(each.words, each.used, each.most) for each in facts.limits] == [
        ("50,000 a day", 18_000, 50_000)
    ]
    assert [(each.name, each.is_live) for each in facts.workers] == [
        ("web-1:7", True),
        ("old:9", False),
    ]
    assert facts.trouble == "Redis is away: limits are counted per worker."


def test_of_many_that_wait_only_the_first_thousand_are_counted(monkeypatch):
    monkeypatch.setattr(overseeing, "COUNTED", 5)
    first, second = make.launched(), make.launched()
    for _ in range(4):
        make.message(first)
        make.message(second)

    [queue] = overseeing.overview(timezone.now()).queues

    assert (queue.due, queue.is_more) == (5, True)


def test_the_page_shows_it_and_refreshes_a_piece_of_itself(admin_client):
    busy()

    page, piece = text(admin_client.get(PAGE)), text(admin_client.get(f"{PAGE}now/"))

    assert f'hx-get="{PAGE}now/"' in page
    for words in (
        "421 4.7.0 unusual rate",
        "Relay gets 30 a minute instead of 60.",
        "Relay: 20 a second",
        "18,000",
        "web-1:7",
        "Counts alone",
        "Redis is away: limits are counted per worker.",
    ):
        assert words in page
        assert words in piece


def test_an_empty_page_says_so(admin_client):
    assert "Nothing waits" in text(admin_client.get(PAGE))


def test_viewers_see_it_and_strangers_do_not(client):
    assert client.get(PAGE).status_code == 302
    assert member("Viewer").get(PAGE).status_code == 200


def test_the_api_tells_the_same(client):
    busy()
    headers = {"Authorization": f"Bearer {make.api_key('read')}"}

    answer = client.get("/api/v1/system/queues/", headers=headers)
    status = client.get("/api/v1/system/status/", headers=headers)

    assert answer.status_code == 200
    assert answer.json()["queues"][0]["slowed"][0]["reason"] == "421 4.7.0 unusual rate"
    assert status.json()["redis_away"] is True
    assert client.get("/api/v1/system/queues/").status_code == 401


def test_the_terminal_tells_the_same():
    busy()
    table, data = StringIO(), StringIO()

    call_command("queues", stdout=table)
    call_command("queues", "--json", stdout=data)

    assert "Relay: 421 4.7.0 unusual rate (30 a minute); Relay: 20 a second" in table.getvalue()
    assert json.loads(data.getvalue())["queues"][0]["due"] == 3


# --- The form of a provider ------------------------------------------------------------------


def posted(account: ProviderAccount, **more: str) -> dict[str, str]:
    return {"name": account.name, "weight": "100", "set_api_url": "http://127.0.0.1:9/v3/", **more}


def address(account: ProviderAccount) -> str:
    return f"/admin/delivery/provideraccount/{account.pk}/change/"


def test_limits_are_set_on_the_page_of_a_provider(admin_client):
    account = make.account("Relay")
    limits = {
        "limit_per_second": "14",
        "limit_per_hour": "",
        "limit_per_day": "50000",
        "lane_limits": "gmail 20/sec\nMarketing  Yahoo 600/hour\n",
    }

    admin_client.post(address(account), posted(account, **limits))

    account.refresh_from_db()
    assert (account.limit_per_second, account.limit_per_hour) == (14, None)
    assert account.limit_per_day == 50_000
    assert account.lane_limits == {"gmail": "20/sec", "marketing yahoo": "600/hour"}
    page = text(admin_client.get(address(account)))
    assert "marketing yahoo 600/hour" in page
    assert "14 a second" in page


@pytest.mark.parametrize(
    ("lane_limits", "said"),
    [
        ("gmail fast", "ends in no rate"),
        ("gmail 0/sec", "ends in no rate"),
        ("hotmail 5/sec", "names none of"),
        ("20/sec", "names none of"),
        ("bulk gmail 5/sec", "use one of critical"),
    ],
)
def test_a_limit_that_cannot_be_read_is_said_at_its_field(admin_client, lane_limits, said):
    account = make.account("Relay")

    page = text(admin_client.post(address(account), posted(account, lane_limits=lane_limits)))

    assert said in page
    account.refresh_from_db()
    assert account.lane_limits == {}


def test_the_card_of_a_provider_shows_todays_volume_against_its_quota(admin_client):
    account = make.account("Relay", limit_per_day=50_000)
    DailyCount.objects.create(account=account, day=timezone.now().date(), used=18_000)

    page = text(admin_client.get("/admin/delivery/provideraccount/"))

    assert "50,000 a day" in page
    assert "18,000 used" in page
