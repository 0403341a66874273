"""SendGrid, v3 API: one call with substitutions, "the legacy kind", which need no stored template.

Source: "Mail Send" and its "Limitations", docs of Twilio SendGrid. Anymail warns that SendGrid
closed its test accounts and so is no longer tested there; our contract tests stand in for that.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from anymail.backends import base_requests, sendgrid
from anymail.message import AnymailMessage

from delivery.providers import sendgrid_events
from delivery.providers.anymail import (
    TIMEOUT,
    AnymailProvider,
    Backend,
    OneRequest,
    merge_fields,
    set_content,
    set_person_data,
    with_ready_values,
)
from delivery.providers.base import HEARING_FIELDS, Batch, EventsModule, Field, Recipient
from delivery.providers.files import ReadyFile
from delivery.providers.lists import Lists
from delivery.providers.mime import encode_words
from delivery.providers.outcomes import Outcome
from delivery.providers.planning import Limits
from delivery.providers.sendgrid_lists import SendGridLists

# Ours is the only unsubscribe: SendGrid's would add a footer and replace the header.
_NO_FOOTER = {"tracking_settings": {"subscription_tracking": {"enable": False}}}


class _Payload(sendgrid.SendGridPayload):  # type: ignore[misc]  # Anymail has no types.
    base_message_attrs = with_ready_values(sendgrid.SendGridPayload.base_message_attrs)
    anymail_message_attrs = with_ready_values(sendgrid.SendGridPayload.anymail_message_attrs)

    def email_object(self, email: Any) -> dict[str, str]:
        """Return the address; "to.name cannot include either the ; or , characters"."""
        found = {"email": email.addr_spec}
        if email.display_name:
            found["name"] = email.display_name.replace(";", " ").replace(",", " ")
        return found

    def convert_dynamic_template_data_to_legacy_substitutions(self) -> None:
        """Do as Anymail's does for values that are texts: everybody has the same fields."""
        keys: dict[str, str] = {}
        for person in self.data["personalizations"]:
            fields = person.pop("dynamic_template_data", {})
            keys = keys or {name: self.merge_field_format.format(name) for name in fields}
            person["substitutions"] = {keys[name]: value for name, value in fields.items()}

    def add_attachment(self, attachment: ReadyFile) -> None:
        """Add a file; "type" must not hold a ; so parameters are left out."""
        file = {
            "content": attachment.b64content,
            "type": attachment.mimetype,
            "filename": attachment.name,
        }
        if attachment.inline:
            file |= {"disposition": "inline", "content_id": attachment.cid}
        self.data.setdefault("attachments", []).append(file)


class _Backend(OneRequest, sendgrid.EmailBackend):  # type: ignore[misc]
    def __init__(self, api_key: str, api_url: str) -> None:
        """Do as Anymail's does, without its warning for each backend that is made."""
        self.api_key = api_key
        self.generate_message_id = False
        self.merge_field_format = None
        url = api_url if api_url.endswith("/") else f"{api_url}/"
        base_requests.AnymailRequestsBackend.__init__(self, url, timeout=TIMEOUT)

    def build_message_payload(self, message: AnymailMessage, defaults: dict[str, Any]) -> _Payload:
        return _Payload(message, defaults, self)


class SendGrid(AnymailProvider):
    """An account at Twilio SendGrid."""

    kind = "sendgrid"
    label = "SendGrid"
    max_batch = 1000
    default_batch = 100
    events: ClassVar[EventsModule] = sendgrid_events
    # Documented: 1,000 recipients, 30 MB, and 10,000 bytes of substitutions for each of them.
    # JSON can triple the bytes (an umlaut is 2 in UTF-8, 6 as \u00e4), hence 9 MB.
    limits = Limits(
        recipients=1000, call_bytes=9_000_000, person_bytes=10_000, wire_bytes=30_000_000
    )
    max_message_bytes = 30_000_000
    proved_by = "webhook_public_key"
    fields = (
        Field("api_key", "API key", "With the permission “Mail Send”.", is_secret=True),
        Field(
            "webhook_public_key",
            "Webhook verification key",
            "Of the signed Event Webhook. To rotate: add the new key, renew it at SendGrid, then"
            " take the old one away. One per line.",
            is_secret=True,
            is_required=False,
        ),
        Field(
            "api_url",
            "Address of the API",
            "https://api.eu.sendgrid.com/v3/ for subusers in the EU.",
            is_required=False,
            default="https://api.sendgrid.com/v3/",
        ),
        *HEARING_FIELDS,
    )

    def lists(self) -> Lists:
        """Return its lists; see `Provider.lists`."""
        return SendGridLists(self.account)

    def _backend(self) -> Backend:
        url = self.account["api_url"] or "https://api.sendgrid.com/v3/"
        return _Backend(self.account["api_key"], url)

    def _merge(
        self, message: AnymailMessage, batch: Batch, recipients: Sequence[Recipient]
    ) -> None:
        tag = _unused_tag(batch)
        set_content(
            message,
            batch.subject.with_placeholders(lambda index: f"-{tag}s{index}-"),
            batch.html.with_placeholders(lambda index: f"-{tag}h{index}-"),
            batch.text.with_placeholders(lambda index: f"-{tag}t{index}-"),
        )
        set_person_data(message, recipients)
        message.extra_headers = _ascii(message.extra_headers)
        message.merge_headers = {at: _ascii(own) for at, own in message.merge_headers.items()}
        if batch.subject.size + batch.html.size + batch.text.size:
            message.merge_data = {person.email: merge_fields(person) for person in recipients}
        message.esp_extra = {"merge_field_format": f"-{tag}{{}}-", **_NO_FOOTER}

    def _render(self, message: AnymailMessage, batch: Batch, person: Recipient) -> None:
        super()._render(message, batch, person)
        message.extra_headers = _ascii(message.extra_headers)
        message.esp_extra = dict(_NO_FOOTER)

    def _metadata(self, batch: Batch) -> dict[str, str]:
        """Return it under names of its own: SendGrid's events mix it with their own fields."""
        return {f"meta_{name}": value for name, value in batch.metadata.items()}

    def _outcomes(self, answer: Any, count: int) -> Sequence[Outcome]:
        """Return the id of the call for each: 202 says that all are accepted."""
        if answer.status_code != 202:
            raise ValueError(answer.status_code)
        return [answer.headers.get("X-Message-Id", "")] * count


def _ascii(headers: Mapping[str, str]) -> dict[str, str]:
    """Return headers as SendGrid takes them: what is outside ASCII in encoded words."""
    return {
        name: value if value.isascii() else encode_words(value, folded=False)
        for name, value in headers.items()
    }


def _unused_tag(batch: Batch) -> str:
    """Return a word that no text of the batch contains.

    It is random for each call: SendGrid replaces keys one after the other, so a person who could
    write a key into a value would be shown another value in its place.
    """
    texts = (*batch.subject.static, *batch.html.static, *batch.text.static)
    while True:
        tag = f"x{secrets.token_hex(6)}"
        if not any(tag in text for text in texts):
            return tag
