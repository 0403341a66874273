"""Operators make endpoints, see how they do and mend them; everybody watches events come."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.utils import timezone

from emailplatform import calling
from emailplatform.roles import write_roles
from tests import make, pages
from tests.receiving import Receiver, answer
from tests.webhooks.test_delivering import happens, post_all
from webhooks import disabling, managing
from webhooks.models import Delivery, Endpoint, Event

pytestmark = pytest.mark.django_db(transaction=True)
LIST = "/admin/webhooks/endpoint/"
LIVE = "/admin/webhooks/event/live/"


@pytest.fixture(autouse=True)
def fresh(settings: Any) -> None:
    write_roles()
    pages.use_own_cache(settings)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    calling.hang_up()
    server = Receiver()
    yield server
    server.close()
    calling.hang_up()


def made(receiver: Receiver, **fields: Any) -> Endpoint:
    row = Endpoint(name="shop", url=receiver.url, **fields)
    managing.create(row, timezone.now())
    return row


def test_an_operator_makes_one_sees_its_secret_once_and_tries_it(receiver: Receiver) -> None:
    operator = pages.member("Operator")
    assert "Nobody is told of events yet" in pages.text(operator.get(LIST))

    page = pages.text(
        operator.post(f"{LIST}add/", {"name": "shop", "url": receiver.url, "types": ["bounced"]})
    )

    endpoint = Endpoint.objects.get()
    secret = endpoint.secrets[0]["secret"]
    assert secret in page
    assert str(endpoint.created_by)
    mine = f"{LIST}{endpoint.pk}/"
    assert secret not in pages.text(operator.get(f"{mine}change/"))
    said = pages.text(operator.post(f"{mine}test/", follow=True))
    assert "The test was taken: 200" in said
    assert "test_" in said


def test_a_private_address_is_refused_at_the_field(settings: Any) -> None:
    settings.OUTGOING_NETWORKS = []

    page = pages.text(
        pages.member("Operator").post(
            f"{LIST}add/", {"name": "inside", "url": "https://10.1.2.3/hook"}
        )
    )

    assert "not on the public internet" in page
    assert Endpoint.objects.count() == 0


def test_secrets_change_over(receiver: Receiver) -> None:
    operator, endpoint = pages.member("Operator"), made(receiver)
    mine = f"{LIST}{endpoint.pk}/"

    page = pages.text(operator.post(f"{mine}rotate/"))

    endpoint.refresh_from_db()
    assert len(endpoint.secrets) == 2
    assert endpoint.secrets[0]["secret"] in page
    operator.post(f"{mine}drop-secrets/")
    endpoint.refresh_from_db()
    assert len(endpoint.secrets) == 1


def test_one_that_was_switched_off_says_why_and_is_switched_on(receiver: Receiver) -> None:
    operator, endpoint = pages.member("Operator"), made(receiver)
    disabling.disable(endpoint, disabling.GONE, timezone.now())
    mine = f"{LIST}{endpoint.pk}/"
    page = pages.text(operator.get(f"{mine}change/"))
    assert "410 Gone" in page
    assert "Switch on" in page

    operator.post(f"{mine}enable/")

    endpoint.refresh_from_db()
    assert endpoint.is_enabled


def test_the_log_shows_every_try_and_sends_again(receiver: Receiver) -> None:
    operator, endpoint = pages.member("Operator"), made(receiver)
    receiver.answers = [answer(500, b"database is down")]
    happens("bounced")
    post_all()
    mine, row = f"{LIST}{endpoint.pk}/", Delivery.objects.get()
    page = pages.text(operator.get(f"{mine}change/?status=pending"))
    assert "It answered 500." in page
    assert "Nothing of that kind" in pages.text(operator.get(f"{mine}change/?status=failed"))
    assert "database is down" in pages.text(operator.get(f"{mine}log/{row.pk}/"))

    Delivery.objects.update(status="failed")
    said = pages.text(operator.post(f"{mine}replay/", {"hours": "24"}, follow=True))
    assert "1 events of the last day are sent" in said
    Endpoint.objects.update(held_until=None)
    post_all()
    assert Delivery.objects.get().status == "delivered"
    operator.post(f"{mine}replay/{row.pk}/")
    assert Delivery.objects.get().status == "pending"


def test_a_viewer_looks_and_changes_nothing(receiver: Receiver) -> None:
    viewer, endpoint = pages.member("Viewer"), made(receiver)
    mine = f"{LIST}{endpoint.pk}/"

    assert "Send again" not in pages.text(viewer.get(f"{mine}change/"))
    for deed in ("rotate", "drop-secrets", "test", "enable", "disable", "replay"):
        assert viewer.post(f"{mine}{deed}/").status_code == 403
    assert receiver.got == []


def test_one_is_deleted_with_its_log(receiver: Receiver) -> None:
    operator, endpoint = pages.member("Operator"), made(receiver)
    happens(number=3)
    post_all()

    operator.post(f"{LIST}{endpoint.pk}/delete/", {"post": "yes"})

    assert (Endpoint.objects.count(), Delivery.objects.count()) == (0, 0)


# --- Live --------------------------------------------------------------------------------


def test_the_live_page_shows_the_newest_and_answers_304_while_nothing_is_new(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    viewer = pages.member("Viewer")
    mail = make.mail("ana@gmail.com", status="sent")
    happens("bounced", mail)
    page = pages.text(viewer.get(LIVE))
    assert "ana@gmail.com" in page

    first = viewer.get(f"{LIVE}now/")
    again = viewer.get(f"{LIVE}now/", headers={"if-none-match": first["ETag"]})
    assert (first.status_code, again.status_code, again.content) == (200, 304, b"")

    happens("opened", mail)
    pages.use_own_cache(settings)
    since = Event.objects.get(type="bounced").pk
    third = viewer.get(f"{LIVE}now/?since={since}", headers={"if-none-match": first["ETag"]})
    assert third.status_code == 200
    assert len(re.findall("ui-new", third.content.decode())) == 1


def test_the_live_page_is_filtered(settings: Any) -> None:
    viewer, campaign = pages.member("Viewer"), make.launched([make.mailing_list()])
    happens("bounced", make.message(campaign, make.subscriber("in@gmail.com"), status="sent"))
    happens("opened", make.mail("out@gmail.com", status="sent"))

    for asked in (f"campaign={campaign.pk}", "type=bounced"):
        rows = viewer.get(f"{LIVE}now/?{asked}").content.decode()
        assert "in@gmail.com" in rows
        assert "out@gmail.com" not in rows
    assert "out@gmail.com" in viewer.get(f"{LIVE}now/?type=x&campaign=y").content.decode()
