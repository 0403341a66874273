"""Any SMTP server: one message after the other on a kept connection.

The answers come one by one, and what was answered is known after a crash but for the last moment
(`journaling.RECORD_EACH_S`). The rest of the hand-off is in doubt: what was under way, and what was
not tried yet, which nobody can tell from it.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import ClassVar

from delivery.providers import generic_events
from delivery.providers.base import (
    CONNECT_TIMEOUT_S,
    HEARING_FIELDS,
    READ_TIMEOUT_S,
    Account,
    Batch,
    EventsModule,
    Field,
    OutcomeUnknown,
    Provider,
    Recipient,
    Rejected,
    Result,
    Unavailable,
    Verdict,
)
from delivery.providers.connections import kept
from delivery.providers.mime import MimeSkeleton
from delivery.providers.outcomes import Taken, result_of
from delivery.providers.returning import return_path
from delivery.providers.smtp_opening import Server
from delivery.providers.smtp_session import (
    FINAL_DOT_TIMEOUT_S,
    Deferred,
    Session,
    Stale,
)
from delivery.providers.uploading import MOST_S
from delivery.providers.vetting import vet

SECURITIES = {"none", "starttls", "tls"}


class SMTP(Provider):
    """A mail server that takes mail from us."""

    kind = "smtp"
    webhook_kind = generic_events.KIND
    label = "SMTP"
    max_batch = 100
    default_batch = 20
    answers_one_by_one = True
    # Connecting, greeting, TLS and signing in, twice if a kept connection is gone; then one mail,
    # of whose copies each may be slow, but not all of them.
    longest_call_s = CONNECT_TIMEOUT_S + 11 * READ_TIMEOUT_S + FINAL_DOT_TIMEOUT_S + MOST_S
    events: ClassVar[EventsModule] = generic_events
    proved_by = "webhook_secrets"
    fields = (
        Field("host", "Host"),
        Field("port", "Port", "Usually 587 with STARTTLS, 465 with TLS.", default="587"),
        Field(
            "security",
            "Security",
            "starttls, tls, or none (for a server on this machine only).",
            default="starttls",
        ),
        Field("username", "User name", "Empty: no login.", is_required=False),
        Field("password", "Password", is_secret=True, is_required=False),
        Field(
            "return_path_domain",
            "Return path domain",
            "Bounces go to signed addresses of this domain, which `ingest_bounce` or `poll_bounces`"
            " must get (docs/providers.md); empty: to the sender's address.",
            is_required=False,
        ),
        Field(
            "local_hostname",
            "Name of this machine",
            "Said in EHLO; empty: the machine's own name.",
            is_required=False,
        ),
        Field(
            "webhook_secrets",
            "Webhook secrets",
            "For a relay that tells what became of mail (docs/events.md): 16 characters or more,"
            " one per line. To rotate: add the new one, sign with it, then take the old one away.",
            is_secret=True,
            is_required=False,
        ),
        *HEARING_FIELDS,
    )

    def send(self, batch: Batch) -> Iterator[Result]:
        """Hand over one message after the other; see `Provider.send`."""
        vetted = vet(batch)
        yield from vetted.refused
        batch, left = vetted.batch, len(vetted.batch.recipients)
        composers: dict[bool, MimeSkeleton] = {}
        date = format_datetime(datetime.now(UTC))
        for person in batch.recipients:
            left -= 1
            try:
                result = self._deliver(batch, person, date, composers)
            except OutcomeUnknown as error:
                if not left:
                    raise
                yield Result(person.message_id, Verdict.UNKNOWN, reason=str(error))
                break
            yield result
        else:
            return
        raise Unavailable("Not tried: the server did not answer to the message before it.")

    def _deliver(
        self, batch: Batch, person: Recipient, date: str, composers: dict[bool, MimeSkeleton]
    ) -> Result:
        """Send one message on a kept connection, or on a new one if the kept one was closed.

        A server that hangs up between two messages has not taken the second.
        """
        try:
            return self._try(batch, person, date, composers)
        except Stale:
            return self._try(batch, person, date, composers)

    def _try(
        self, batch: Batch, person: Recipient, date: str, composers: dict[bool, MimeSkeleton]
    ) -> Result:
        with kept(self.account, self.kind, self._connect) as session:
            if session.is_8bit not in composers:
                composers[session.is_8bit] = MimeSkeleton(batch, is_8bit=session.is_8bit)
            data = composers[session.is_8bit].message(person, date)
            copies = [copy.email for copy in person.copies]
            sender = self._envelope_sender(batch, person)
            try:
                receipt = session.deliver(sender, person.email, data, copies)
            except (Deferred, Rejected) as error:
                return result_of(person, error)
            outcome = Taken(receipt.queue_id, receipt.refused_copies)
            return result_of(person, outcome if outcome.refused else receipt.queue_id)

    def _connect(self) -> Session:
        return Session(server_of(self.account))

    def _envelope_sender(self, batch: Batch, person: Recipient) -> str:
        domain = self.account["return_path_domain"]
        return return_path(person.message_id, domain) if domain else batch.from_email


def server_of(account: Account) -> Server:
    """Return where the account's server is. Raises Unavailable if the settings cannot be."""
    port, security = account["port"] or "587", account["security"] or "starttls"
    if not port.isdecimal() or not 0 < int(port) < 65536:
        raise Unavailable("The account's port is not a port number.", is_account_fault=True)
    if security not in SECURITIES:
        words = "The account's security must be none, starttls or tls."
        raise Unavailable(words, is_account_fault=True)
    return Server(
        host=account["host"],
        port=int(port),
        security=security,
        username=account["username"],
        password=account["password"],
        local_hostname=account["local_hostname"],
    )
