"""Programs look after endpoints by API, and read the feed of events without a gap."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from rest_framework.test import APIClient

from emailplatform import calling
from emailplatform.models import AuditEntry
from tests import make
from tests.receiving import Receiver, answer
from tests.webhooks.test_delivering import happens, post_all, verified
from webhooks.models import Delivery, Endpoint, Event

pytestmark = pytest.mark.django_db(transaction=True)
ENDPOINTS = "/api/v1/webhooks/endpoints/"
DELIVERIES = "/api/v1/webhooks/deliveries/"
STREAM = "/api/v1/email/events/stream"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    calling.hang_up()
    server = Receiver()
    yield server
    server.close()
    calling.hang_up()


def client(*scopes: str) -> APIClient:
    browser = APIClient()
    browser.credentials(HTTP_AUTHORIZATION=f"Bearer {make.api_key(*scopes)}")
    return browser


def test_an_endpoint_is_made_told_tried_changed_over_and_replayed(receiver: Receiver) -> None:
    api = client("read", "manage")
    wish = {"name": "shop", "url": receiver.url, "types": ["delivered"]}

    made = api.post(ENDPOINTS, wish, format="json")
    assert made.status_code == 201, made.data
    mine, secret = f"{ENDPOINTS}{made.data['id']}/", made.data["secret"]
    assert "secret" not in api.get(mine).data
    happens("delivered")
    happens("opened")
    post_all()
    [(headers, body)] = receiver.got
    assert verified(secret, headers, body)

    newer = api.post(f"{mine}rotate/").data["secret"]
    tested = api.post(f"{mine}test/").data
    assert (tested["ok"], tested["status"]) == (True, 200)
    assert verified(secret, *receiver.got[1])
    assert verified(newer, *receiver.got[1])
    assert api.post(f"{mine}drop-secrets/").data["secrets"] == 1

    log = api.get(DELIVERIES, {"endpoint": made.data["id"]}).data["results"]
    assert [each["type"] for each in log] == ["endpoint.test", "email.delivered"]
    one = api.get(f"{DELIVERIES}{log[1]['id']}/").data
    assert one["tries"][0]["status"] == 200
    assert api.post(f"{DELIVERIES}{one['id']}/replay/").status_code == 202
    post_all()
    assert receiver.ids()[0] == receiver.ids()[2] == one["webhook_id"]


def test_an_endpoint_is_changed_switched_and_deleted_and_all_of_it_is_in_the_audit(
    receiver: Receiver,
) -> None:
    api = client("read", "manage")
    made = api.post(ENDPOINTS, {"name": "shop", "url": receiver.url}, format="json")
    mine = f"{ENDPOINTS}{made.data['id']}/"
    happens()
    post_all()

    changed = api.patch(mine, {"types": ["opened"]}, format="json")
    assert (changed.status_code, changed.data["types"]) == (200, ["opened"])
    assert api.post(f"{mine}disable/").data["is_enabled"] is False
    assert api.post(f"{mine}enable/").data["is_enabled"] is True
    assert api.delete(mine).status_code == 204
    assert (Endpoint.objects.count(), Delivery.objects.count()) == (0, 0)
    assert list(AuditEntry.objects.order_by("pk").values_list("action", flat=True)) == [
        *("endpoint.create", "endpoint.partial_update", "endpoint.disable", "endpoint.enable"),
        "endpoint.destroy",
    ]
    assert set(AuditEntry.objects.values_list("object_id", flat=True)) == {made.data["id"]}


def test_what_was_given_up_is_replayed_since_a_time(receiver: Receiver) -> None:
    api = client("read", "manage")
    made = api.post(ENDPOINTS, {"name": "crm", "url": receiver.url}, format="json").data
    receiver.usually = answer(500)
    happens(number=2)
    post_all()
    Delivery.objects.update(status="failed")
    receiver.usually = answer(200)
    since = timezone.now() - timedelta(hours=1)

    said = api.post(f"{ENDPOINTS}{made['id']}/replay/", {"since": since}, format="json")
    late = api.post(
        f"{ENDPOINTS}{made['id']}/replay/", {"since": since - timedelta(days=40)}, format="json"
    )

    assert (said.status_code, said.data["queued"]) == (202, 2)
    assert late.status_code == 400
    post_all()
    assert set(Delivery.objects.values_list("status", flat=True)) == {"delivered"}


@pytest.mark.parametrize(
    "wish",
    [
        {"url": "https://10.0.0.1/"},
        {"url": "https://169.254.169.254/latest"},
        {"url": "ftp://example.com/"},
        {"url": "https://me:pw@example.com/"},
        {"types": ["exploded"]},
        {"surprise": 1},
        {"secrets": 7},
        {"is_enabled": False},
        {"campaign": 99_999},
    ],
)
def test_what_may_not_be_is_refused_with_words(wish: dict[str, Any], receiver: Receiver) -> None:
    body = {"name": "bad", "url": receiver.url, **wish}

    said = client("manage").post(ENDPOINTS, body, format="json")

    assert said.status_code == 400
    assert Endpoint.objects.count() == 0


def test_keys_need_their_scope(receiver: Receiver) -> None:
    made = client("manage").post(ENDPOINTS, {"name": "a", "url": receiver.url}, format="json").data
    reader = client("read")

    assert reader.get(ENDPOINTS).status_code == 200
    assert reader.post(ENDPOINTS, {"name": "b", "url": receiver.url}).status_code == 403
    assert reader.post(f"{ENDPOINTS}{made['id']}/rotate/").status_code == 403
    assert client("send").get(STREAM).status_code == 403
    assert APIClient().get(STREAM).status_code == 401


def test_the_feed_tells_every_event_once_in_order() -> None:
    api = client("read")
    happens("delivered", number=5)
    start = api.get(STREAM, {"limit": 2}).data
    assert len(start["events"]) == 2, "the newest, to begin with"

    told: list[int] = []
    after: int = 0
    while True:
        page = api.get(f"{STREAM}?after={after}&limit=2").data
        told += [each["id"] for each in page["events"]]
        after = page["next"]
        if not page["more"]:
            break
    assert told == list(Event.objects.order_by("pk").values_list("pk", flat=True))
    assert after == start["next"]

    happens("opened")
    page = api.get(f"{STREAM}?after={after}").data
    assert [each["type"] for each in page["events"]] == ["opened"]
    assert api.get(f"{STREAM}?after={page['next']}").data["events"] == []


def test_a_filtered_feed_moves_on_where_nothing_fits() -> None:
    happens("delivered", number=3)

    page = client("read").get(f"{STREAM}?after=0&type=bounced").data

    assert page["events"] == []
    assert page["next"] == Event.objects.order_by("-pk")[0].pk


@pytest.mark.parametrize("asked", ["after=x", "after=-1", "limit=501", "kind=a"])
def test_the_feed_refuses_what_it_does_not_know(asked: str) -> None:
    assert client("read").get(f"{STREAM}?{asked}").status_code == 400
