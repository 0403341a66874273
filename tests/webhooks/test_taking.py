"""Mail that comes back, from the mail server's pipe to messages and suppressions."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from typing import Any

import pytest
from django.core.management import call_command
from django.utils import timezone

from campaigns.personalising import unsubscribe_url
from delivery.models import Mail, Message, ProviderAccount
from delivery.providers.returning import return_path
from subscribers.models import Suppression
from tests import make
from tests.delivery.providers.test_returned import letter
from webhooks.applying import apply_pending
from webhooks.models import Event, RawRequest

pytestmark = pytest.mark.django_db

BOUNCES = "bounces@example.com"


@pytest.fixture
def account() -> ProviderAccount:
    return make.account("Own Postfix", kind="smtp", config={"host": "127.0.0.1"}, secrets={})


def mailed(account: ProviderAccount, email: str = "ana@example.net") -> Message:
    return make.message(
        make.launched(),
        make.subscriber(email),
        status="sent",
        sent_at=timezone.now(),
        provider=account,
    )


def pipe(monkeypatch: pytest.MonkeyPatch, body: bytes, **options: Any) -> None:
    """Give one mail to the command, and apply what it stored."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(body)))
    call_command("ingest_bounce", **options)
    while apply_pending(100, timezone.now()):
        pass


def reason_of(message: Message) -> str:
    row = Suppression.objects.filter(address_key=bytes(message.address_key)).first()
    return row.reason if row else ""


def test_a_bounce_marks_its_message_and_suppresses_its_address(monkeypatch, account):
    message = mailed(account)

    pipe(monkeypatch, letter("dsn/postfix", message.email, at=message.token))

    message.refresh_from_db()
    assert (message.bounced_at is not None, message.bounce_class) == (True, "hard")
    assert reason_of(message) == "bounced"
    assert Event.objects.get().reason.startswith("550 5.1.1")


def test_a_bounce_that_comes_twice_counts_once(monkeypatch, account):
    message = mailed(account)
    body = letter("dsn/postfix", message.email, at=message.token)

    for _ in range(2):
        pipe(monkeypatch, body)

    assert Event.objects.count() == 1
    assert RawRequest.objects.filter(status="applied").count() == 2


def test_a_delay_is_no_bounce(monkeypatch, account):
    message = mailed(account)

    pipe(monkeypatch, letter("dsn/delayed", message.email, at=message.token))

    message.refresh_from_db()
    assert message.deferred_at is not None
    assert message.bounced_at is None
    assert reason_of(message) == ""


@pytest.mark.parametrize("name", ["dsn/full", "dsn/blocked", "dsn/expired", "dsn/vacation"])
def test_a_mailbox_that_says_no_for_now_or_to_us_is_mailed_again(monkeypatch, account, name):
    message = mailed(account)

    pipe(monkeypatch, letter(name, message.email, at=message.token))

    assert reason_of(message) == ""
    assert RawRequest.objects.get().status == "applied"


def test_a_guessed_message_id_harms_nobody(monkeypatch, account):
    message = mailed(account)

    pipe(monkeypatch, letter("dsn/postfix", "victim@example.net", at=message.token))

    message.refresh_from_db()
    assert message.bounced_at is None
    assert Event.objects.get().standing == Event.Standing.FOREIGN
    assert not Suppression.objects.exists()


@pytest.mark.parametrize(
    "facts",
    [
        {"kind": "smtp", "config": {"host": "127.0.0.1", "return_path_domain": "b.example.com"}},
        {"kind": "mailgun"},
    ],
)
def test_who_guesses_an_id_and_its_address_fakes_no_bounce_of_mail_that_proves_itself(
    monkeypatch, account, facts
):
    message = mailed(make.account("Other", **facts))

    pipe(monkeypatch, letter("dsn/postfix", message.email, at=message.token))

    message.refresh_from_db()
    assert (message.bounced_at, reason_of(message)) == (None, "")
    assert RawRequest.objects.get().status == "unparsable"


@pytest.mark.parametrize("where", ["recipient", "header"])
def test_our_return_path_proves_whose_bounce_it_is_whatever_the_report_says(
    monkeypatch, account, where
):
    message = mailed(account)
    ours = return_path(message.token, "bounces.example.com")
    to_us = {"recipient": BOUNCES, "header": ours}[where]
    body = letter("dsn/postfix", "forwarded@elsewhere.example", to_us, at="m0")

    pipe(monkeypatch, body, **({"recipient": ours} if where == "recipient" else {}))

    message.refresh_from_db()
    assert message.bounce_class == "hard"
    assert Event.objects.get().recipient == message.email


def test_a_letter_that_names_nobody_is_believed_only_at_our_return_path(monkeypatch, account):
    message = mailed(account)
    body = letter("dsn/nameless")

    pipe(monkeypatch, body)
    assert RawRequest.objects.get().status == "unparsable"

    pipe(monkeypatch, body, recipient=return_path(message.token, "bounces.example.com"))
    message.refresh_from_db()
    assert message.bounce_class == "hard"


def test_a_copy_that_bounces_says_nothing_of_the_person(monkeypatch, account):
    message = make.mail("ana@example.net", status="sent", provider=account, sent_at=timezone.now())
    Mail.objects.filter(message=message).update(copies={"cc": [["dan@example.org", ""]]})
    ours = return_path(message.token, "bounces.example.com")

    pipe(monkeypatch, letter("dsn/postfix", "dan@example.org", ours, at=message.token))

    message.refresh_from_db()
    assert message.bounced_at is None
    assert Event.objects.get().standing == Event.Standing.COPY
    assert reason_of(message) == ""


def test_a_complaint_with_the_address_left_out_is_known_by_our_signature(monkeypatch, account):
    by_path, by_link = mailed(account, "ana@example.net"), mailed(account, "bo@example.net")
    ours = return_path(by_path.token, "bounces.example.com")
    redacted = letter("arf/redacted", came_to=ours)
    linked = letter("arf/linked").replace(
        b"https://mail.example.com/u/none/", unsubscribe_url(by_link.pk).encode()
    )

    for body in (redacted, linked):
        pipe(monkeypatch, body)

    assert [reason_of(each) for each in (by_path, by_link)] == ["complained"] * 2


def test_a_bounce_belongs_to_the_account_that_sent_the_mail(monkeypatch, account):
    other = make.account("Second", kind="smtp", config={"host": "127.0.0.1"}, secrets={})
    message = mailed(other)

    pipe(monkeypatch, letter("dsn/postfix", message.email, at=message.token))

    assert RawRequest.objects.get().account == other
    message.refresh_from_db()
    assert message.bounce_class == "hard"


def test_a_strange_mail_is_stored_and_listed_as_not_understood(monkeypatch, account):
    deep = b'Content-Type: multipart/mixed; boundary="b"\n\n--b\n' * 3000
    huge = b"Subject: x\n\n" + b"y" * 21_000_000
    for body in (b"", b"\0\xff\xfe", deep, huge, letter("dsn/answer")):
        pipe(monkeypatch, body)

    assert set(RawRequest.objects.values_list("status", flat=True)) == {"unparsable"}
    assert RawRequest.objects.count() == 5
    assert "Re: News" in RawRequest.objects.order_by("-pk")[0].error


def test_without_an_account_the_server_keeps_the_mail(monkeypatch, capsys):
    with pytest.raises(SystemExit) as stopped:
        pipe(monkeypatch, letter("dsn/postfix"))

    assert stopped.value.code == 75
    assert "Add one" in capsys.readouterr().err


def test_while_the_database_is_away_the_server_keeps_the_mail():
    away = {**os.environ, "DATABASE_URL": "postgresql://nobody@127.0.0.1:9/none", "LOCAL": "on"}

    done = subprocess.run(
        [sys.executable, "manage.py", "ingest_bounce"],
        input=letter("dsn/postfix"),
        env=away,
        capture_output=True,
        check=False,
        timeout=60,
    )

    assert done.returncode == 75
    assert done.stderr == b"The database is away. The mail server keeps the mail and tries again.\n"
