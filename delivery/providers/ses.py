"""Amazon SES, v2 API: SendBulkEmail with the template inside the request.

Source: SES API v2 reference and botocore's model of it. "Amazon SES supports only simple
substitutions" in such a template, which is all that is needed. The answer is a list in the order
of the request; an entry may fail while others are sent.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType
from typing import Any, ClassVar

import boto3
from anymail.backends import amazon_ses
from anymail.message import AnymailMessage
from botocore.config import Config

from delivery.providers import ses_events
from delivery.providers.anymail import (
    METADATA_KEY,
    AnymailProvider,
    Backend,
    Outcome,
    PositionalAnswers,
    merge_fields,
    set_content,
    with_ready_values,
    without_message_id,
)
from delivery.providers.base import (
    CONNECT_TIMEOUT_S,
    READ_TIMEOUT_S,
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
from delivery.providers.mime import encode_words
from delivery.providers.planning import Limits
from delivery.providers.wording import clip

_MAX_HEADER = 995

_ACCOUNT_STATUS = frozenset(
    {
        *("MAIL_FROM_DOMAIN_NOT_VERIFIED", "CONFIGURATION_SET_NOT_FOUND", "ACCOUNT_SUSPENDED"),
        *("ACCOUNT_DAILY_QUOTA_EXCEEDED", "INVALID_SENDING_POOL_NAME", "ACCOUNT_SENDING_PAUSED"),
        "CONFIGURATION_SET_SENDING_PAUSED",
    }
)
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


class _Backend(PositionalAnswers, amazon_ses.EmailBackend):  # type: ignore[misc]
    """Stock Anymail makes a boto3 session for each open(): 100 ms and 10 MB."""

    client: Any

    def open(self) -> bool:
        if self.client is None:
            self.client = _session.client(self.client_params)
        return False

    def build_message_payload(self, message: AnymailMessage, defaults: dict[str, Any]) -> Any:
        if hasattr(message, "entry_tags"):
            return _BulkPayload(message, defaults, self)
        return super().build_message_payload(message, defaults)


class SES(AnymailProvider):
    """Amazon SES in one region of one AWS account."""

    kind = "ses"
    label = "Amazon SES"
    max_batch = 50
    default_batch = 50
    events: ClassVar[EventsModule] = ses_events
    # Documented: 50 destinations, 1 MB of JSON with an inline template, 262,144 characters of
    # template data. The data is JSON inside JSON, which can make four bytes of one.
    limits = Limits(recipients=50, call_bytes=240_000, person_bytes=120_000)
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
            "The ARNs from which events are taken, one per line.",
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
    )

    def confirm(self, request: WebhookRequest) -> bool:
        """Confirm an SNS subscription of one of the account's topics; True if it was one."""
        return ses_events.confirm(self.account, request)

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
        message.entry_tags = [_tags(batch, person) for person in recipients]
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

    def _render(self, message: AnymailMessage, batch: Batch, recipient: Recipient) -> None:
        """Make it a SendEmail of a MIME message: up to 40 MB, no template."""
        set_content(
            message,
            batch.subject.fill(recipient.subject),
            batch.html.fill(recipient.html),
            batch.text.fill(recipient.text),
        )
        message.extra_headers = {**batch.headers, **without_message_id(recipient.headers)}
        message.esp_extra = {"EmailTags": _tags(batch, recipient)}

    def _outcomes(self, answer: Any, count: int) -> Sequence[Outcome]:
        if "MessageId" in answer:
            return [str(answer["MessageId"])]
        return [_outcome(entry) for entry in answer["BulkEmailEntryResults"]]


def client_params(account: Account) -> dict[str, Any]:
    """Return the options of a boto3 client: one try for each call, our time-outs."""
    keys = account["access_key_id"], account["secret_access_key"]
    config = Config(
        connect_timeout=CONNECT_TIMEOUT_S,
        read_timeout=READ_TIMEOUT_S,
        retries={"total_max_attempts": 1},
        # A third of the call's CPU, and all values are built and vetted here.
        parameter_validation=False,
    )
    return {
        "region_name": account["region"],
        "aws_access_key_id": keys[0] or None,
        "aws_secret_access_key": keys[1] or None,
        "endpoint_url": account["endpoint_url"] or None,
        "config": config,
    }


@lru_cache(maxsize=12)
def _template(skeleton: Skeleton, letter: str) -> str:
    """Return the text with `{{h0}}` and so on, and braces of its own where they are harmless.

    Kept for the next calls of the same campaign: reading 20 kB takes 1.3 ms.
    """
    static = tuple(_SPARK.sub(_hoist, text) for text in skeleton.static)
    return Skeleton(static).with_placeholders(lambda index: f"{{{{{letter}{index}}}}}")


def _hoist(match: re.Match[str]) -> str:
    return "".join(_BRACES[character] for character in match.group())


def _header(value: str) -> str:
    """Return a header's value as SES takes it: printable ASCII, 995 characters."""
    encoded = encode_words(value.replace("\t", " "), folded=False)
    if len(encoded) > _MAX_HEADER:
        raise ValueError("a header that is too long for SES")
    return encoded


def _tags(batch: Batch, person: Recipient) -> list[dict[str, str]]:
    """Return the message tags, which SES gives back in its events and shows to nobody else."""
    tags = [{"Name": METADATA_KEY, "Value": person.message_id}]
    return [*tags, {"Name": "tag", "Value": batch.tag}] if batch.tag else tags


def _outcome(entry: Mapping[str, Any]) -> Outcome:
    """Return what SES says of one message."""
    status = entry["Status"]
    if status == "SUCCESS":
        return str(entry["MessageId"])
    return _refusal(status, str(entry.get("Error") or ""))


def _refusal(status: str, text: str) -> ProviderError:
    reason = clip(f"SES: {status}: {text}" if text else f"SES: {status}")
    if status in _WAIT_STATUS:
        return Unavailable(reason)
    if status in _ACCOUNT_STATUS or "not verified" in text:
        return Unavailable(reason, is_account_fault=True)
    return Rejected(reason)


# --- One boto3 session ------------------------------------------------------------------


class _Session:
    """The boto3 session of this process; making one costs 100 ms, and threads must take turns."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._session: Any = None

    def client(self, params: Mapping[str, Any]) -> Any:
        with self._lock:
            if self._session is None:
                self._session = boto3.session.Session()
            return self._session.client("sesv2", **params)

    def forget(self) -> None:
        """Begin anew, in a forked child: another thread may have held the lock."""
        self._lock = threading.Lock()
        self._session = None


_session = _Session()
os.register_at_fork(after_in_child=_session.forget)
