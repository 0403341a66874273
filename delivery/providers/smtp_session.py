"""One conversation with an SMTP server that knows how far each message got.

smtplib raises the same SMTPServerDisconnected before and after the end of DATA. Only the time
between our final dot and the server's answer is in doubt: RFC 5321 4.5.3.2.6, RFC 1047.

| where | 4xx | 5xx | silence or disconnection |
|---|---|---|---|
| connect, TLS, EHLO | Unavailable | Unavailable | Unavailable |
| AUTH | Unavailable | Unavailable, account's fault | Unavailable |
| MAIL FROM | Unavailable | Unavailable, sender's fault; 552: Rejected | Unavailable |
| RCPT TO | Deferred: this person | Rejected; relay or login wanted: account's fault | Unavailable |
| DATA | Deferred: this person | Rejected | Unavailable |
| after the final dot | Deferred: this person | Rejected | OutcomeUnknown |
421 means anywhere: the server closes the connection; nothing of this message was accepted.
421 and 4.7.x say that we are too fast. Copies are RCPT TOs of the same message: one that is refused
is told and stops nobody; the person whom the mail is for, refused, stops it for all.
A connection that served before and is gone before the message was sent is Stale: try a new one.
"""

from __future__ import annotations

import re
import smtplib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from django.conf import settings

from delivery.providers.base import (
    READ_TIMEOUT_S,
    Fault,
    OutcomeUnknown,
    ProviderError,
    Rejected,
    Unavailable,
)
from delivery.providers.blaming import fault_of_reply, is_throttle
from delivery.providers.cargo import too_large
from delivery.providers.smtp_opening import (
    Server,
    open_smtp,
    read_reply,
    sentence,
    size_limit,
    words_of,
)
from delivery.providers.uploading import extra_s

FINAL_DOT_TIMEOUT_S: float = settings.FINAL_DOT_TIMEOUT_S
_OK, _WILL_FORWARD, _GO_ON = 250, 251, 354
_CLOSING, _LOGIN_WANTED, _TOO_BIG = 421, 530, 552
_QUEUED_AS = re.compile(r"queued as ([A-Za-z0-9-]+)", re.IGNORECASE)
_ACCOUNT_AT_RCPT = re.compile(r"relay|authenticat|auth required|log ?in", re.IGNORECASE)


class Deferred(Unavailable):
    """This message was certainly not accepted, but the next one may be."""


class Stale(Unavailable):
    """The server hung up before it got the message; a new connection may well do."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a server took."""

    queue_id: str
    """Its own id, or '' if it tells none."""
    refused_copies: Mapping[str, str]
    """Why, by address."""


class Session:
    """A logged-in connection. After an error other than Rejected and Deferred it is dead."""

    def __init__(self, server: Server) -> None:
        """Connect and log in. Raises Unavailable."""
        self._smtp = open_smtp(server)
        self.is_8bit = self._smtp.has_extn("8bitmime")
        self._has_size = self._smtp.has_extn("size")
        self.max_bytes = size_limit(self._smtp)
        """The largest message that the server takes, or 0: it does not say."""
        self._is_pipelining = self._smtp.has_extn("pipelining")
        self._is_used = False
        self._is_dirty = False
        """The last message was refused half-way: the server still holds its envelope."""
        self._is_lost = False

    def deliver(
        self, sender: str, recipient: str, data: bytes, copies: Sequence[str] = ()
    ) -> Receipt:
        """Hand over one message for a person and the copies; return what the server took."""
        if 0 < self.max_bytes < len(data):
            raise Rejected(
                too_large(len(data), self.max_bytes, "the mail server"), kind=Fault.CONTENT
            )
        was_used, self._is_used = self._is_used, True
        rcpts = [f"RCPT TO:<{address}>" for address in (recipient, *copies)]
        try:
            refused = self._begin(self._mail_from(sender, data), rcpts)
        except _Gone as error:
            kind = Stale if was_used else Unavailable
            raise kind(str(error), is_throttle=error.is_throttle) from None
        code, text = self._content(data)
        self._is_dirty = False
        if code != _OK:
            raise _refusal(code, text, at_recipient=False)
        found = _QUEUED_AS.search(text)
        by_address = dict(zip(copies, rcpts[1:], strict=True))
        return Receipt(
            found.group(1) if found else "",
            {at: refused[rcpt] for at, rcpt in by_address.items() if rcpt in refused},
        )

    def close(self) -> None:
        """Say goodbye, without waiting for an answer, and hang up."""
        try:
            if not self._is_lost:
                self._smtp.putcmd("QUIT")
        except (smtplib.SMTPException, OSError):
            self._is_lost = True
        self._smtp.close()

    def _mail_from(self, sender: str, data: bytes) -> str:
        options = f" SIZE={len(data)}" if self._has_size else ""
        if self.is_8bit and not data.isascii():
            options += " BODY=8BITMIME"
        return f"MAIL FROM:<{sender}>{options}"

    def _begin(self, mail: str, rcpts: Sequence[str]) -> dict[str, str]:
        """Say who writes to whom; return the copies' RCPT TOs that were refused, and why.

        All of it goes in one go if the server allows that (RFC 2920), but never with copies: their
        mail would have begun already when the server refuses the person whom it is for.
        """
        commands = ["RSET"] * self._is_dirty + [mail, *rcpts, "DATA"]
        copies, refused_copies = frozenset(rcpts[1:]), dict[str, str]()
        is_one_go = self._is_pipelining and not copies
        patience_ends = time.monotonic() + 3 * READ_TIMEOUT_S
        self._is_dirty = True
        if is_one_go:
            self._say("\r\n".join(commands))
        for number, command in enumerate(commands, start=1):
            if command in copies and time.monotonic() > patience_ends:
                self._is_lost = True
                raise Unavailable("The mail server took too long over the copies.")
            if not is_one_go:
                self._say(command)
            code, text = self._hear(command)
            refused = _judge(command, code, text)
            if refused and command in copies:
                refused_copies[command] = str(refused)
            elif refused:
                if is_one_go:
                    self._void(len(commands) - number)
                raise refused
        return refused_copies

    def _void(self, answers: int) -> None:
        """Hear the answers to commands that a refusal has made void; end a message begun so."""
        try:
            heard = [self._hear("the end")[0] for _ in range(answers)]
            if heard and heard[-1] == _GO_ON:
                self._say(".")
                self._hear("the end")
        except _Gone:
            return  # What was refused stays refused; the next message needs a new connection.

    def _content(self, data: bytes) -> tuple[int, str]:
        """Send the message; from here on silence means doubt."""
        if b"\r\n." in data:
            data = data.replace(b"\r\n.", b"\r\n..")
        try:
            self._set_timeout(FINAL_DOT_TIMEOUT_S + extra_s(len(data)))
            self._smtp.send(data + b".\r\n")
            answer = read_reply(self._smtp)
            self._set_timeout(READ_TIMEOUT_S)
        except (smtplib.SMTPException, OSError, ValueError) as error:
            self._is_lost, words = True, words_of(error)
            raise OutcomeUnknown(f"No answer after the message was sent: {words}.") from None
        return answer

    def _say(self, line: str) -> None:
        try:
            self._smtp.send(f"{line}\r\n")
        except (smtplib.SMTPException, OSError) as error:
            self._lose(line, error)

    def _hear(self, command: str) -> tuple[int, str]:
        """Return the answer to a command before the message. Raises _Gone, also for a 421."""
        try:
            code, text = read_reply(self._smtp)
        except (smtplib.SMTPException, OSError, ValueError) as error:
            self._lose(command, error)
        if code == _CLOSING:
            self._is_lost = True
            raise _Gone(sentence(code, text), is_throttle=True)
        return code, text

    def _lose(self, command: str, error: Exception) -> NoReturn:
        self._is_lost = True
        at = command.partition(" ")[0]
        raise _Gone(f"The mail server went away at {at}: {words_of(error)}.") from None

    def _set_timeout(self, seconds: float) -> None:
        sock: Any = self._smtp.sock
        if sock is not None:
            sock.settimeout(seconds)


class _Gone(Exception):
    """The connection is lost, and nothing of the message was sent."""

    def __init__(self, message: str, *, is_throttle: bool = False) -> None:
        super().__init__(message)
        self.is_throttle = is_throttle


# --- What an answer means ---------------------------------------------------------------


def _judge(command: str, code: int, text: str) -> ProviderError | None:
    """Return why an answer before the message refuses it, or None if it does not."""
    if command.startswith("MAIL"):
        return None if code == _OK else _sender_refusal(code, text)
    if command.startswith("RCPT"):
        return None if code in (_OK, _WILL_FORWARD) else _recipient_refusal(code, text)
    if command == "DATA":
        return None if code == _GO_ON else _refusal(code, text, at_recipient=False)
    return None


def _sender_refusal(code: int, text: str) -> ProviderError:
    if code == _TOO_BIG:
        return Rejected(sentence(code, text), kind=Fault.CONTENT)
    if code == _LOGIN_WANTED:
        return Unavailable(sentence(code, text), is_account_fault=True)
    return Unavailable(
        sentence(code, text), is_sender_fault=code >= 500, is_throttle=is_throttle(code, text)
    )


def _recipient_refusal(code: int, text: str) -> ProviderError:
    if code == _LOGIN_WANTED or (code >= 500 and _ACCOUNT_AT_RCPT.search(text)):
        return Unavailable(sentence(code, text), is_account_fault=True)
    return _refusal(code, text, at_recipient=True)


def _refusal(code: int, text: str, *, at_recipient: bool) -> ProviderError:
    words = sentence(code, text)
    if code >= 500:
        return Rejected(words, kind=fault_of_reply(code, text, at_recipient=at_recipient))
    kind = Unavailable if code == _CLOSING else Deferred
    return kind(words, is_throttle=is_throttle(code, text))
