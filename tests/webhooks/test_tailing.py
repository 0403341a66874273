"""The log of a Postfix, from its lines to messages: over restarts, kills, and mail of others."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone

from delivery.models import Message, ProviderAccount
from subscribers.models import Suppression
from tests import make
from tests.delivery.providers.test_postfix_log import LOG
from webhooks import tailing
from webhooks.applying import apply_pending
from webhooks.models import Event, LogPosition, QueueId, RawRequest
from webhooks.tailing import Tail

pytestmark = pytest.mark.django_db


@pytest.fixture
def account() -> ProviderAccount:
    return make.account("Own Postfix", kind="smtp", config={"host": "127.0.0.1"}, secrets={})


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "mail.log"


def mailed(account: ProviderAccount, **fields: Any) -> Message:
    given: dict[str, Any] = {
        "status": "sent",
        "sent_at": timezone.now(),
        "provider": account,
        **fields,
    }
    return make.message(make.launched(), **given)


def queued_as(message: Message, queue_id: str = "4135B3FC06") -> str:
    return _line(
        f"cleanup[1]: {queue_id}: message-id=<{message.token}@{settings.MESSAGE_ID_DOMAIN}>"
    )


def tried(message: Message, status: str, said: str, queue_id: str = "4135B3FC06") -> str:
    code = {"sent": "2.0.0", "deferred": "4.0.0", "bounced": "5.0.0"}[status]
    return _line(
        f"smtp[2]: {queue_id}: to=<{message.email}>, relay=mail.example.net[192.0.2.7]:25, delay=1,"
        f" delays=0/0/0/1, dsn={code}, status={status} ({said})"
    )


def _line(rest: str) -> str:
    return f"{timezone.now():%Y-%m-%dT%H:%M:%S}Z mx postfix/{rest}"


def write(log: Path, *lines: str) -> None:
    with log.open("a") as file:
        file.writelines(f"{line}\n" for line in lines)


def tail(log: Path, **options: str) -> None:
    """Read what is new in the log, in a process of its own as it were, and apply it."""
    call_command("tail_postfix", str(log), once=True, **options)
    while apply_pending(100, timezone.now()):
        pass


def reason_of(message: Message) -> str:
    row = Suppression.objects.filter(address_key=bytes(message.address_key)).first()
    return row.reason if row else ""


def test_the_lines_of_a_log_become_what_is_known_of_messages(log, account):
    gone, full, late, arrived = (mailed(account) for _ in range(4))
    write(
        log,
        *(queued_as(each, f"{n:06X}") for n, each in enumerate((gone, full, late, arrived))),
        tried(gone, "bounced", "host said: 550 5.1.1 no such user", "000000"),
        tried(full, "bounced", "host said: 552 4.2.2 User has full mailbox", "000001"),
        tried(late, "deferred", "host said: 451 4.7.1 Greylisted", "000002"),
        tried(arrived, "sent", "250 2.0.0 Ok", "000003"),
    )

    tail(log)

    for message in (gone, full, late, arrived):
        message.refresh_from_db()
    assert (gone.bounce_class, full.bounce_class) == ("hard", "soft")
    assert late.deferred_at
    assert not late.bounced_at
    assert arrived.delivered_at
    assert [reason_of(each) for each in (gone, full, late)] == ["bounced", "", ""]
    account.refresh_from_db()
    assert account.last_heard_at


def test_a_queue_id_is_known_after_a_restart_and_forgotten_when_postfix_is_done(log, account):
    first, second = mailed(account), mailed(account)
    write(log, queued_as(first))
    tail(log)
    write(log, tried(first, "sent", "250 Ok"), _line("qmgr[3]: 4135B3FC06: removed"))
    tail(log)
    assert not QueueId.objects.exists()

    write(log, queued_as(second), tried(second, "bounced", "550 5.1.1 no such user"))
    tail(log)

    first.refresh_from_db()
    second.refresh_from_db()
    assert (first.delivered_at is not None, first.bounced_at) == (True, None)
    assert second.bounce_class == "hard"


def test_a_queue_id_that_is_used_again_for_mail_of_others_is_theirs(log, account):
    message = mailed(account)
    write(log, queued_as(message))
    tail(log)
    write(
        log,
        _line("cleanup[1]: 4135B3FC06: message-id=<other@elsewhere.example>"),
        tried(message, "bounced", "550 5.1.1 no such user"),
    )
    tail(log)

    assert not RawRequest.objects.exists()


def test_mail_that_expires_is_a_soft_bounce_of_whom_it_waited_for(log, account):
    message = mailed(account)
    write(log, queued_as(message), tried(message, "deferred", "connect to mail: timed out"))
    tail(log)
    write(
        log, _line("qmgr[3]: 4135B3FC06: from=<x@example.com>, status=expired, returned to sender")
    )
    tail(log)

    message.refresh_from_db()
    assert message.bounce_class == "soft"
    told = Event.objects.get(type="bounced")
    assert (told.recipient, told.reason) == (
        message.email,
        "Not delivered in time: connect to mail: timed out",
    )


def test_a_message_in_doubt_is_settled_by_the_log(log, account):
    message = mailed(account, status="unknown", sent_at=None)
    write(log, queued_as(message), tried(message, "deferred", "451 4.7.1 later"))

    tail(log)

    message.refresh_from_db()
    assert message.status == "sent"


def test_mail_of_another_server_is_not_believed_with_an_account_named(log, account):
    other = make.account("Second", kind="smtp", config={"host": "127.0.0.1"}, secrets={})
    message = mailed(other)
    write(log, queued_as(message), tried(message, "bounced", "550 5.1.1 no such user"))

    tail(log, account="Own Postfix")

    message.refresh_from_db()
    assert not message.bounced_at
    assert Event.objects.get().standing == Event.Standing.FOREIGN


def test_a_local_user_who_forges_our_message_id_harms_nobody(log, account):
    message, victim = mailed(account), mailed(account)
    write(log, queued_as(message), tried(victim, "bounced", "550 5.1.1 no such user"))

    tail(log)

    assert not Suppression.objects.exists()


def test_reading_a_log_again_from_its_beginning_changes_nothing(log, account):
    message = mailed(account)
    write(log, queued_as(message), tried(message, "bounced", "550 5.1.1 no such user"))
    tail(log)
    LogPosition.objects.all().delete()

    tail(log)

    assert Event.objects.count() == 1


def test_the_sample_of_all_forms_is_taken_in(log, account):
    log.write_text(LOG.read_text().replace("DOMAIN", settings.MESSAGE_ID_DOMAIN))

    tail(log, timezone="UTC")

    # They wait for messages that are not here.
    assert RawRequest.objects.get().status == "pending"
    assert "10 events wait" in RawRequest.objects.get().error


def test_two_who_read_one_log_do_not_both_tell(log, account):
    message = mailed(account)
    write(log, queued_as(message))
    now = datetime.now(UTC)

    def reader() -> Tail:
        return Tail(log, None, zone=UTC, relays=[], say=lambda _: None)

    one, other = reader(), reader()
    assert one.read(now) == 1
    with pytest.raises(tailing.TakenOver, match="Stop one of the two"):
        other.read(now)


def test_queue_ids_that_postfix_must_be_done_with_are_forgotten(log, account):
    write(log, queued_as(mailed(account)))
    tail(log)
    QueueId.objects.update(seen_at=timezone.now() - timedelta(days=11))

    tail(log)

    assert not QueueId.objects.exists()


def test_a_wrong_account_or_zone_is_said_in_plain_words(log):
    with pytest.raises(CommandError, match="There is no provider “Nobody”"):
        call_command("tail_postfix", str(log), once=True, account="Nobody")
    with pytest.raises(CommandError, match="There is no time zone “Atlantis”"):
        call_command("tail_postfix", str(log), once=True, timezone="Atlantis")


def test_five_thousand_lines_take_less_than_a_second(log, account):
    people = 4000
    message = mailed(account)
    with log.open("w") as file:
        for number in range(people):
            queue_id = f"{number:010X}"
            named = queued_as(message, queue_id)
            arrived = tried(message, "sent", "250 2.0.0 Ok", queue_id)
            gone = _line(f"qmgr[3]: {queue_id}: removed")
            noise = _line(f"smtpd[4]: {queue_id}: client=app[192.0.2.9]")
            file.write("\n".join([noise, named, arrived, gone]) + "\n")
    began = time.monotonic()

    call_command("tail_postfix", str(log), once=True)

    took_s = time.monotonic() - began
    assert 4 * people / took_s > 5000, f"{4 * people / took_s:.0f} lines a second"
    assert not QueueId.objects.exists()


# --- Killed ------------------------------------------------------------------------------

MAILS = 3000
KILLS = 3


@pytest.mark.crash
@pytest.mark.django_db(transaction=True)
def test_a_reader_killed_again_and_again_over_rotations_neither_loses_nor_doubles(log, account):
    messages = [mailed(account) for _ in range(20)]
    stored, done, per_round = 0, 0, MAILS // (KILLS + 1)
    for killed in range(KILLS + 1):
        process = _reader(log)
        for number in range(done, done + per_round):
            message, queue_id = messages[number % 20], f"{number:010X}"
            write(log, queued_as(message, queue_id))
            write(log, tried(message, "deferred", f"451 4.7.1 try {number}", queue_id))
        done += per_round
        if killed == KILLS:
            break
        _wait_until(partial(_have_told_more, stored), process)
        stored = RawRequest.objects.count()
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        log.rename(f"{log}.{killed}")
        os.utime(f"{log}.{killed}", (killed + 1, killed + 1))
    _wait_until(lambda: _is_read(log), process)
    process.terminate()
    assert process.wait(timeout=30) == 0

    told = [event for row in RawRequest.objects.all() for event in json.loads(bytes(row.body))]
    assert len(told) == MAILS
    assert {each["provider_message_id"] for each in told} == {f"{n:010X}" for n in range(MAILS)}


def _reader(log: Path) -> subprocess.Popen[bytes]:
    """A process of its own that reads the log, on the test's database."""
    database = connection.settings_dict
    host = database["HOST"]
    url = f"postgres://{database['USER']}@/{database['NAME']}?host={host}"
    if not host.startswith("/"):
        url = f"postgres://{database['USER']}:{database['PASSWORD']}@{host}:{database['PORT']}/{database['NAME']}"
    return subprocess.Popen(
        [sys.executable, "manage.py", "tail_postfix", str(log)],
        cwd=settings.BASE_DIR,
        env={
            **os.environ,
            "DATABASE_URL": url,
            "LOCAL": "on",
            "VAR_DIR": str(settings.VAR_DIR),
        },
        stdout=subprocess.DEVNULL,
    )


def _have_told_more(stored: int) -> bool:
    return RawRequest.objects.count() > stored


def _is_read(log: Path) -> bool:
    place = LogPosition.objects.get()
    return (place.inode, place.offset) == (log.stat().st_ino, log.stat().st_size)


def _wait_until(is_so: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    stop_at = time.monotonic() + 60
    while not is_so():
        assert process.poll() is None, "The reader has stopped."
        assert time.monotonic() < stop_at, "The reader reads nothing."
        time.sleep(0.01)
