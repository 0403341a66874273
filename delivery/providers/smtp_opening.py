"""How a mail server is reached: connect, greet, TLS, sign in; and its replies in our words."""

from __future__ import annotations

import smtplib
import socket
import ssl
from dataclasses import dataclass

from delivery.providers.base import CONNECT_TIMEOUT_S, READ_TIMEOUT_S, Unavailable
from delivery.providers.blaming import is_throttle
from delivery.providers.wording import clip


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


def open_smtp(server: Server) -> smtplib.SMTP:
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


def size_limit(smtp: smtplib.SMTP) -> int:
    said = smtp.esmtp_features.get("size", "").strip()
    return int(said) if said.isdecimal() else 0


def read_reply(smtp: smtplib.SMTP) -> tuple[int, str]:
    code, text = smtp.getreply()
    if code < 0:
        raise smtplib.SMTPServerDisconnected("an answer that is not SMTP")
    return code, text.decode("utf-8", "replace")


def _not_open(error: Exception) -> Unavailable:
    """Return why there is no session; nothing was sent, so all of it is Unavailable."""
    if isinstance(error, smtplib.SMTPAuthenticationError):
        is_lasting = error.smtp_code >= 500
        reason = sentence(error.smtp_code, text_of(error.smtp_error))
        is_slow_down = is_throttle(error.smtp_code, text_of(error.smtp_error))
        return Unavailable(
            f"Login refused. {reason}", is_account_fault=is_lasting, is_throttle=is_slow_down
        )
    if isinstance(error, smtplib.SMTPNotSupportedError):
        words = "The mail server offers no STARTTLS, or no way to log in that is known here."
        return Unavailable(words, is_account_fault=True)
    if isinstance(error, smtplib.SMTPResponseException):
        said = error.smtp_code, text_of(error.smtp_error)
        return Unavailable(sentence(*said), is_throttle=is_throttle(*said))
    return Unavailable(f"No connection to the mail server: {words_of(error)}.")


def sentence(code: int, text: str) -> str:
    return clip(f"The mail server answered {code}: {text}")


def text_of(given: bytes | str) -> str:
    return given.decode("utf-8", "replace") if isinstance(given, bytes) else given


def words_of(error: Exception) -> str:
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
