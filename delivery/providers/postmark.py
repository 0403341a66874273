"""Postmark: `/email/batch`, in which each message has its own subject and body.

Source: "Sending a batch of emails" and "API error codes", developer documentation of Postmark.
The answer is a list in the order of the request; an entry may fail while others are sent.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from anymail.backends import base_requests, postmark
from anymail.message import AnymailMessage

from delivery.providers import postmark_events
from delivery.providers.anymail import (
    METADATA_KEY,
    TIMEOUT,
    AnymailProvider,
    Backend,
    OneRequest,
    Outcome,
    with_ready_values,
)
from delivery.providers.base import Batch, EventsModule, Field, Recipient
from delivery.providers.classifying import refusal
from delivery.providers.defusing import defuse
from delivery.providers.planning import Limits

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
        if recipient_type == "to":
            self.to_emails = list(emails)

    def serialize_data(self) -> str:
        messages = [
            {**self.data, **body, "To": to.format()}
            for to, body in zip(self.to_emails, self.bodies, strict=True)
        ]
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
    # Documented: 500 messages, 50 MB. JSON can triple the bytes, hence 15 MB.
    limits = Limits(
        recipients=500, call_bytes=15_000_000, person_bytes=15_000_000, repeats_static=True
    )
    fields = (
        Field(
            "server_token", "Server API token", "Of the server, not of the account.", is_secret=True
        ),
        Field(
            "message_stream",
            "Message stream",
            "Campaigns must go through a Broadcast stream; for an account that sends"
            " transactional mail only: outbound.",
            is_required=False,
            default="broadcast",
        ),
        Field(
            "webhook_basic_auth",
            "Webhook user:password",
            "The credentials in the webhook's address at Postmark. While you change them: both"
            " pairs, one per line.",
            is_secret=True,
            is_required=False,
        ),
        Field(
            "api_url",
            "Address of the API",
            is_required=False,
            default="https://api.postmarkapp.com/",
        ),
    )

    def _backend(self) -> Backend:
        backend: Backend = _Backend(
            server_token=self.account["server_token"],
            message_stream=self.account["message_stream"] or "broadcast",
            api_url=self.account["api_url"] or "https://api.postmarkapp.com/",
            use_bulk_api=False,
            timeout=TIMEOUT,
        )
        return backend

    def _merge(
        self, message: AnymailMessage, batch: Batch, recipients: Sequence[Recipient]
    ) -> None:
        batch = defuse(batch, recipients, _SPARK)
        message.bodies = [_body(batch, person) for person in batch.recipients]

    def _outcomes(self, answer: Any, count: int) -> Sequence[Outcome]:
        return [_outcome(entry) for entry in answer.json()]


def _body(batch: Batch, person: Recipient) -> dict[str, Any]:
    """Return what is the person's own in the request."""
    headers = {**batch.headers, **person.headers}
    if any(name.lower() == "message-id" for name in person.headers):
        headers["X-PM-KeepID"] = "true"  # Else Postmark replaces it.
    body: dict[str, Any] = {
        "Subject": batch.subject.fill(person.subject),
        "Headers": [{"Name": name, "Value": value} for name, value in headers.items()],
        "Metadata": {METADATA_KEY: person.message_id},
    }
    if html := batch.html.fill(person.html):
        body["HtmlBody"] = html
    if text := batch.text.fill(person.text):
        body["TextBody"] = text
    return body


def _outcome(entry: Mapping[str, Any]) -> Outcome:
    """Return what Postmark says of one message. No ErrorCode means 0: it is only delayed."""
    if entry.get("ErrorCode", 0) == 0:
        return str(entry["MessageID"])
    return refusal(422, entry, {})
