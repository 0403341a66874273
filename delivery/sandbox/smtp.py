"""An SMTP relay: AUTH, a size limit, a reply per address.

Copied from standards: replies of RFC 5321 and RFC 4954, enhanced codes of RFC 3463. As a relay it
refuses at RCPT what an address rule or a rate makes bounce (550 5.1.1), bounce softly (452 4.2.2)
or block (550 5.7.1); who is deferred gets 451 4.7.1 the first time (greylisting); who is dropped is
refused after DATA (554 5.7.1). SMTP has no webhooks, so nothing further is told.
"""

import asyncio
import hmac
import logging
import secrets
from collections import OrderedDict
from typing import Any
from weakref import WeakSet

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from delivery.sandbox import outcomes
from delivery.sandbox.calls import Answer, Call, Content, Letter, Own, Shared
from delivery.sandbox.config import Account
from delivery.sandbox.mime import read_headers, read_mime
from delivery.sandbox.office import Office

MAX_BYTES = 25 * 1024 * 1024
MAX_RECIPIENTS = 100
REMEMBERED_GREYLISTED = 10_000

_REFUSED = {
    "bounce": "550 5.1.1 The email account that you tried to reach does not exist",
    "soft_bounce": "452 4.2.2 The email account that you tried to reach is over quota",
    "block": "550 5.7.1 Message refused: likely unsolicited mail",
}
# aiosmtpd tells every command, addresses included, and warns of itself at each login.
logging.getLogger("mail.log").setLevel(logging.ERROR)

_GREYLISTED = "451 4.7.1 Greylisted, please try again later"


def expand(shared: Shared, own: Own) -> Content:
    """Return what the recipient reads."""
    mime = read_mime(own["raw"].encode("utf-8", "surrogateescape"))
    parts = (mime.sender, mime.to, mime.subject, mime.html, mime.text, mime.headers)
    return Content(*parts, mime.metadata, mime.cc, mime.attachments)


class Relay:
    """The handler of one SMTP server; its sessions share the office."""

    def __init__(self, office: Office) -> None:
        self._office = office
        self._greylisted: OrderedDict[str, None] = OrderedDict()
        self._open: WeakSet[SMTP] = WeakSet()

    def protocol(self) -> SMTP:
        """Return the protocol of one connection."""
        # AUTH is required by handle_MAIL: aiosmtpd's own option warns where there is no TLS, and
        # on a loopback port there is nobody to listen in.
        session = SMTP(
            self,
            data_size_limit=MAX_BYTES,
            enable_SMTPUTF8=True,
            auth_require_tls=False,
            authenticator=self.authenticate,
            hostname="sandbox",
            ident="sandbox relay",
            loop=asyncio.get_running_loop(),
        )
        self._open.add(session)
        return session

    def hang_up(self) -> None:
        """Cut all connections, those that hang on purpose included."""
        for session in list(self._open):
            if isinstance(session.transport, asyncio.WriteTransport):
                session.transport.abort()

    def authenticate(
        self, server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: Any
    ) -> AuthResult:
        """Find the account of the credentials; the session remembers it."""
        if not isinstance(data, LoginPassword):
            return AuthResult(success=False, handled=False)
        for account in self._office.of_kind("smtp"):
            given = data.login + b"\0" + data.password
            known = f"{account.credentials['username']}\0{account.credentials['password']}"
            if hmac.compare_digest(known.encode(), given):
                return AuthResult(success=True, auth_data=account)
        return AuthResult(success=False, handled=False)

    async def handle_MAIL(  # noqa: N802  aiosmtpd's name
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        """Take the sender, if it is of the account's domain."""
        if not session.authenticated:
            return "530 5.7.0 Authentication required"
        account = _account(session)
        _, _, domain = address.rpartition("@")
        if account.domain and domain and not _is_within(domain.lower(), account.domain.lower()):
            return "553 5.7.1 Sender address rejected: not owned by user"
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return "250 2.1.0 Ok"

    async def handle_RCPT(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        """Take or refuse one recipient."""
        if len(envelope.rcpt_tos) >= MAX_RECIPIENTS:
            return "452 4.5.3 Error: too many recipients"
        types = self._types(_account(session), address)
        for kind, reply in _REFUSED.items():
            if kind in types:
                return reply
        if "defer" in types and address not in self._greylisted:
            self._greylisted[address] = None
            if len(self._greylisted) > REMEMBERED_GREYLISTED:
                self._greylisted.popitem(last=False)
            return _GREYLISTED
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 Ok"

    async def handle_DATA(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope
    ) -> str:
        """Keep the message for each of its recipients, or meet a fault."""
        account = _account(session)
        raw = envelope.original_content or b""
        ours, identity = read_headers(raw).message_id, secrets.token_hex(5).upper()
        own = {"raw": raw.decode("utf-8", "surrogateescape")}
        letters = [Letter(address, ours, identity, own) for address in envelope.rcpt_tos]
        if any("drop" in self._types(account, letter.recipient) for letter in letters):
            return "554 5.7.1 Message rejected as spam"
        call = Call({}, letters, Answer(250))
        fault = self._office.fault(account, call)
        if fault in ("429", "500"):
            self._office.refusals[account.name, int(fault)] += 1
            return "421 4.7.0 Too many messages" if fault == "429" else "451 4.3.0 Try again later"
        if fault != "lost":
            self._office.keep(account, call, lambda shared, own: ())
        options = self._office.options_for(account.name)
        await asyncio.sleep(options.answer_latency + (options.hang if fault == "hang" else 0))
        if fault and isinstance(server.transport, asyncio.WriteTransport):
            server.transport.abort()
        return f"250 2.0.0 Ok: queued as {identity}"

    def _types(self, account: Account, address: str) -> set[str]:
        """Return the types of event that mail to this address would have."""
        options = self._office.options_for(account.name)
        return {item.type for item in outcomes.plan(options, account.name, address, "")}


def _account(session: Session) -> Account:
    """Return the account that the session's client has proved to be."""
    account: Any = session.auth_data
    if not isinstance(account, Account):
        raise PermissionError("This SMTP session is not authenticated.")
    return account


def _is_within(domain: str, parent: str) -> bool:
    """Whether a domain is the other or below it: return paths live in subdomains."""
    return domain == parent or domain.endswith("." + parent)
