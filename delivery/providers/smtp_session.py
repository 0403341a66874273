"""One conversation with an SMTP server that knows how far each message got.

smtplib raises the same SMTPServerDisconnected before and after the end of DATA. Only the time
between our final dot and the server's answer is in doubt: RFC 5321 4.5.3.2.6, RFC 1047.

| where | 4xx | 5xx | silence or disconnection |
|---|---|---|---|
| connect, TLS, EHLO | Unavailable | Unavailable | Unavailable |
| AUTH | Unavailable | Unavailable, account's fault | Unavailable |
| MAIL FROM | Unavailable | Unavailable, account's fault; 552: Rejected | Unavailable |
| RCPT TO | Deferred: this person | Rejected; relay or login wanted: account's fault | Unavailable |
| DATA | Deferred: this person | Rejected | Unavailable |
| after the final dot | Deferred: this person | Rejected | OutcomeUnknown |
421 means anywhere: the server closes the connection; nothing of this message was accepted.
A connection that served before and is gone before the message was sent is Stale: try a new one.
"""

from __future__ import annotations

import re
import smtplib
import socket
import ssl
from dataclasses import dataclass
from typing import Any, NoReturn

from django.conf import settings

from delivery.providers.base import (
    CONNECT_TIMEOUT_S,
    READ_TIMEOUT_S,
    OutcomeUnknown,
    ProviderError,
    Rejected,
    Unavailable,
)
from delivery.providers.wording import clip

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
class Server:
    """Where to connect and as whom."""

    host: str
    port: int
    security: str
    """none, starttls or tls."""
    username: str
    password: str
    local_hostname: str


class Session:
    """A logged-in connection. After an error other than Rejected and Deferred it is dead."""

    def __init__(self, server: Server) -> None:
        """Connect and log in. Raises Unavailable."""
        self._smtp = _open(server)
        self.is_8bit = self._smtp.has_extn("8bitmime")
        self._has_size = self._smtp.has_extn("size")
        self._is_pipelining = self._smtp.has_extn("pipelining")
        self._is_used = False
        self._is_dirty = False
        """The last message was refused half-way: the server still holds its envelope."""
        self._is_lost = False

    def deliver(self, sender: str, recipient: str, data: bytes) -> str:
        """Hand over one message; return the server's queue id, or '' if it tells none."""
        was_used, self._is_used = self._is_used, True
        try:
            self._begin(self._mail_from(sender, data), f"RCPT TO:<{recipient}>")
        except _Gone as error:
            raise (Stale if was_used else Unavailable)(str(error)) from None
        code, text = self._content(data)
        self._is_dirty = False
        if code != 250:
            raise _refusal(code, text)
        found = _QUEUED_AS.search(text)
        return found.group(1) if found else ""

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

    def _begin(self, mail: str, rcpt: str) -> None:
        """Say who writes to whom. All of it in one go if the server allows that (RFC 2920)."""
        commands = ["RSET"] * self._is_dirty + [mail, rcpt, "DATA"]
        self._is_dirty = True
        if self._is_pipelining:
            self._say("\r\n".join(commands))
        for number, command in enumerate(commands, start=1):
            if not self._is_pipelining:
                self._say(command)
            code, text = self._hear(command)
            refused = _judge(command, code, text)
            if refused:
                if self._is_pipelining:
                    self._void(len(commands) - number)
                raise refused

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
            self._set_timeout(FINAL_DOT_TIMEOUT_S)
            self._smtp.send(data + b".\r\n")
            answer = _read(self._smtp)
            self._set_timeout(READ_TIMEOUT_S)
        except (smtplib.SMTPException, OSError, ValueError) as error:
            self._is_lost, words = True, _words(error)
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
            code, text = _read(self._smtp)
        except (smtplib.SMTPException, OSError, ValueError) as error:
            self._lose(command, error)
        if code == _CLOSING:
            self._is_lost = True
            raise _Gone(_sentence(code, text))
        return code, text

    def _lose(self, command: str, error: Exception) -> NoReturn:
        self._is_lost = True
        at = command.partition(" ")[0]
        raise _Gone(f"The mail server went away at {at}: {_words(error)}.") from None

    def _set_timeout(self, seconds: float) -> None:
        sock: Any = self._smtp.sock
        if sock is not None:
            sock.settimeout(seconds)


class _Gone(Exception):
    """The connection is lost, and nothing of the message was sent."""


# --- What an answer means ---------------------------------------------------------------


def _judge(command: str, code: int, text: str) -> ProviderError | None:
    """Return why an answer before the message refuses it, or None if it does not."""
    if command.startswith("MAIL"):
        return None if code == _OK else _sender_refusal(code, text)
    if command.startswith("RCPT"):
        return None if code in (_OK, _WILL_FORWARD) else _recipient_refusal(code, text)
    if command == "DATA":
        return None if code == _GO_ON else _refusal(code, text)
    return None


def _sender_refusal(code: int, text: str) -> ProviderError:
    if code == _TOO_BIG:
        return Rejected(_sentence(code, text))
    return Unavailable(_sentence(code, text), is_account_fault=code >= 500)


def _recipient_refusal(code: int, text: str) -> ProviderError:
    if code == _LOGIN_WANTED or (code >= 500 and _ACCOUNT_AT_RCPT.search(text)):
        return Unavailable(_sentence(code, text), is_account_fault=True)
    return _refusal(code, text)


def _refusal(code: int, text: str) -> ProviderError:
    if code == _CLOSING:
        return Unavailable(_sentence(code, text))
    return Rejected(_sentence(code, text)) if code >= 500 else Deferred(_sentence(code, text))


# --- Connecting -------------------------------------------------------------------------


def _open(server: Server) -> smtplib.SMTP:
    smtp: smtplib.SMTP | None = None
    try:
        smtp = _connect(server)
        smtp.sock.settimeout(READ_TIMEOUT_S)  # type: ignore[union-attr]  # It is connected.
        smtp.ehlo_or_helo_if_needed()
        if server.security == "starttls":
            smtp.starttls(context=ssl.create_default_context())
            smtp.ehlo_or_helo_if_needed()
        if server.username:
            smtp.login(server.username, server.password)
        return smtp
    except (smtplib.SMTPException, OSError, ValueError) as error:
        failure = _not_open(error)
    if smtp is not None:
        smtp.close()
    raise failure


def _connect(server: Server) -> smtplib.SMTP:
    name = server.local_hostname or None
    if server.security == "tls":
        context = ssl.create_default_context()
        return smtplib.SMTP_SSL(
            server.host, server.port, name, timeout=CONNECT_TIMEOUT_S, context=context
        )
    return smtplib.SMTP(server.host, server.port, name, timeout=CONNECT_TIMEOUT_S)


def _read(smtp: smtplib.SMTP) -> tuple[int, str]:
    code, text = smtp.getreply()
    if code < 0:
        raise smtplib.SMTPServerDisconnected("an answer that is not SMTP")
    return code, text.decode("utf-8", "replace")


def _not_open(error: Exception) -> Unavailable:
    """Return why there is no session; nothing was sent, so all of it is Unavailable."""
    if isinstance(error, smtplib.SMTPAuthenticationError):
        is_lasting = error.smtp_code >= 500
        reason = _sentence(error.smtp_code, _text(error.smtp_error))
        return Unavailable(f"Login refused. {reason}", is_account_fault=is_lasting)
    if isinstance(error, smtplib.SMTPNotSupportedError):
        words = "The mail server offers no STARTTLS, or no way to log in that is known here."
        return Unavailable(words, is_account_fault=True)
    if isinstance(error, smtplib.SMTPResponseException):
        return Unavailable(_sentence(error.smtp_code, _text(error.smtp_error)))
    return Unavailable(f"No connection to the mail server: {_words(error)}.")


def _sentence(code: int, text: str) -> str:
    return clip(f"The mail server answered {code}: {text}")


def _text(given: bytes | str) -> str:
    return given.decode("utf-8", "replace") if isinstance(given, bytes) else given


def _words(error: Exception) -> str:
    """Return what happened on the network, in our own words."""
    for kind, words in _WORDS:
        if isinstance(error, kind):
            return words
    return f"{type(error).__name__}"


_WORDS: tuple[tuple[type[Exception], str], ...] = (
    (socket.gaierror, "its name was not found (DNS)"),
    (ConnectionRefusedError, "connection refused"),
    (TimeoutError, "time-out"),
    (ssl.SSLCertVerificationError, "its certificate is not valid"),
    (ssl.SSLError, "TLS failed"),
    (smtplib.SMTPServerDisconnected, "the connection was closed"),
    (ConnectionError, "the connection was closed"),
)
