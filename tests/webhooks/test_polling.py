"""Bounces in a mailbox, fetched from a real Dovecot."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError, call_command
from django.utils import timezone

from delivery.models import Alert, Message, ProviderAccount
from delivery.providers.returning import return_path
from emailplatform import env
from emailplatform.env import Mailbox
from tests import imap, make
from tests.delivery.providers.test_returned import letter
from webhooks import polling
from webhooks.applying import apply_pending
from webhooks.fetching import CannotFetch
from webhooks.models import Event, MailboxPosition, RawRequest

pytestmark = pytest.mark.django_db


@pytest.fixture(scope="module")
def server() -> Iterator[imap.Dovecot]:
    with imap.dovecot() as running:
        yield running


@pytest.fixture
def dovecot(server: imap.Dovecot) -> imap.Dovecot:
    """The server, with nothing in its mailbox."""
    for kind in ("new", "cur"):
        for path in (server.mail / kind).iterdir():
            path.unlink()
    return server


@pytest.fixture
def mailbox(dovecot: imap.Dovecot) -> Mailbox:
    return Mailbox("127.0.0.1", dovecot.port, "none", "bounces", imap.PASSWORD, "INBOX")


@pytest.fixture
def account() -> ProviderAccount:
    return make.account("Own Postfix", kind="smtp", config={"host": "127.0.0.1"}, secrets={})


def mailed(account: ProviderAccount) -> Message:
    given: dict[str, Any] = {"status": "sent", "sent_at": timezone.now(), "provider": account}
    return make.message(make.launched(), **given)


def fetch(mailbox: Mailbox) -> int:
    stored = polling.fetch(mailbox, timezone.now())
    while apply_pending(100, timezone.now()):
        pass
    return stored


def test_a_bounce_in_the_mailbox_marks_its_message_and_is_shown_as_read(dovecot, mailbox, account):
    message = mailed(account)
    ours = return_path(message.token, "bounces.example.com")
    dovecot.put(letter("dsn/postfix", "forwarded@elsewhere.example", ours, at="m0"))

    assert fetch(mailbox) == 1

    message.refresh_from_db()
    assert message.bounce_class == "hard"
    assert dovecot.unread == 0


def test_what_was_fetched_is_not_fetched_again_and_what_is_new_is(dovecot, mailbox, account):
    message = mailed(account)
    dovecot.put(letter("dsn/delayed", message.email, at=message.token))
    assert fetch(mailbox) == 1
    assert fetch(mailbox) == 0

    dovecot.put(letter("dsn/postfix", message.email, at=message.token))

    assert fetch(mailbox) == 1
    assert set(Event.objects.values_list("type", flat=True)) == {"deferred", "bounced"}


def test_a_run_takes_so_many_and_the_next_takes_the_rest(dovecot, mailbox, account, monkeypatch):
    monkeypatch.setattr(polling, "MOST_MAILS", 2)
    dovecot.put(*(letter("dsn/nameless") for _ in range(5)))

    assert [fetch(mailbox) for _ in range(4)] == [2, 2, 1, 0]


def test_new_numbers_of_the_server_count_nothing_twice(dovecot, mailbox, account):
    message = mailed(account)
    dovecot.put(letter("dsn/postfix", message.email, at=message.token))
    fetch(mailbox)
    before = MailboxPosition.objects.get().uid_validity
    MailboxPosition.objects.update(uid_validity=before + 1, last_uid=999)

    assert fetch(mailbox) == 1

    assert MailboxPosition.objects.get().uid_validity == before
    assert Event.objects.count() == 1


def test_strange_and_huge_mails_do_not_stop_the_others(dovecot, mailbox, account):
    message = mailed(account)
    deep = b'Content-Type: multipart/mixed; boundary="b"\n\n--b\n' * 3000
    huge = b"Subject: x\n\n" + b"y\n" * 10_000_000
    dovecot.put(b"\0\xff", deep, huge, letter("dsn/postfix", message.email, at=message.token))

    assert fetch(mailbox) == 4

    assert RawRequest.objects.filter(status="unparsable").count() == 3
    message.refresh_from_db()
    assert message.bounce_class == "hard"


def test_the_certificate_is_checked(dovecot, mailbox, account, monkeypatch):
    dovecot.put(letter("dsn/nameless"))
    for security, port in (("tls", dovecot.tls_port), ("starttls", dovecot.port)):
        over_tls = Mailbox("127.0.0.1", port, security, "bounces", imap.PASSWORD, "INBOX")
        monkeypatch.delenv("SSL_CERT_FILE", raising=False)
        with pytest.raises(CannotFetch, match="certificate verify failed"):
            fetch(over_tls)

        monkeypatch.setenv("SSL_CERT_FILE", str(dovecot.certificate))
        assert fetch(over_tls) == 1


def test_a_wrong_password_is_an_alert_until_it_is_right(dovecot, mailbox, account):
    wrong = Mailbox("127.0.0.1", dovecot.port, "none", "bounces", "wrong", "INBOX")

    assert polling.poll(wrong, timezone.now()) == 0

    alert = Alert.objects.get(kind="bounce_mailbox")
    assert alert.resolved_at is None
    assert "refuses LOGIN" in alert.text
    assert "wrong" not in alert.text

    polling.poll(mailbox, timezone.now())
    alert.refresh_from_db()
    assert alert.resolved_at is not None


def test_a_server_that_says_nothing_is_given_up(account, settings):
    settings.READ_TIMEOUT_S = 0.3
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        with pytest.raises(CannotFetch, match="timed out"):
            fetch(Mailbox("127.0.0.1", port, "none", "bounces", "secret", "INBOX"))


def test_a_server_that_dies_in_the_middle_keeps_what_was_stored(dovecot, mailbox, account):
    dovecot.put(*(letter("dsn/nameless") for _ in range(3)))
    with _cut_after(b"BODY[]", dovecot.port) as port:
        cut = Mailbox("127.0.0.1", port, "none", "bounces", imap.PASSWORD, "INBOX")
        with pytest.raises(CannotFetch):
            fetch(cut)
    stored = RawRequest.objects.count()

    fetch(mailbox)

    assert stored == 0
    assert RawRequest.objects.count() == 3
    assert fetch(mailbox) == 0


class _cut_after:  # noqa: N801 (it reads as a function)
    """A way to a server that is cut as soon as it has said something."""

    def __init__(self, words: bytes, port: int) -> None:
        self._words, self._port = words, port

    def __enter__(self) -> int:
        self._listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._pass_on, daemon=True).start()
        port: int = self._listener.getsockname()[1]
        return port

    def __exit__(self, *_: object) -> None:
        self._listener.close()

    def _pass_on(self) -> None:
        client, _ = self._listener.accept()
        server = socket.create_connection(("127.0.0.1", self._port))

        def up() -> None:
            try:
                while data := client.recv(65536):
                    server.sendall(data)
            except OSError:
                return

        threading.Thread(target=up, daemon=True).start()
        while data := server.recv(65536):
            if self._words in data:
                break
            client.sendall(data)
        client.close()
        server.close()


def test_the_command_fetches_all_and_says_how_many(dovecot, mailbox, account, settings, capsys):
    settings.IMAP_URL = mailbox
    dovecot.put(letter("dsn/nameless"), letter("dsn/nameless"))

    call_command("poll_bounces", once=True)

    assert capsys.readouterr().out == "2 mails were stored and will be read.\n"


def test_the_command_says_what_is_missing(settings):
    settings.IMAP_URL = None
    with pytest.raises(CommandError, match="Set IMAP_URL"):
        call_command("poll_bounces", once=True)


# --- Settings ----------------------------------------------------------------------------


def given(monkeypatch: pytest.MonkeyPatch, url: str) -> Mailbox | None:
    monkeypatch.setitem(os.environ, "IMAP_URL", url)
    return env.mailbox("IMAP_URL")


def test_a_mailbox_is_read_from_its_address(monkeypatch):
    url = f"imaps://bounces%40example.com:{quote('p:/@ss', safe='')}@mail.example.com/INBOX.Bounces"

    found = given(monkeypatch, url)

    assert found == Mailbox(
        "mail.example.com", 993, "tls", "bounces@example.com", "p:/@ss", "INBOX.Bounces"
    )
    assert "p:/@ss" not in repr(found)
    assert given(monkeypatch, "") is None


def test_a_password_does_not_go_out_in_the_clear_unless_that_is_said(monkeypatch):
    with pytest.raises(ImproperlyConfigured, match="in the clear"):
        given(monkeypatch, "imap://u:p@mail.example.com/")

    for url in ("imap://u:p@127.0.0.1/", "imap+plain://u:p@mail.example.com/"):
        found = given(monkeypatch, url)
        assert found
        assert (found.security, found.folder) == ("none", "INBOX")


@pytest.mark.parametrize(
    "url", ["imaps://mail.example.com", "ftp://u:p@h", "imaps://u:p@h:99999/", "imaps://u:p%0a@h/"]
)
def test_an_address_that_cannot_be_used_is_refused_at_the_start(monkeypatch, url):
    with pytest.raises(ImproperlyConfigured, match="IMAP_URL"):
        given(monkeypatch, url)
