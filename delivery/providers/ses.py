"""Amazon SES, v2 API: SendBulkEmail with the template inside the request.

Source: SES API v2 reference and botocore's model of it. "Amazon SES supports only simple
substitutions" in such a template, which is all that is needed. The answer is a list in the order
of the request; an entry may fail while others are sent.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from email.utils import format_datetime
from functools import lru_cache
from types import MappingProxyType
from typing import Any, ClassVar

from anymail.backends import amazon_ses
from anymail.message import AnymailMessage

from delivery.providers import ses_events
from delivery.providers.anymail import (
    AnymailProvider,
    Backend,
    PositionalAnswers,
    merge_fields,
    set_content,
    with_ready_values,
    without_message_id,
)
from delivery.providers.base import (
    HEARING_FIELDS,
    Account,
    Batch,
    EventsModule,
    Field,
    ProviderError,
    Recipient,
    Rejected,
    Skeleton,
    Unavailable,
    WebhookRequest,
)
from delivery.providers.blaming import fault_of_words
from delivery.providers.cargo import METADATA_KEY
from delivery.providers.classifying import is_unverified
from delivery.providers.lists import Lists
from delivery.providers.mime import MimeSkeleton, encode_words
from delivery.providers.outcomes import Outcome
from delivery.providers.planning import Limits
from delivery.providers.ses_client import client_params, patient, session
from delivery.providers.ses_lists import SESLists
from delivery.providers.uploading import LARGE
from delivery.providers.wording import clip

_MAX_HEADER = 995
_MOST_TAGS = 50
_TAG = re.compile(r"[A-Za-z0-9_-]{1,256}")

_ACCOUNT_STATUS = frozenset(
    {
        *("CONFIGURATION_SET_NOT_FOUND", "ACCOUNT_SUSPENDED"),
        *("ACCOUNT_DAILY_QUOTA_EXCEEDED", "INVALID_SENDING_POOL_NAME", "ACCOUNT_SENDING_PAUSED"),
        "CONFIGURATION_SET_SENDING_PAUSED",
    }
)
_SENDER_STATUS = frozenset({"MAIL_FROM_DOMAIN_NOT_VERIFIED"})
_WAIT_STATUS = frozenset({"ACCOUNT_THROTTLED", "TRANSIENT_FAILURE"})

_BRACES: Mapping[str, str] = MappingProxyType({"{": "{{bo}}", "}": "{{bc}}", "\\": "{{bs}}"})
_BRACE_VALUES: Mapping[str, str] = MappingProxyType({"bo": "{", "bc": "}", "bs": "\\"})
_SPARK = re.compile(r"\\*\{{2,}\}*|[{\\]+\Z|\A\}+")
"""Braces of a static text which, alone or beside a merge field, SES would read as its own."""


class _BulkPayload(amazon_ses.AmazonSESV2SendBulkEmailPayload):  # type: ignore[misc]
    """SendBulkEmail, with subject and body of the message as the template."""

    base_message_attrs = with_ready_values(
        amazon_ses.AmazonSESV2SendBulkEmailPayload.base_message_attrs
    )
    anymail_message_attrs = with_ready_values(
        amazon_ses.AmazonSESV2SendBulkEmailPayload.anymail_message_attrs
    )
    esp_message_attrs = (("entry_tags", None, None),)
    entry_tags: Sequence[Sequence[Mapping[str, str]]] = ()

    def init_payload(self) -> None:
        super().init_payload()
        self.content: dict[str, str] = {}
        template = {"TemplateContent": self.content, "TemplateData": "{}"}
        self.params["DefaultContent"] = {"Template": template}

    def set_subject(self, subject: str) -> None:
        self.content["Subject"] = subject

    def set_text_body(self, body: str) -> None:
        self.content["Text"] = body

    def set_html_body(self, body: str) -> None:
        self.content["Html"] = body

    def set_entry_tags(self, tags: Sequence[Sequence[Mapping[str, str]]]) -> None:
        self.entry_tags = tags

    def finalize_payload(self) -> None:
        super().finalize_payload()
        for entry, tags in zip(self.params["BulkEmailEntries"], self.entry_tags, strict=True):
            entry["ReplacementTags"] = tags


class _RawPayload(amazon_ses.AmazonSESV2SendEmailPayload):  # type: ignore[misc]
    """SendEmail of a MIME message that is written here, not by Django."""

    base_message_attrs = with_ready_values(
        amazon_ses.AmazonSESV2SendEmailPayload.base_message_attrs
    )

    def init_payload(self) -> None:
        amazon_ses.AmazonSESBasePayload.init_payload(self)
        self.all_recipients: list[Any] = []

    def generate_raw_message(self) -> bytes:
        raw: bytes = self.message.raw
        return raw


class _Backend(PositionalAnswers, amazon_ses.EmailBackend):  # type: ignore[misc]
    """Stock Anymail makes a boto3 session for each open(): 100 ms and 10 MB."""

    client: Any

    def open(self) -> bool:
        if self.client is None:
            self.client = session.client(self.client_params)
        return False

    def post_to_esp(self, payload: Any, message: AnymailMessage) -> Any:
        """Send, a large mail through a client of its own that waits for it to leave."""
        size = len(getattr(message, "raw", b"")) * 4 // 3
        if size <= LARGE:
            return super().post_to_esp(payload, message)
        usual, self.client = self.client, session.client(patient(self.client_params, size))
        try:
            return super().post_to_esp(payload, message)
        finally:
            self.client.close()
            self.client = usual

    def build_message_payload(self, message: AnymailMessage, defaults: dict[str, Any]) -> Any:
        if hasattr(message, "entry_tags"):
            return _BulkPayload(message, defaults, self)
        return _RawPayload(message, defaults, self)


class SES(AnymailProvider):
    """Amazon SES in one region of one AWS account."""

    kind = "ses"
    label = "Amazon SES"
    max_batch = 50
    default_batch = 50
    events: ClassVar[EventsModule] = ses_events
    # Documented: 50 destinations, 1 MB of JSON with an inline template, 262,144 characters of
    # template data. The data is JSON inside JSON, which can make four bytes of one.
    limits = Limits(
        recipients=50,
        call_bytes=240_000,
        person_bytes=120_000,
        wire_bytes=1_000_000,
        carries_files=False,
    )
    max_message_bytes = 40_000_000
    max_webhook_bytes = 1_000_000
    proved_by = "topic_arns"
    fields = (
        Field("region", "Region", "Like eu-central-1."),
        Field(
            "access_key_id",
            "Access key id",
            "Empty: the role of the machine is used. It needs ses:SendEmail, ses:SendBulkEmail"
            " and ses:SendBulkTemplatedEmail.",
            is_required=False,
        ),
        Field("secret_access_key", "Secret access key", is_secret=True, is_required=False),
        Field(
            "configuration_set",
            "Configuration set",
            "Its event destination must be an SNS topic; without one there are no events.",
            is_required=False,
        ),
        Field(
            "topic_arns",
            "SNS topics",
            "The ARNs from which events are taken, one per line. To move to another topic: name"
            " both until the old one is silent.",
            is_required=False,
        ),
        Field(
            "endpoint_url",
            "Address of the API",
            "Only for a sandbox or a VPC endpoint.",
            is_required=False,
        ),
        Field(
            "sns_certificate",
            "Certificate of SNS",
            "PEM. Only for a sandbox or a private copy of SNS.",
            is_required=False,
        ),
        *HEARING_FIELDS,
    )

    def __init__(self, account: Account) -> None:
        super().__init__(account)
        self._made: tuple[Batch, MimeSkeleton] | None = None

    def confirm(self, request: WebhookRequest) -> bool:
        """Confirm an SNS subscription of one of the account's topics; True if it was one."""
        return ses_events.confirm(self.account, request)

    def lists(self) -> Lists:
        """Return its lists; see `Provider.lists`."""
        return SESLists(self.account)

    def _backend(self) -> Backend:
        backend: Backend = _Backend(
            session_params={},
            client_params=client_params(self.account),
            configuration_set_name=self.account["configuration_set"] or None,
        )
        return backend

    def _set_common(self, message: AnymailMessage, batch: Batch) -> None:
        """Leave tracking and tags: SES tracks by configuration set, tags are set per entry."""
        message.extra_headers = {name: _header(value) for name, value in batch.headers.items()}

    def _merge(
        self, message: AnymailMessage, batch: Batch, recipients: Sequence[Recipient]
    ) -> None:
        texts = (
            _template(batch.subject, "s"),
            _template(batch.html, "h"),
            _template(batch.text, "t"),
        )
        set_content(message, *texts)
        tags = _tags(batch)
        message.entry_tags = [[_our_id(person), *tags] for person in recipients]
        braces = _BRACE_VALUES if any("{{b" in text for text in texts) else {}
        message.merge_data = {
            person.email: {**braces, **merge_fields(person)} for person in recipients
        }
        message.merge_headers = {
            person.email: {
                name: _header(value) for name, value in without_message_id(person.headers).items()
            }
            for person in recipients
        }

    def _render(self, message: AnymailMessage, batch: Batch, person: Recipient) -> None:
        """Make it a SendEmail of a MIME message: up to 40 MB, no template."""
        skeleton = self._skeleton_of(batch)
        message.raw = skeleton.message(person, format_datetime(datetime.now(UTC)))
        message.esp_extra = {"EmailTags": [_our_id(person), *_tags(batch)]}

    def _skeleton_of(self, batch: Batch) -> MimeSkeleton:
        """Return what the rendered mails of a batch share, its files above all; made once."""
        if self._made is None or self._made[0] is not batch:
            self._made = batch, MimeSkeleton(batch, is_8bit=False)
        return self._made[1]

    def _outcomes(self, answer: Any, count: int) -> Sequence[Outcome]:
        if "MessageId" in answer:
            return [str(answer["MessageId"])]
        return [_outcome(entry) for entry in answer["BulkEmailEntryResults"]]


@lru_cache(maxsize=12)
def _template(skeleton: Skeleton, letter: str) -> str:
    """Return the text with `{{h0}}` and so on, and braces of its own where they are harmless.

    Kept for the next calls of the same campaign: reading 20 kB takes 1.3 ms.
    """
    static = tuple(_SPARK.sub(_hoist, text) for text in skeleton.static)
    return replace(skeleton, static=static).with_placeholders(
        lambda index: f"{{{{{letter}{index}}}}}"
    )


def _hoist(match: re.Match[str]) -> str:
    return "".join(_BRACES[character] for character in match.group())


def _header(value: str) -> str:
    """Return a header's value as SES takes it: printable ASCII, 995 characters."""
    encoded = encode_words(value.replace("\t", " "), folded=False)
    if len(encoded) > _MAX_HEADER:
        raise ValueError("a header that is too long for SES")
    return encoded


def _our_id(person: Recipient) -> dict[str, str]:
    return {"Name": METADATA_KEY, "Value": person.message_id}


def _tags(batch: Batch) -> list[dict[str, str]]:
    """Return the message tags, which SES gives back in its events and shows to nobody else.

    Of the caller's metadata those that a tag can hold: letters, digits, _ and -, 256 of them.
    """
    tags = {f"tag_{number}": tag for number, tag in enumerate(batch.all_tags, start=1)}
    if "tag_1" in tags:
        tags = {"tag": tags.pop("tag_1"), **tags}
    tags |= {f"meta_{name}": text for name, text in batch.metadata.items() if _TAG.fullmatch(text)}
    told = [{"Name": name, "Value": text} for name, text in tags.items()]
    return told[: _MOST_TAGS - 1]


def _outcome(entry: Mapping[str, Any]) -> Outcome:
    """Return what SES says of one message."""
    status = entry["Status"]
    if status == "SUCCESS":
        return str(entry["MessageId"])
    return _refusal(status, str(entry.get("Error") or ""))


def _refusal(status: str, text: str) -> ProviderError:
    said = f"SES: {status}: {text}" if text else f"SES: {status}"
    reason = clip(said)
    if status in _WAIT_STATUS:
        return Unavailable(reason, is_throttle=status == "ACCOUNT_THROTTLED")
    if status in _SENDER_STATUS or is_unverified(text):
        return Unavailable(reason, is_sender_fault=True)
    if status in _ACCOUNT_STATUS:
        return Unavailable(reason, is_account_fault=True)
    return Rejected(reason, kind=fault_of_words(said))
