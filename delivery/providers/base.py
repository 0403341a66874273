"""What every provider module promises: send a batch, verify and parse what comes back.

Knows no models and no other app. A provider is built from an `Account` (plain settings),
so the same code serves a database row, a test and the sandbox.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from django.conf import settings

from delivery.providers.mail import Address, Attachment, Batch, Recipient, Skeleton

if TYPE_CHECKING:
    from delivery.providers.lists import Lists

__all__ = ["Address", "Attachment", "Batch", "Recipient", "Skeleton"]
"""Handed on: who knows this contract need not know where its parts stand."""

logger = logging.getLogger(__name__)

CONNECT_TIMEOUT_S: float = settings.CONNECT_TIMEOUT_S
READ_TIMEOUT_S: float = settings.READ_TIMEOUT_S


# --- How a call can fail ---------------------------------------------------------------


class ProviderError(Exception):
    """A provider did not simply accept a call. `str()` is a clipped, secret-free sentence."""


class Fault(StrEnum):
    """What was wrong with a mail that was refused for good."""

    ADDRESS = "address"
    """The recipient: no such mailbox, not an address, suppressed by the provider."""
    CONTENT = "content"
    """The mail: too large, spam, against a policy, a header or attachment that is not taken."""
    OTHER = "other"


class Rejected(ProviderError):
    """The provider will never accept this. Not accepted; do not retry, do not fail over."""

    def __init__(self, message: str, *, kind: Fault = Fault.OTHER) -> None:
        super().__init__(message)
        self.kind = kind


class Unavailable(ProviderError):
    """Certainly not accepted (refused, throttled, down, wrong credentials). Fail over or wait.

    `retry_after` is the provider's own wish, if it said one. `is_account_fault` marks what
    waiting cannot mend: wrong credentials, suspended account. `is_sender_fault` blames the From
    address alone: mail of other senders goes through. `is_throttle` says that the provider is
    well, but wants less of us at a time.
    """

    def __init__(
        self,
        message: str,
        *,
        retry_after: timedelta | None = None,
        is_account_fault: bool = False,
        is_sender_fault: bool = False,
        is_throttle: bool = False,
    ) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.is_sender_fault = is_sender_fault
        self.is_account_fault = is_account_fault
        self.is_throttle = is_throttle


class CannotBeAsked(ProviderError):
    """This kind of provider tells by webhook only."""


class OutcomeUnknown(ProviderError):
    """It may have been accepted (silence after sending). Never fail over: it could send twice."""


class Verdict(StrEnum):
    """What became of one recipient of a call."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"
    UNAVAILABLE = "unavailable"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Result:
    """What the provider said about one recipient."""

    message_id: str
    verdict: Verdict
    provider_message_id: str = ""
    reason: str = ""
    fault: Fault | None = None
    """Of a REJECTED: what was wrong."""
    is_throttle: bool = False
    """Of an UNAVAILABLE: we are too fast for this mailbox or provider; it is not down."""
    refused_copies: Mapping[str, str] = field(default_factory=dict)
    """Copies that will not arrive although the mail was taken: why, by address."""


# --- What comes back -------------------------------------------------------------------


class EventType(StrEnum):
    """The one vocabulary every provider's events are translated into."""

    QUEUED = "queued"
    SENT = "sent"
    DELIVERED = "delivered"
    OPENED = "opened"
    CLICKED = "clicked"
    BOUNCED = "bounced"
    DEFERRED = "deferred"
    DROPPED = "dropped"
    UNSUBSCRIBED = "unsubscribed"
    SPAM_REPORT = "spam_report"
    COMPLAINED = "complained"
    FAILED = "failed"
    CONVERTED = "converted"
    """Bought, booked, signed up: told by our own programs and pages, as the next two."""
    REPLIED = "replied"
    CUSTOM = "custom"


class BounceClass(StrEnum):
    """hard: the address is dead. soft: for now. block: about us, never about the address."""

    HARD = "hard"
    SOFT = "soft"
    BLOCK = "block"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened to one message, in our words."""

    type: EventType
    occurred_at: datetime
    recipient: str
    dedupe_key: str
    """Equal for the same event told twice, unique within an account; at most 200 characters."""
    message_id: str = ""
    """Ours, as it was given in `Recipient.message_id`; empty when the provider did not echo it."""
    provider_message_id: str = ""
    url: str = ""
    ip: str = ""
    user_agent: str = ""
    is_machine: bool | None = None
    """What the provider itself says, of an open or a click; None where it does not say."""
    bounce_class: BounceClass | None = None
    reason: str = ""
    complaint_type: str = ""
    """What kind of complaint it was (RFC 5965): abuse, fraud, virus, not-spam…; at most 20."""
    country: str = ""
    """ISO code, where the provider says from where somebody looked."""
    raw: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class WebhookRequest:
    """An incoming POST as plain data. Header names are lower-case; `body` is untouched."""

    headers: Mapping[str, str]
    body: bytes
    received_at: datetime


Heard = tuple[list[Event], list[str]]
"""Events in their order, and one sentence for each thing that was not understood."""


class Forged(Exception):
    """The request does not prove that it comes from the provider: 400, counted, not stored."""


class TooOld(Forged):
    """Validly signed, but outside the replay window. The caller may store it as late."""


class Unparsable(Exception):
    """Genuine but not understood. Stored and shown to the operator; answered 200."""


# --- A provider ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Field:
    """One setting of an account, as the admin form asks for it."""

    name: str
    label: str
    help: str = ""
    is_secret: bool = False
    is_required: bool = True
    default: str = ""


@dataclass(frozen=True, slots=True)
class Account:
    """The settings of one provider account. `version` changes when any of them does."""

    id: int
    version: int
    values: Mapping[str, str]
    """By `Field.name`, secrets included, decrypted."""

    def __getitem__(self, name: str) -> str:
        return self.values.get(name, "")


HEARING_FIELDS = (
    Field(
        "webhook_window_min",
        "Webhook window, minutes",
        "How old a signed webhook may be before it counts as late; empty: as the server is set.",
        is_required=False,
    ),
    Field(
        "webhook_types",
        "Events to listen to",
        "Like “delivered opened clicked”; empty: all. Bounces, complaints and unsubscribes are"
        " always heard.",
        is_required=False,
    ),
)
"""Settings of every account that is heard."""


class EventsModule(Protocol):
    """What each `<kind>_events` module offers: the hearing half of a provider."""

    def verify(self, account: Account, request: WebhookRequest, /) -> None: ...

    def replay_key(self, request: WebhookRequest, /) -> str: ...

    def parse(self, request: WebhookRequest, /) -> list[Event]: ...

    def parse_each(self, request: WebhookRequest, /) -> Heard: ...


class Provider(ABC):
    """One account at one provider. Instances are cheap; connections are kept per thread."""

    kind: ClassVar[str]
    label: ClassVar[str]
    fields: ClassVar[tuple[Field, ...]]
    max_batch: ClassVar[int]
    """What one call may carry at most by the provider's own limit."""
    default_batch: ClassVar[int]
    """What one call carries by default: also what a crash can leave in doubt."""
    events: ClassVar[EventsModule]
    """The module that reads what this kind of provider tells: `<kind>_events`."""
    webhook_kind: ClassVar[str] = ""
    """What its webhook address calls it, where that is not its kind."""
    max_webhook_bytes: ClassVar[int] = 20_000_000
    """What one POST of its events may have: room for a batch, where the signature is over the raw
    bytes. Whose body must be parsed, or is taken at once, has one event in each: 1 MB is plenty."""
    proved_by: ClassVar[str] = ""
    """The setting that holds its webhook secrets, newest first, one per line."""
    longest_call_s: ClassVar[float] = 2 * (CONNECT_TIMEOUT_S + READ_TIMEOUT_S)
    """How long it may take at most until the next result or the end."""
    max_message_bytes: ClassVar[int] = 0
    """What one mail may have at most, its files in base64; 0: the server says when it is asked."""
    answers_one_by_one: ClassVar[bool] = False
    """Each recipient is a conversation of its own (SMTP): results are recorded soon after."""

    def __init__(self, account: Account) -> None:
        self.account = account

    @abstractmethod
    def send(self, batch: Batch) -> Iterator[Result]:
        """Hand the batch over; yield one Result per recipient, in the order the answers come.

        One batch may take several calls (limits on bytes, an address given twice). Raises
        Rejected, Unavailable or OutcomeUnknown for all recipients not yet yielded. If only the
        people of one call are in doubt, they are yielded as UNKNOWN and the rest is Unavailable.
        """

    def answers(self, batch: Batch) -> Iterator[Result]:
        """Send, and let no error through but the three: one of ours leaves everything in doubt."""
        try:
            yield from self.send(batch)
        except ProviderError:
            raise
        except Exception as error:
            # Its words may hold the request, credentials included: only its kind is kept.
            logger.error("provider_bug", extra={"kind": self.kind, "error": type(error).__name__})
            name = type(error).__name__
            raise OutcomeUnknown(f"Our code for {self.label} failed ({name}).") from error

    def verify(self, request: WebhookRequest) -> None:
        """Raise Forged (or TooOld) unless the request proves to come from this account.

        Refuses everything when the account has no webhook secret.
        """
        self.events.verify(self.account, request)

    def replay_key(self, request: WebhookRequest) -> str:
        """Return what makes this request good for one use only; '' where nothing does."""
        return self.events.replay_key(request)

    def parse(self, request: WebhookRequest) -> list[Event]:
        """Return the events of a verified request, in order. Raises Unparsable."""
        return self.events.parse(request)

    def parse_each(self, request: WebhookRequest) -> Heard:
        """Return the events of a verified request and, beside them, what was not understood."""
        return self.events.parse_each(request)

    def told_since(self, since: datetime, until: datetime) -> Iterator[bytes]:
        """Ask what happened between two times; yield bodies as their webhooks would have been.

        Raises Unavailable if it cannot be asked now, or (CannotBeAsked) not at all.
        """
        raise CannotBeAsked(f"{self.label} has no search for events that we know of.")

    def lists(self) -> Lists:
        """Return the provider's own lists of whom it mails no more. Raises CannotBeAsked."""
        raise CannotBeAsked(f"{self.label} keeps no list of addresses that we know of.")

    def confirm(self, request: WebhookRequest) -> bool:
        """Answer a provider's hand-shake (an SNS subscription); True if this request was one."""
        return False
