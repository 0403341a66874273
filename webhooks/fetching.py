"""One conversation with an IMAP server (RFC 3501): what is new in a folder, by its numbers."""

from __future__ import annotations

import contextlib
import imaplib
import re
import ssl
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Any

from emailplatform.env import Mailbox

WINDOW = 50_000
"""Numbers that are asked for at a time: the answer is one line, of a million bytes at most."""
_NUMBER = re.compile(rb"(UIDVALIDITY|UIDNEXT) (\d+)")


class CannotFetch(Exception):
    """The server cannot be reached, does not let us in, or does not answer as it should.

    `str()` is a sentence without any secret.
    """


class Folder:
    """An open folder. Everything raises CannotFetch."""

    def __init__(self, mailbox: Mailbox, timeout_s: float) -> None:
        """Connect, check the certificate, log in, and open the folder."""
        self._where = f"{mailbox.host}:{mailbox.port}"
        try:
            self._imap = _connect(mailbox, timeout_s)
        except (OSError, imaplib.IMAP4.error) as error:
            raise CannotFetch(f"{self._where} cannot be reached: {_words(error)}") from None
        folder = _quoted(mailbox.folder)
        try:
            self._ask("LOGIN", self._imap.login, _quoted(mailbox.user), mailbox.password)
            [status, *_] = self._ask("STATUS", self._imap.status, folder, "(UIDNEXT UIDVALIDITY)")
            self._ask("SELECT", self._imap.select, folder)
        except CannotFetch:
            self.close()
            raise
        found = {name: int(number) for name, number in _NUMBER.findall(_line(status))}
        self.uid_validity = found.get(b"UIDVALIDITY", 0)
        """When it changes, the numbers of before mean nothing."""
        self._next = found.get(b"UIDNEXT", 0)

    def __enter__(self) -> Folder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Say goodbye and hang up."""
        try:
            self._imap.logout()
        except (OSError, imaplib.IMAP4.error):
            with contextlib.suppress(OSError):
                self._imap.shutdown()

    def numbers_after(self, last: int) -> Iterator[int]:
        """Yield the numbers of the mails that came after one, the oldest first."""
        for start in range(last + 1, self._next, WINDOW):
            end = min(start + WINDOW - 1, self._next - 1)
            [found, *_] = self._ask("SEARCH", self._imap.uid, "SEARCH", f"UID {start}:{end}") or [
                b""
            ]
            yield from sorted(int(each) for each in _line(found).split())

    def body(self, number: int, most_bytes: int) -> bytes | None:
        """Return a mail, or its first bytes; None if it is gone. It stays unread."""
        wanted = f"(BODY.PEEK[]<0.{most_bytes}>)"
        answer = self._ask("FETCH", self._imap.uid, "FETCH", str(number), wanted)
        return next((bytes(each[1]) for each in answer if isinstance(each, tuple)), None)

    def mark_seen(self, numbers: Sequence[int]) -> None:
        """Show these mails as read to whoever looks into the mailbox."""
        for start in range(0, len(numbers), 100):
            few = ",".join(map(str, numbers[start : start + 100]))
            self._ask("STORE", self._imap.uid, "STORE", few, "+FLAGS.SILENT", r"(\Seen)")

    def _ask(self, name: str, command: Callable[..., Any], *args: str) -> list[Any]:
        try:
            answer, said = command(*args)
        except (OSError, imaplib.IMAP4.error) as error:
            raise CannotFetch(f"{self._where} refuses {name}: {_words(error)}") from None
        if answer != "OK":
            raise CannotFetch(f"{self._where} refuses {name}: {_words(said)}")
        return list(said)


def _connect(mailbox: Mailbox, timeout_s: float) -> imaplib.IMAP4:
    host, port = mailbox.host, mailbox.port
    if mailbox.security == "tls":
        context = ssl.create_default_context()
        return imaplib.IMAP4_SSL(host, port, ssl_context=context, timeout=timeout_s)
    imap = imaplib.IMAP4(host, port, timeout=timeout_s)
    if mailbox.security == "starttls":
        try:
            imap.starttls(ssl.create_default_context())
        except (OSError, imaplib.IMAP4.error):
            with contextlib.suppress(OSError):  # A failed handshake has closed it.
                imap.shutdown()
            raise
    return imap


def _line(said: object) -> bytes:
    return said if isinstance(said, bytes) else b""


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _words(said: object) -> str:
    """Return what a server said, clipped; it never says our password."""
    first = said[0] if isinstance(said, list) and said else said
    text = first.decode("utf-8", "replace") if isinstance(first, bytes) else str(first)
    return " ".join(text.split())[:200]
