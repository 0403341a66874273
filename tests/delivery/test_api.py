"""Numbers of campaigns, the state of the system, and health."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import OperationalError, connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from campaigns import launching
from delivery import expanding, monitoring, sending
from delivery.models import Message
from tests import make
from tests.calling import Api
from tests.fakes import FakeProvider
from tests.pages import member, use_own_cache

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def own_cache(settings: Any) -> None:
    use_own_cache(settings)


def test_numbers_of_a_campaign_before_and_after_it_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    news = make.mailing_list()
    for _ in range(3):
        make.subscriber(lists=[news])
    campaign = make.campaign([news])
    launching.launch(campaign, timezone.now())
    account = make.account("First")
    monkeypatch.setattr(type(account), "provider", FakeProvider())
    api = Api()
    path = f"campaigns/{campaign.pk}/stats/"
    assert api.get(path).data["totals"]["sent"] == 0

    expanding.expand_all(timezone.now())
    sending.send_slice(5)

    stats = api.get(path).data
    assert stats["totals"]["sent"] == stats["progress"]["total"] == 3
    assert stats["by_provider"]["First"]["sent"] == 3
    assert stats["progress"]["queued"] == 0


def test_the_state_of_the_system_names_what_waits_and_each_provider() -> None:
    campaign = make.launched([])
    make.account("First", secrets={"api_key": "hush-hush"})
    make.message(campaign)
    make.message(campaign, status=Message.Status.UNKNOWN)

    answer = Api().get("system/status/")

    assert answer.status == 200
    assert (answer.data["queued"], answer.data["in_doubt"]) == (1, 1)
    assert [each["name"] for each in answer.data["providers"]] == ["First"]
    assert "hush-hush" not in str(answer.data)


def test_the_state_of_the_system_takes_a_right() -> None:
    nobody = Client()
    nobody.force_login(make.user(is_staff=True))

    assert nobody.get("/api/v1/system/status/").status_code == 403
    assert member("Viewer").get("/api/v1/system/status/").status_code == 200


def test_queued_messages_are_counted_once_for_many_who_ask() -> None:
    make.message(make.launched([]))
    first = monitoring.status(timezone.now())
    make.message(make.launched([]))

    with CaptureQueriesContext(connection) as queries:
        second = monitoring.status(timezone.now())

    assert (first["queued"], second["queued"]) == (1, 1)
    assert not [each for each in queries if "delivery_message" in each["sql"]]


def test_without_redis_the_queue_is_counted_each_time(settings: Any) -> None:
    gone = {**settings.CACHES["default"], "LOCATION": "redis://127.0.0.1:9/0"}
    settings.CACHES = {"default": gone}
    make.message(make.launched([]))

    assert monitoring.status(timezone.now())["queued"] == 1


def test_health_needs_no_key_and_tells_strangers_nothing_else() -> None:
    response = Client().get("/health")

    assert response.status_code == 200
    assert response.json() == {"status": "ok"}


def test_health_says_so_when_the_database_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    def away() -> bool:
        raise OperationalError

    monkeypatch.setattr(monitoring, "is_ready", away)

    assert Client().get("/health").status_code == 503
