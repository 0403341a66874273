"""Mailgun: one call with recipient variables.

Source: "Batch Sending" and "Messages", documentation of Mailgun. One id stands for all messages
of a call, and its events carry that same id: our own id is what tells the people apart.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, ClassVar

from anymail.backends import mailgun
from anymail.message import AnymailMessage

from delivery.providers import mailgun_events, mailgun_search
from delivery.providers.anymail import (
    TIMEOUT,
    AnymailProvider,
    Backend,
    OneRequest,
    merge_fields,
    set_content,
    set_person_data,
    with_ready_values,
    without_message_id,
)
from delivery.providers.base import (
    HEARING_FIELDS,
    Batch,
    EventsModule,
    Field,
    Recipient,
    Unavailable,
)
from delivery.providers.defusing import defuse
from delivery.providers.files import ReadyFile
from delivery.providers.lists import Lists
from delivery.providers.mailgun_lists import MailgunLists
from delivery.providers.outcomes import Outcome
from delivery.providers.planning import Limits

_SPARK = re.compile(
    r"%(?=(?:recipient|unsubscribe|tag_unsubscribe|mailing_list)[\w.:-]*)", re.IGNORECASE
)
"""Where Mailgun would put something of its own: `%recipient.x%`, `%unsubscribe_url%` and so on."""


class _Payload(mailgun.MailgunPayload):  # type: ignore[misc]  # Anymail has no types.
    base_message_attrs = with_ready_values(mailgun.MailgunPayload.base_message_attrs)
    anymail_message_attrs = with_ready_values(mailgun.MailgunPayload.anymail_message_attrs)

    def add_attachment(self, attachment: ReadyFile) -> None:
        """Add a file; a " in its name would arrive as %22, which is how forms write it."""
        attachment.name = attachment.name.replace('"', "'")
        super().add_attachment(attachment)


class _Backend(OneRequest, mailgun.EmailBackend):  # type: ignore[misc]
    def build_message_payload(self, message: AnymailMessage, defaults: dict[str, Any]) -> _Payload:
        return _Payload(message, defaults, self)


class Mailgun(AnymailProvider):
    """A sending domain at Mailgun."""

    kind = "mailgun"
    label = "Mailgun"
    max_batch = 1000
    default_batch = 100
    events: ClassVar[EventsModule] = mailgun_events
    # Documented: 1,000 recipients, 25 MB "of the uncompressed body". A form can make six bytes of
    # one (a quote is \" in JSON and %5C%22 in the form), hence 4 MB. No limit for one person.
    limits = Limits(
        recipients=1000, call_bytes=4_000_000, person_bytes=4_000_000, wire_bytes=25_000_000
    )
    max_message_bytes = 25_000_000
    max_webhook_bytes = 1_000_000
    proved_by = "webhook_signing_key"
    fields = (
        Field("api_key", "API key", "A sending key of the domain is enough.", is_secret=True),
        Field("domain", "Sending domain", "As it is verified at Mailgun, like mg.example.com."),
        Field(
            "webhook_signing_key",
            "Webhook signing key",
            "HTTP webhook signing key; for a subaccount also its primary account's. To rotate: add"
            " the new one, then take the old one away. One per line.",
            is_secret=True,
            is_required=False,
        ),
        Field(
            "api_url",
            "Address of the API",
            "https://api.eu.mailgun.net/v3 for domains in the EU.",
            is_required=False,
            default="https://api.mailgun.net/v3",
        ),
        *HEARING_FIELDS,
    )

    def told_since(self, since: datetime, until: datetime) -> Iterator[bytes]:
        """Ask Mailgun; see `Provider.told_since`."""
        return mailgun_search.told_since(self.account, since, until)

    def lists(self) -> Lists:
        """Return its lists; see `Provider.lists`."""
        return MailgunLists(self.account)

    def _backend(self) -> Backend:
        if "/" in self.account["domain"]:
            raise Unavailable("The account's domain is not a domain.", is_account_fault=True)
        backend: Backend = _Backend(
            api_key=self.account["api_key"],
            sender_domain=self.account["domain"],
            api_url=self.account["api_url"] or "https://api.mailgun.net/v3",
            timeout=TIMEOUT,
        )
        return backend

    def _merge(
        self, message: AnymailMessage, batch: Batch, recipients: Sequence[Recipient]
    ) -> None:
        batch = defuse(batch, recipients, _SPARK)
        set_content(
            message,
            batch.subject.with_placeholders(lambda index: f"%recipient.s{index}%"),
            batch.html.with_placeholders(lambda index: f"%recipient.h{index}%"),
            batch.text.with_placeholders(lambda index: f"%recipient.t{index}%"),
        )
        set_person_data(message, _with_possible_headers(batch.recipients))
        message.merge_data = {person.email: merge_fields(person) for person in batch.recipients}

    def _render(self, message: AnymailMessage, batch: Batch, person: Recipient) -> None:
        batch = defuse(batch, [person], _SPARK)
        super()._render(message, batch, batch.recipients[0])

    def _outcomes(self, answer: Any, count: int) -> Sequence[Outcome]:
        """Return the id of the call for each: one bad address would have refused the call."""
        said = answer.json()
        if not str(said["message"]).startswith("Queued"):
            raise ValueError("not Mailgun's API")
        return [str(said["id"])] * count


def _with_possible_headers(recipients: Sequence[Recipient]) -> Sequence[Recipient]:
    """Return the recipients of several without their Message-IDs.

    A call of Mailgun has one id for all its mails, from which it makes that header; what it does
    with a variable there is not documented. A single mail may bring its own.
    """
    if len(recipients) == 1:
        return recipients
    return [replace(person, headers=without_message_id(person.headers)) for person in recipients]
