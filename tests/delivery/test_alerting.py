"""Operators are told once, with a count, of what is wrong, and that it is over."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from django.core.checks import run_checks

from delivery import alerting, sending, telling
from delivery.models import Alert, Mail, Message, Notice
from emailplatform import posting
from emailplatform.posting import Endpoint
from tests import make, pages, scripted

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


class Receiver:
    """A real HTTP server that keeps what it got and answers as the test says."""

    def __init__(self) -> None:
        self.got: list[tuple[dict[str, str], bytes]] = []
        self.answers: list[int] = []
        keeper = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                keeper.got.append(({k.lower(): v for k, v in self.headers.items()}, body))
                self.send_response(keeper.answers.pop(0) if keeper.answers else 204)
                self.send_header("Location", keeper.url + "elsewhere")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/"
        self._thread = threading.Thread(target=self._server.serve_forever, args=[0.05])
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def types(self) -> list[str]:
        return [json.loads(body)["type"] for _headers, body in self.got]


@pytest.fixture
def receiver(settings: Any) -> Iterator[Receiver]:
    server = Receiver()
    settings.ALERT_WEBHOOK_URL, settings.ALERT_WEBHOOK_SECRET = server.url, SECRET
    settings.OPERATORS, settings.ALERT_FROM = [], ""
    yield server
    server.close()


def raised(now: datetime = NOW, **more: Any) -> int:
    return alerting.raise_alert("provider", "SendGrid", "Its key is wrong.", {"n": 1}, now, **more)


def verified(headers: dict[str, str], body: bytes) -> bool:
    """Check a signature by hand, from the specification's words alone."""
    content = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    key = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    expected = base64.b64encode(hmac.digest(key, content, hashlib.sha256)).decode()
    return f"v1,{expected}" in headers["webhook-signature"].split(" ")


def test_a_body_is_signed_as_the_standard_webhooks_vector_says() -> None:
    moment = datetime.fromtimestamp(1614265330, UTC)
    uid, body = "msg_p5jXN8AQM9LWM0D4loKWxJek", b'{"test": 2432232314}'

    headers = posting.signed(Endpoint("https://example.com", SECRET), uid, body, moment)

    assert headers == {
        "webhook-id": uid,
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


def test_a_made_secret_is_one_that_may_be_used() -> None:
    assert len(posting.key_of(posting.make_secret())) == 32


def test_what_is_wrong_is_posted_signed_once(receiver: Receiver) -> None:
    pk = raised()

    assert [telling.tell(NOW), telling.tell(NOW + timedelta(minutes=1))] == [1, 0]

    [(headers, body)] = receiver.got
    assert verified(headers, body)
    assert not verified(headers, body + b" ")
    assert headers["webhook-timestamp"] == str(int(NOW.timestamp()))
    told = json.loads(body)
    assert told["type"] == "alert.raised"
    assert (told["data"]["id"], told["data"]["kind"], told["data"]["count"]) == (pk, "provider", 1)
    assert told["data"]["text"] == "Its key is wrong."


def test_raised_again_it_is_the_same_alert_and_told_again_only_later_with_its_count(
    receiver: Receiver,
) -> None:
    raised()
    telling.tell(NOW)
    for minute in range(1, 5):
        raised(NOW + timedelta(minutes=minute))
        telling.tell(NOW + timedelta(minutes=minute))

    assert receiver.types() == ["alert.raised"]

    telling.tell(NOW + timedelta(minutes=61))
    telling.tell(NOW + timedelta(minutes=61 + 61))  # the second reminder waits twice as long
    telling.tell(NOW + timedelta(minutes=61 + 121))

    assert receiver.types() == ["alert.raised", "alert.repeated", "alert.repeated"]
    assert json.loads(receiver.got[1][1])["data"]["count"] == 5
    assert Alert.objects.get().count == 5


def test_what_only_goes_on_is_not_counted_again(receiver: Receiver) -> None:
    raised(times=0)
    raised(times=0)

    assert Alert.objects.get().count == 1


def test_what_is_over_is_told_as_over(receiver: Receiver) -> None:
    raised()
    telling.tell(NOW)

    assert alerting.resolve("provider", "SendGrid", NOW + timedelta(minutes=5))
    telling.tell(NOW + timedelta(minutes=5))
    telling.tell(NOW + timedelta(minutes=6))

    assert receiver.types() == ["alert.raised", "alert.resolved"]
    assert not alerting.resolve("provider", "SendGrid", NOW)


def test_what_comes_and_goes_is_told_once_in_an_hour(receiver: Receiver) -> None:
    for minute in range(6):
        now = NOW + timedelta(minutes=minute)
        raised(now)
        telling.tell(now)
        alerting.resolve("provider", "SendGrid", now)
        telling.tell(now)

    assert receiver.types() == ["alert.raised", "alert.resolved"]

    raised(NOW + timedelta(minutes=10))
    telling.tell(NOW + timedelta(minutes=61))

    assert receiver.types()[2:] == ["alert.raised"], "it stayed: somebody must know"
    assert Alert.objects.count() == 7


def test_only_what_is_over_is_resolved_of_a_kind(receiver: Receiver) -> None:
    raised()
    alerting.raise_alert("provider", "Mailgun", "Down.", {}, NOW)
    alerting.raise_alert("redis", "Redis", "Away.", {}, NOW)

    assert alerting.resolve_others("provider", ["Mailgun"], NOW) == 1

    assert set(Alert.objects.open().values_list("subject", flat=True)) == {"Mailgun", "Redis"}


@pytest.mark.parametrize("status", [500, 302, 410])
def test_a_webhook_that_is_not_taken_is_posted_again_with_the_same_id(
    receiver: Receiver, status: int
) -> None:
    receiver.answers = [status]
    raised()

    assert telling.tell(NOW) == 0
    assert telling.tell(NOW + timedelta(seconds=4)) == 0
    notice = Notice.objects.get()
    assert str(status) in notice.error
    assert telling.tell(NOW + timedelta(seconds=6)) == 1

    first, second = receiver.got
    assert first[0]["webhook-id"] == second[0]["webhook-id"] == notice.uid
    assert verified(*second)
    assert len(receiver.got) == 2, "a redirect is not followed"


def test_nobody_listens_and_it_is_kept_for_later(receiver: Receiver, settings: Any) -> None:
    settings.ALERT_WEBHOOK_URL = "http://127.0.0.1:9/"
    raised()
    telling.tell(NOW)
    notice = Notice.objects.get()

    assert notice.error.startswith("Not reached")
    assert (notice.sent_at, notice.due_at) == (None, NOW + timedelta(seconds=5))

    settings.ALERT_WEBHOOK_URL = receiver.url
    assert telling.tell(NOW + timedelta(seconds=10)) == 1


def test_a_webhook_is_given_up_after_about_a_day(receiver: Receiver) -> None:
    receiver.answers = [500] * 50
    raised()
    now = NOW
    while not Notice.objects.filter(given_up_at__isnull=False).exists():
        alerting.queue_notices(NOW)
        telling._post_due(now)
        now = Notice.objects.get().due_at

    assert timedelta(hours=20) < now - NOW < timedelta(hours=30)
    assert len(receiver.got) == len(telling.WAITS) + 1


def test_a_worker_that_dies_while_telling_loses_nothing(receiver: Receiver) -> None:
    raised()
    alerting.queue_notices(NOW)
    Notice.objects.take(NOW, telling.LEASE, "webhook")  # and then it is killed

    assert telling.tell(NOW + timedelta(seconds=30)) == 0, "another one has it"
    assert telling.tell(NOW + timedelta(seconds=61)) == 1


def test_operators_get_mail_through_our_own_engine(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted.install(monkeypatch)
    account = scripted.account()
    settings.ALERT_WEBHOOK_URL = ""
    settings.OPERATORS = ["ops@example.com", "night@example.com"]
    settings.ALERT_FROM = "alerts@example.com"
    raised()

    telling.tell(NOW)
    telling.tell(NOW)
    sending.send_slice(5)

    assert sorted(scripted.Scripted.sent_to(account)) == ["night@example.com", "ops@example.com"]
    batch = scripted.Scripted.calls[account.pk][0]
    assert batch.from_email == "alerts@example.com"
    assert "A provider needs you: SendGrid" in str(batch.subject)
    assert "Its key is wrong." in str(batch.text)
    assert {each.stream for each in Message.objects.all()} == {"critical"}


def test_a_campaign_with_a_line_break_in_its_name_keeps_no_alert_from_operators(
    settings: Any,
) -> None:
    settings.OPERATORS, settings.ALERT_FROM = ["op@example.com"], "alerts@example.com"
    alerting.raise_alert("campaign", "Sale\n2026 (campaign 7)", "It stopped.", {}, NOW)

    telling.tell(NOW)

    assert Mail.objects.get().subject == "A campaign stopped: Sale 2026 (campaign 7)"


def test_without_a_channel_alerts_wait_in_the_admin(settings: Any) -> None:
    settings.OPERATORS, settings.ALERT_WEBHOOK_URL = [], ""
    raised()

    assert telling.tell(NOW) == 0
    page = pages.text(pages.member("Viewer").get("/admin/delivery/alert/"))

    assert "A provider needs you" in page
    assert "Its key is wrong." in page
    assert Alert.objects.get().tellings == 0


def test_the_overview_shows_what_is_wrong_until_it_is_over(settings: Any) -> None:
    pages.use_own_cache(settings)
    make.account()
    alerting.raise_alert("redis", "Redis", "Redis does not answer.", {}, NOW)
    viewer = pages.member("Viewer")

    assert "Redis does not answer." in pages.text(viewer.get("/admin/"))

    alerting.resolve("redis", "Redis", NOW)
    pages.use_own_cache(settings)
    assert "Redis does not answer." not in pages.text(viewer.get("/admin/"))


@pytest.mark.parametrize(
    ("url", "secret", "is_local", "ids"),
    [
        ("https://example.com/alerts", SECRET, False, []),
        ("http://127.0.0.1:8080/alerts", SECRET, True, []),
        ("http://127.0.0.1:8080/alerts", SECRET, False, ["delivery.E010"]),
        ("https://example.com/alerts", "", True, ["delivery.E010"]),
        ("https://example.com/alerts", "whsec_c2hvcnQ=", True, ["delivery.E010"]),
        ("https://me:word@example.com/alerts", SECRET, True, ["delivery.E010"]),
        ("gopher://example.com", SECRET, True, ["delivery.E010"]),
    ],
)
def test_a_webhook_that_is_not_safe_is_refused_at_start(
    settings: Any, url: str, secret: str, is_local: bool, ids: list[str]
) -> None:
    settings.ALERT_WEBHOOK_URL, settings.ALERT_WEBHOOK_SECRET = url, secret
    settings.LOCAL = is_local

    assert [each.id for each in run_checks() if each.id == "delivery.E010"] == ids


def test_what_would_not_be_safe_is_not_posted(receiver: Receiver, settings: Any) -> None:
    settings.LOCAL = False
    raised()

    assert telling.tell(NOW) == 0
    assert receiver.got == []
    assert "https" in Notice.objects.get().error


def test_operators_without_a_sender_are_refused_at_start(settings: Any) -> None:
    settings.OPERATORS, settings.ALERT_FROM = ["ops@example.com"], ""

    assert "delivery.E011" in {each.id for each in run_checks()}
