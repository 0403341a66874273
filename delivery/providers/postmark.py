"""Postmark: `/email/batch`, in which each message has its own subject and body.

Source: "Sending a batch of emails" and "API error codes", developer documentation of Postmark.
The answer is a list in the order of the request; an entry may fail while others are sent.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, ClassVar

from anymail.backends import base_requests, postmark
from anymail.message import AnymailMessage

from delivery.providers import postmark_events, postmark_search
from delivery.providers.anymail import (
    TIMEOUT,
    AnymailProvider,
    Backend,
    OneRequest,
    address_of,
    with_ready_values,
)
from delivery.providers.base import HEARING_FIELDS, Address, Batch, EventsModule, Field, Recipient
from delivery.providers.cargo import METADATA_KEY
from delivery.providers.classifying import refusal
from delivery.providers.defusing import defuse
from delivery.providers.lists import Lists
from delivery.providers.outcomes import Outcome, Taken
from delivery.providers.planning import Limits
from delivery.providers.postmark_lists import PostmarkLists

MOST_METADATA = 9
_INACTIVE = re.compile(r"will not deliver to these inactive addresses: *(.+?)\.(?: |$)")
_IS_INACTIVE = "Postmark delivers nothing more to this address: it is inactive there."
_SPARK = re.compile(r"\{(?=\{+\s*[#/^&]?\s*pm:)", re.IGNORECASE)
"""Postmark's own placeholders, which it fills in any body: `{{{ pm:unsubscribe }}}`."""


class _Payload(postmark.PostmarkPayload):  # type: ignore[misc]  # Anymail has no types.
    """A batch whose messages differ in everything but the sender."""

    base_message_attrs = with_ready_values(postmark.PostmarkPayload.base_message_attrs)
    anymail_message_attrs = with_ready_values(postmark.PostmarkPayload.anymail_message_attrs)
    esp_message_attrs = (("bodies", None, None),)
    batch_attrs = (*postmark.PostmarkPayload.batch_attrs, "bodies")
    bodies: Sequence[Mapping[str, Any]] = ()

    def set_bodies(self, bodies: Sequence[Mapping[str, Any]]) -> None:
        self.bodies = bodies

    def set_recipients(self, recipient_type: str, emails: Sequence[Any]) -> None:
        """Leave them to the bodies, each of which names its own."""

    def serialize_data(self) -> str:
        messages = [{**self.data, **body} for body in self.bodies]
        serialized: str = self.serialize_json(messages)
        return serialized


class _Backend(OneRequest, postmark.EmailBackend):  # type: ignore[misc]
    def build_message_payload(self, message: AnymailMessage, defaults: dict[str, Any]) -> _Payload:
        return _Payload(message, defaults, self)

    def raise_for_status(self, response: Any, payload: Any, message: Any) -> None:
        """Raise for 422 too: in a batch it refuses the whole call."""
        base_requests.AnymailRequestsBackend.raise_for_status(self, response, payload, message)


class Postmark(AnymailProvider):
    """A server at Postmark, and one of its message streams."""

    kind = "postmark"
    label = "Postmark"
    max_batch = 500
    default_batch = 100
    events: ClassVar[EventsModule] = postmark_events
    # Documented: 500 messages, 50 MB, 10 MB each. JSON can triple the bytes, hence 15 MB.
    limits = Limits(
        recipients=500,
        call_bytes=15_000_000,
        person_bytes=3_000_000,
        wire_bytes=50_000_000,
        repeats_static=True,
    )
    max_message_bytes = 10_000_000
    max_webhook_bytes = 1_000_000
    proved_by = "webhook_basic_auth"
    fields = (
        Field(
            "server_token", "Server API token", "Of the server, not of the account.", is_secret=True
        ),
        Field(
            "message_stream",
            "Stream for campaigns",
            "The id of a Broadcast stream: Postmark wants campaigns there.",
            is_required=False,
            default="broadcast",
        ),
        Field(
            "transactional_stream",
            "Stream for transactional mail",
            "The id of a Transactional stream; every server has one called outbound.",
            is_required=False,
            default="outbound",
        ),
        Field(
            "webhook_basic_auth",
            "Webhook user:password",
            "The credentials in the webhook's address at Postmark. To rotate: add the new pair,"
            " change the address at Postmark, then take the old one away. One per line.",
            is_secret=True,
            is_required=False,
        ),
        Field(
            "api_url",
            "Address of the API",
            is_required=False,
            default="https://api.postmarkapp.com/",
        ),
        *HEARING_FIELDS,
    )

    def told_since(self, since: datetime, until: datetime) -> Iterator[bytes]:
        """Ask Postmark; see `Provider.told_since`."""
        return postmark_search.told_since(self.account, since, until)

    def lists(self) -> Lists:
        """Return its lists; see `Provider.lists`."""
        return PostmarkLists(self.account)

    def _backend(self) -> Backend:
        backend: Backend = _Backend(
            server_token=self.account["server_token"],
            api_url=self.account["api_url"] or "https://api.postmarkapp.com/",
            use_bulk_api=False,
            timeout=TIMEOUT,
        )
        return backend

    def _merge(
        self, message: AnymailMessage, batch: Batch, recipients: Sequence[Recipient]
    ) -> None:
        batch = defuse(batch, recipients, _SPARK)
        stream = self._stream(batch)
        message.bodies = [_body(batch, person, stream) for person in batch.recipients]

    def _render(self, message: AnymailMessage, batch: Batch, person: Recipient) -> None:
        self._merge(message, batch, [person])

    def _set_common(self, message: AnymailMessage, batch: Batch) -> None:
        """Take the first tag: a mail has one at Postmark."""
        super()._set_common(message, replace(batch, tag="", tags=batch.all_tags[:1]))

    def _metadata(self, batch: Batch) -> dict[str, str]:
        """Return nothing here: it stands in each body, beside our id."""
        return {}

    def _stream(self, batch: Batch) -> str:
        if batch.is_transactional:
            return self.account["transactional_stream"] or "outbound"
        return self.account["message_stream"] or "broadcast"

    def _outcomes(self, answer: Any, count: int) -> Sequence[Outcome]:
        return [_outcome(entry) for entry in answer.json()]


def _body(batch: Batch, person: Recipient, stream: str) -> dict[str, Any]:
    """Return what is the person's own in the request."""
    headers = {**batch.headers, **person.headers}
    if any(name.lower() == "message-id" for name in person.headers):
        headers["X-PM-KeepID"] = "true"  # Else Postmark replaces it.
    body: dict[str, Any] = {
        "To": address_of(person.name, person.email).format(),
        "Subject": batch.subject.fill(person.subject),
        "Headers": [{"Name": name, "Value": value} for name, value in headers.items()],
        "Metadata": {**_portable(batch.metadata), METADATA_KEY: person.message_id},
        "MessageStream": stream,
    }
    if html := batch.html.fill(person.html):
        body["HtmlBody"] = html
    if text := batch.text.fill(person.text):
        body["TextBody"] = text
    return {**body, **_copies(person)} if person.copies else body


def _copies(person: Recipient) -> dict[str, str]:
    kinds = {
        "To": (Address(person.email, person.name), *person.more_to),
        "Cc": person.cc,
        "Bcc": person.bcc,
    }
    return {
        kind: ", ".join(address_of(one.name, one.email).format() for one in people)
        for kind, people in kinds.items()
        if people
    }


def _portable(metadata: Mapping[str, str]) -> dict[str, str]:
    """Return what Postmark takes beside our id: 9 fields, names of 20 and values of 80."""
    fit = {name: value for name, value in metadata.items() if len(name) <= 20 and len(value) <= 80}
    return dict(list(fit.items())[:MOST_METADATA])


def _outcome(entry: Mapping[str, Any]) -> Outcome:
    """Return what Postmark says of one message. No ErrorCode means 0: it is only delayed."""
    if entry.get("ErrorCode", 0) != 0:
        return refusal(422, entry, {})
    known_as = str(entry["MessageID"])
    inactive = _INACTIVE.search(str(entry.get("Message") or ""))
    if not inactive:
        return known_as
    addresses = [address.strip().lower() for address in inactive.group(1).split(",")]
    return Taken(known_as, dict.fromkeys(addresses, _IS_INACTIVE))
