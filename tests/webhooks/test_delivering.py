"""Endpoints of others are told of every event, whatever they do and whoever dies."""

from __future__ import annotations

import base64
import hashlib
import hmac
import itertools
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from cryptography.fernet import Fernet
from django.conf import settings as django_settings
from django.core.management import call_command
from django.db import connection, connections, transaction
from django.db.models import F
from django.utils import timezone

from delivery.models import Alert, Message
from delivery.providers.base import Event as Heard
from delivery.providers.base import EventType
from emailplatform import calling, reaching
from emailplatform.calling import Answer
from tests import make
from tests.receiving import Receiver, answer
from webhooks import concluding, delivering, disabling, feeding, managing
from webhooks.models import Delivery, DeliveryTry, Endpoint, Event, Horizon

pytestmark = pytest.mark.django_db(transaction=True)
_number = itertools.count(1)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    calling.hang_up()
    server = Receiver()
    yield server
    server.close()
    calling.hang_up()


def endpoint(receiver: Receiver, **fields: Any) -> Endpoint:
    row = Endpoint(name=f"Endpoint {next(_number)}", url=receiver.url, **fields)
    managing.create(row, timezone.now())
    return row


def happens(kind: str = "delivered", message: Message | None = None, number: int = 1) -> None:
    """Let something happen to a mail, `number` times."""
    message = message or make.mail(f"person{next(_number)}@gmail.com", status="sent")
    heard = [
        Heard(
            type=EventType(kind),
            occurred_at=timezone.now(),
            recipient=message.email,
            dedupe_key=f"event-{next(_number)}",
            message_id=message.token,
        )
        for _ in range(number)
    ]
    with transaction.atomic():
        rows = [concluding.arrival(each, None, None, False) for each in heard]
        concluding.apply_events(rows, timezone.now())


def post_all(seconds: float = 10) -> None:
    """Turn until nothing is due and nothing under way."""
    stop_at = time.monotonic() + seconds
    feeding.feed(timezone.now())
    while delivering.turn(0.2, timezone.now()) or Delivery.objects.are_due(timezone.now()):
        assert time.monotonic() < stop_at, "It does not end."


def later(by: timedelta) -> None:
    """Move everything into the past by so much."""
    Delivery.objects.update(due_at=F("due_at") - by)
    Endpoint.objects.update(held_until=F("held_until") - by, failing_since=F("failing_since") - by)


def verified(secret: str, headers: dict[str, str], body: bytes) -> bool:
    """Check a signature by hand, from the specification's words alone."""
    content = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    key = base64.b64decode(secret.removeprefix("whsec_"))
    expected = base64.b64encode(hmac.digest(key, content, hashlib.sha256)).decode()
    return f"v1,{expected}" in headers["webhook-signature"].split(" ")


# --- What is told ------------------------------------------------------------------------


def test_an_event_is_posted_signed_once(receiver: Receiver) -> None:
    ours = endpoint(receiver)
    mail = make.mail(status="sent")
    happens("bounced", mail)

    post_all()
    post_all()

    [(headers, body)] = receiver.got
    [told] = receiver.bodies()
    assert verified(ours.secrets[0]["secret"], headers, body)
    assert told["type"] == "email.bounced"
    assert told["data"]["message"] == mail.token
    assert told["data"]["recipient"] == mail.email
    assert headers["webhook-id"] == f"evt_{Event.objects.get().pk}"
    row = Delivery.objects.get()
    assert (row.status, row.attempts, row.last_status) == ("delivered", 1, 200)
    assert (row.tries.get().status, row.tries.get().answer) == (200, "ok")


def test_only_what_was_asked_for_is_told(receiver: Receiver) -> None:
    campaign = make.campaign()
    endpoint(receiver, types=["bounced", "complained"], campaign=campaign, stream="marketing")
    wanted = make.message(campaign, status="sent")
    other = make.message(make.campaign(), status="sent")
    happens("bounced", wanted)
    happens("delivered", wanted)
    happens("bounced", other)
    happens("bounced", make.mail(status="sent"))

    post_all()

    [told] = receiver.bodies()
    assert (told["type"], told["data"]["message"]) == ("email.bounced", wanted.token)


def test_a_new_endpoint_is_told_of_what_happens_from_now_on(receiver: Receiver) -> None:
    happens("delivered")
    endpoint(receiver)
    happens("opened")

    post_all()

    assert [each["type"] for each in receiver.bodies()] == ["email.opened"]


def test_while_secrets_change_over_both_sign(receiver: Receiver) -> None:
    ours = endpoint(receiver)
    old = ours.secrets[0]["secret"]
    new = managing.rotate(ours, timezone.now())
    happens()
    post_all()
    [(headers, body)] = receiver.got
    assert verified(old, headers, body)
    assert verified(new, headers, body)

    managing.drop_older(ours)
    happens()
    post_all()

    headers, body = receiver.got[1]
    assert verified(new, headers, body)
    assert not verified(old, headers, body)


def test_secrets_are_not_readable_in_the_database(receiver: Receiver) -> None:
    ours = endpoint(receiver)

    with connection.cursor() as cursor:
        cursor.execute("SELECT secrets FROM webhooks_endpoint")
        [stored] = cursor.fetchone()
    assert ours.secrets[0]["secret"].removeprefix("whsec_") not in stored


def test_a_change_of_keys_takes_the_secrets_of_endpoints_along(
    receiver: Receiver, settings: Any
) -> None:
    ours = endpoint(receiver)
    known = ours.secrets
    settings.ENCRYPTION_KEYS = [Fernet.generate_key().decode(), *settings.ENCRYPTION_KEYS]

    call_command("rotate_secrets")

    settings.ENCRYPTION_KEYS = settings.ENCRYPTION_KEYS[:1]
    ours.refresh_from_db()
    assert ours.secrets == known


# --- Order of commits --------------------------------------------------------------------


def test_events_that_are_committed_out_of_order_are_all_told(receiver: Receiver) -> None:
    """The lower number is committed last: nobody passes it by."""
    endpoint(receiver)
    mail = make.mail(status="sent")
    slow = connections.create_connection("default")
    try:
        with slow.cursor() as cursor:
            cursor.execute("BEGIN")
            cursor.execute(
                "INSERT INTO webhooks_event (dedupe_key, type, occurred_at, message_id, recipient)"
                " VALUES ('slow', 'delivered', now(), %s, %s) RETURNING id",
                [mail.pk, mail.email],
            )
            [low] = cursor.fetchone()
            happens("opened", mail)
            high = Event.objects.get(type="opened").pk
            assert low < high

            post_all()
            assert Horizon.objects.settled() < low
            assert receiver.got == []
            cursor.execute("COMMIT")
    finally:
        slow.close()

    post_all()
    assert sorted(receiver.ids()) == [f"evt_{low}", f"evt_{high}"]


def test_who_writes_elsewhere_holds_nothing_back() -> None:
    slow = connections.create_connection("default")
    try:
        with slow.cursor() as cursor:
            cursor.execute("BEGIN")
            cursor.execute(
                "INSERT INTO subscribers_mailinglist (name, description) VALUES ('x','')"
            )
            happens()

            assert Horizon.objects.settled() == Event.objects.order_by("-pk")[0].pk
    finally:
        slow.close()


# --- What is not taken -------------------------------------------------------------------


@pytest.mark.parametrize("status", [302, 400, 500])
def test_what_is_not_taken_is_posted_again_with_the_same_id(
    receiver: Receiver, status: int
) -> None:
    endpoint(receiver)
    receiver.answers = [answer(status, b"no", Location=receiver.url)]
    happens()
    post_all()

    row = Delivery.objects.get()
    assert (row.status, row.last_status) == ("pending", status)
    assert str(status) in row.last_error
    assert timedelta(seconds=3) < row.due_at - timezone.now() < timedelta(seconds=6)

    later(timedelta(seconds=6))
    post_all()

    first, second = receiver.ids()
    assert first == second
    assert Delivery.objects.get().status == "delivered"
    assert list(DeliveryTry.objects.order_by("pk").values_list("status", flat=True)) == [
        status,
        200,
    ]


def test_the_last_try_comes_before_an_endpoint_that_never_answers_is_switched_off() -> None:
    now = make.NOW
    waits = []
    for attempts in itertools.count(1):
        due_at = delivering.next_try(attempts, Answer(500, 1), now)
        if due_at is None:
            break
        waits.append(due_at - now)

    assert len(waits) == 9
    for found, said in zip(waits, delivering.WAITS, strict=True):
        assert said * 0.9 <= found <= said * 1.1
    assert list(delivering.WAITS) == sorted(delivering.WAITS)
    longest = sum(delivering.WAITS, timedelta()) * (1 + delivering.JITTER)
    held = len(delivering.WAITS) * timedelta(minutes=15)
    assert longest + held <= disabling.PATIENCE


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("120", 120),
        ("Mon, 23 Nov 2026 10:05:00 GMT", 300),
        ("Mon, 23 Nov 2026 09:00:00 GMT", 0),
        ("99999999999999999999", 86_400),
        ("-5", 0),
        ("soon", 0),
        ("Mon, 01 Jan 99999999999 00:00:00 GMT", 0),
        ("Mon, 23 Nov 2026 10:05:00 +9999999999999999999999", 0),
        ("", 0),
    ],
)
def test_a_pause_that_is_asked_for_is_kept(said: str, seconds: int) -> None:
    assert delivering.pause_asked(said, make.NOW) == timedelta(seconds=seconds)


def test_one_that_has_enough_is_left_alone_as_a_whole(receiver: Receiver) -> None:
    ours = endpoint(receiver)
    receiver.answers = [answer(429, Retry_After="100")]
    happens()
    post_all()
    happens()

    feeding.feed(timezone.now())
    assert delivering.turn(0.2, timezone.now()) == 0

    assert len(receiver.got) == 1
    ours.refresh_from_db()
    assert ours.held_until is not None
    assert ours.held_until > timezone.now() + timedelta(seconds=90)


def test_one_that_is_gone_is_switched_off_at_once_and_operators_are_told(
    receiver: Receiver,
) -> None:
    ours = endpoint(receiver)
    receiver.usually = answer(410)
    happens()

    post_all()
    happens()
    post_all()

    ours.refresh_from_db()
    assert not ours.is_enabled
    assert "410" in ours.disabled_reason
    assert len(receiver.got) == 1
    alert = Alert.objects.get()
    assert (alert.kind, alert.subject) == (disabling.ALERT, ours.name)


def test_one_that_fails_for_three_days_is_switched_off_and_can_be_mended(
    receiver: Receiver,
) -> None:
    ours = endpoint(receiver)
    receiver.usually = answer(500)
    happens()
    post_all()
    later(timedelta(days=2, hours=23))
    assert delivering.turn(0.2, timezone.now())
    ours.refresh_from_db()
    assert ours.is_enabled

    later(timedelta(hours=2))
    delivering.turn(0, timezone.now())
    ours = Endpoint.objects.get()
    assert not ours.is_enabled
    assert "3 days" in ours.disabled_reason
    happens("opened")
    post_all()

    receiver.usually = answer(204)
    receiver.got.clear()
    managing.enable(ours, timezone.now())
    later(timedelta(days=1))
    post_all()
    assert [each["type"] for each in receiver.bodies()] == ["email.delivered"], "what still waited"
    assert Alert.objects.get().resolved_at is not None

    assert managing.replay_since(ours, timezone.now() - timedelta(hours=1), timezone.now()) == 1
    post_all()
    assert receiver.bodies()[-1]["type"] == "email.opened"


def test_one_success_ends_the_count_of_failures(receiver: Receiver) -> None:
    ours = endpoint(receiver)
    receiver.answers = [answer(500)]
    happens()
    post_all()
    later(timedelta(days=4))
    Endpoint.objects.filter(pk=ours.pk).update(failing_since=timezone.now() - timedelta(days=1))
    post_all()

    ours.refresh_from_db()
    assert (ours.failures, ours.failing_since, ours.is_enabled) == (0, None, True)


def test_what_was_given_up_can_be_sent_again(receiver: Receiver) -> None:
    ours = endpoint(receiver)
    receiver.usually = answer(500)
    happens(number=3)
    feeding.feed(timezone.now())
    Delivery.objects.update(attempts=len(delivering.WAITS))
    post_all()
    assert set(Delivery.objects.values_list("status", flat=True)) == {"failed"}

    receiver.usually = answer(200)
    later(timedelta(hours=1))
    assert managing.replay_since(ours, timezone.now() - timedelta(hours=1), timezone.now()) == 3
    post_all()

    assert set(Delivery.objects.values_list("status", flat=True)) == {"delivered"}
    assert set(Counter(receiver.ids()).values()) == {2}
    assert managing.replay_since(ours, timezone.now() - timedelta(hours=1), timezone.now()) == 0


def test_an_address_that_has_become_private_is_not_posted_to(
    receiver: Receiver, settings: Any
) -> None:
    endpoint(receiver)
    happens()
    settings.OUTGOING_NETWORKS = []

    post_all()

    assert receiver.got == []
    assert "public internet" in Delivery.objects.get().last_error


def test_old_deliveries_are_forgotten_with_their_tries(receiver: Receiver) -> None:
    endpoint(receiver)
    happens(number=2)
    post_all()
    Delivery.objects.filter(pk=Delivery.objects.all()[0].pk).update(
        ended_at=timezone.now() - timedelta(days=31)
    )

    assert delivering.forget(timezone.now()) == 1
    assert (Delivery.objects.count(), DeliveryTry.objects.count()) == (1, 1)


def test_a_strange_pause_stops_nobody(receiver: Receiver) -> None:
    endpoint(receiver)
    receiver.answers = [answer(503, Retry_After="Mon, 01 Jan 99999999999 00:00:00 GMT")]
    happens()
    post_all()
    happens()
    post_all()

    assert sorted(Delivery.objects.values_list("status", flat=True)) == ["delivered", "pending"]


def test_what_cannot_be_written_down_takes_nothing_else_along(
    receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    """The answer of one is refused by the database; its lease runs out, and it is posted again."""
    endpoint(receiver)
    happens(number=5)
    feeding.feed(timezone.now())
    bad = Delivery.objects.order_by("pk")[2]
    with connection.cursor() as cursor:
        cursor.execute(
            "ALTER TABLE webhooks_delivery ADD CONSTRAINT test_no_answer"
            f" CHECK (id <> {bad.pk} OR last_status = 0)"
        )
    try:
        post_all()
        rows = dict(Delivery.objects.values_list("pk", "status"))
        assert rows.pop(bad.pk) == "pending"
        assert set(rows.values()) == {"delivered"}
        assert DeliveryTry.objects.count() == 4
        assert not delivering.sender().is_busy
        assert "post_not_written" in caplog.text
    finally:
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE webhooks_delivery DROP CONSTRAINT test_no_answer")

    later(timedelta(seconds=61))
    post_all()
    assert Delivery.objects.get(pk=bad.pk).status == "delivered"


# --- Side by side ------------------------------------------------------------------------


def test_a_slow_endpoint_keeps_no_other_waiting(receiver: Receiver) -> None:
    stuck = Receiver()

    def hang(_client: socket.socket) -> None:
        stuck.is_over.wait(20)

    stuck.usually = hang
    slow = endpoint(stuck)
    quick = [endpoint(receiver) for _ in range(3)]
    happens(number=50)

    begun = time.monotonic()
    feeding.feed(timezone.now())
    while Delivery.objects.filter(endpoint__in=quick).exclude(status="delivered").exists():
        assert time.monotonic() - begun < 5, "They wait."
        delivering.turn(0.1, timezone.now())

    under_way = Delivery.objects.filter(endpoint=slow, leased_until__gt=timezone.now())
    assert under_way.count() == django_settings.OUTGOING_AT_ONCE
    assert len(receiver.got) == 150
    Endpoint.objects.filter(pk=slow.pk).update(is_enabled=False)
    stuck.close()
    post_all()


def test_no_more_is_taken_than_there_are_threads_and_those_with_nothing_under_way_come_first(
    receiver: Receiver,
) -> None:
    endpoints = [endpoint(receiver) for _ in range(8)]
    happens(number=5)
    feeding.feed(timezone.now())
    now = timezone.now()

    def claimed() -> list[int]:
        return sorted(
            each.endpoint for each in Delivery.objects.claim(1, 3, 6, now, delivering.LEASE)
        )

    numbers = [each.pk for each in endpoints]
    first, second = claimed(), claimed()

    assert (len(first), len(second)) == (6, 6)
    assert set(numbers) - set(first) <= set(second), "Those that waited come next."
    [(_, most), *_] = Counter(first + second).most_common(1)
    assert most == 2


def test_a_post_that_was_not_begun_for_want_of_a_look_up_uses_up_no_try(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = endpoint(receiver)
    happens()

    def full(_place: Any) -> Any:
        raise reaching.Busy

    with monkeypatch.context() as patched:
        patched.setattr(reaching, "_looked_up", full)
        post_all()

    row = Delivery.objects.get()
    assert (row.status, row.attempts, row.leased_until) == ("pending", 0, None)
    assert timedelta(seconds=1) < row.due_at - timezone.now() < timedelta(seconds=10)
    assert not row.tries.exists()
    ours.refresh_from_db()
    assert (ours.failures, ours.failing_since, ours.last_error) == (0, None, "")

    later(timedelta(seconds=10))
    post_all()
    assert Delivery.objects.get().status == "delivered"


def dispatcher() -> subprocess.Popen[bytes]:
    """A process of its own, on the test's database."""
    database = connection.settings_dict
    host = database["HOST"]
    url = f"postgres://{database['USER']}@/{database['NAME']}?host={host}"
    if not host.startswith("/"):
        url = f"postgres://{database['USER']}:{database['PASSWORD']}@{host}:{database['PORT']}/{database['NAME']}"
    return subprocess.Popen(
        [sys.executable, "manage.py", "dispatch"],
        cwd=django_settings.BASE_DIR,
        env={
            **os.environ,
            "DATABASE_URL": url,
            "LOCAL": "on",
            "VAR_DIR": str(django_settings.VAR_DIR),
        },
        stdout=subprocess.DEVNULL,
    )


@pytest.mark.crash
def test_a_sender_that_is_killed_in_the_middle_loses_nothing(receiver: Receiver) -> None:
    dice = random.Random("outgoing")
    endpoint(receiver)
    happens(number=300)
    everything = {f"evt_{pk}" for pk in Event.objects.values_list("pk", flat=True)}

    for _ in range(3):
        got = len(receiver.got)
        running = dispatcher()
        wait_until(lambda got=got: len(receiver.got) >= min(got + 20, 280))
        time.sleep(dice.uniform(0, 0.02))
        running.send_signal(signal.SIGKILL)
        running.wait()
        # The dead keep their leases; the test does not wait for those to run out.
        past = timezone.now() - timedelta(seconds=1)
        Delivery.objects.filter(leased_until__gt=past).update(due_at=past, leased_until=past)
    last = dispatcher()
    wait_until(lambda: not Delivery.objects.exclude(status="delivered").exists())
    last.terminate()
    assert last.wait(timeout=30) == 0

    assert set(receiver.ids()) == everything
    assert Delivery.objects.count() == 300


def wait_until(is_so: Any, seconds: float = 60) -> None:
    stop_at = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < stop_at, "It does not come."
        time.sleep(0.01)
