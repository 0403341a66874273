"""The shared half of all providers that are spoken to through django-anymail.

Anymail builds the request and knows the API; here is what a campaign needs on top: one call for
many personalised messages, results by position, and errors as verdicts. Anymail's settings and
signals are not used; its backends get their options from an `Account` alone, because it swallows
option names that it does not know.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Protocol

from anymail.message import AnymailMessage
from anymail.utils import EmailAddress
from django.core.mail import EmailMessage

from delivery.providers.base import (
    CONNECT_TIMEOUT_S,
    READ_TIMEOUT_S,
    Batch,
    Fault,
    Field,
    OutcomeUnknown,
    Provider,
    ProviderError,
    Recipient,
    Rejected,
    Result,
    Unavailable,
)
from delivery.providers.cargo import METADATA_KEY, message_bytes, shared_bytes, too_large
from delivery.providers.classifying import classify
from delivery.providers.connections import kept
from delivery.providers.files import ReadyFile
from delivery.providers.outcomes import Outcome, result_of, same_for_all
from delivery.providers.planning import Call, Limits, plan
from delivery.providers.uploading import MOST_S, PatientAdapter
from delivery.providers.vetting import vet

TIMEOUT = (CONNECT_TIMEOUT_S, READ_TIMEOUT_S)


class Backend(Protocol):
    """An Anymail backend, as far as it is used here."""

    def open(self) -> Any: ...

    def close(self) -> Any: ...

    def send_messages(self, messages: Sequence[EmailMessage], /) -> int: ...


class PositionalAnswers:
    """Mixed into an Anymail backend: the answer is read by us, entry by entry.

    Anymail keys results by address and raises for some mixed answers although mails were sent.
    """

    def post_to_esp(self, payload: Any, message: Any) -> Any:
        """Mark that from here on the request may have left."""
        message.was_posted = True
        return super().post_to_esp(payload, message)  # type: ignore[misc]  # Of the backend.

    def parse_recipient_status(
        self, _response: Any, _payload: Any, _message: Any
    ) -> dict[str, Any]:
        return {}

    def raise_for_recipient_status(self, *_: Any) -> None:
        return


class OneRequest(PositionalAnswers):
    """Mixed into a backend that uses requests: it never follows a redirect.

    A redirected POST arrives as a GET, or elsewhere with our key in its headers.
    """

    def create_session(self) -> Any:
        session = super().create_session()  # type: ignore[misc]  # Of the backend it is mixed into.
        session.max_redirects = 0
        for scheme in ("https://", "http://"):
            session.mount(scheme, PatientAdapter())
        return session


_READY = frozenset(
    {"to", "cc", "bcc", "attachments", "merge_data", "merge_metadata", "merge_headers"}
)


def with_ready_values(attributes: Sequence[tuple[Any, ...]]) -> tuple[tuple[Any, ...], ...]:
    """Return a payload's attributes, those of the recipients taken as they are.

    Anymail would parse each address again and copy each value, which takes half of all the CPU
    that a message may cost.
    """
    return tuple(
        (name, None, None) if name in _READY else (name, *rest) for name, *rest in attributes
    )


def address_of(name: str, email: str) -> EmailAddress:
    """Return a vetted address as Anymail holds it."""
    username, _, domain = email.rpartition("@")
    return EmailAddress(name, username=username, domain=domain)


def without_message_id(headers: Mapping[str, str]) -> dict[str, str]:
    """Return headers for a provider that gives each mail a Message-ID of its own."""
    return {name: value for name, value in headers.items() if name.lower() != "message-id"}


class AnymailProvider(Provider):
    """A provider with an HTTP API. Subclasses say how a batch becomes one request."""

    limits: ClassVar[Limits]
    longest_call_s = CONNECT_TIMEOUT_S + READ_TIMEOUT_S + 2 * MOST_S

    @abstractmethod
    def _backend(self) -> Backend:
        """Return a new backend with the account's settings."""

    @abstractmethod
    def _merge(
        self, message: AnymailMessage, batch: Batch, recipients: Sequence[Recipient]
    ) -> None:
        """Set content and per-person data of a call that carries merge fields."""

    @abstractmethod
    def _outcomes(self, answer: Any, count: int) -> Sequence[Outcome]:
        """Return one outcome for each of `count` recipients, in the order of the request.

        Raises KeyError, TypeError, ValueError or IndexError for an answer it does not understand.
        """

    def send(self, batch: Batch) -> Iterator[Result]:
        """Hand over the batch in as few calls as the limits allow; see `Provider.send`."""
        vetted = vet(batch)
        yield from vetted.refused
        batch = vetted.batch
        try:
            self._check_size(shared_bytes(batch))
        except Rejected as error:
            yield from same_for_all(batch.recipients, error)
            return
        calls = list(plan(batch, self.limits))
        files = [ReadyFile(one) for one in batch.attachments]
        for number, call in enumerate(calls, start=1):
            try:
                results = self._deliver(batch, call, files)
            except OutcomeUnknown as error:
                if number == len(calls):
                    raise
                yield from same_for_all(call.recipients, error)
                break
            except Rejected as error:
                if len(call.recipients) > 1:
                    raise
                results = same_for_all(call.recipients, error)
            yield from results
        else:
            return
        raise Unavailable("Not tried: the call before it got no answer.")

    def _deliver(self, batch: Batch, call: Call, files: Sequence[ReadyFile]) -> list[Result]:
        """Make one call; return its results. Raises if it went wrong for all of its people."""
        if call.is_rendered:
            self._check_size(message_bytes(batch, call.recipients[0]))
        answer = self._call(batch, call, files)
        try:
            outcomes = self._outcomes(answer, len(call.recipients))
            if len(outcomes) != len(call.recipients):
                raise ValueError("an answer for another number of recipients")
        except (KeyError, TypeError, ValueError, IndexError, AttributeError):
            unreadable = "The provider accepted the call, but its answer cannot be read."
            raise OutcomeUnknown(unreadable) from None
        errors = [outcome for outcome in outcomes if isinstance(outcome, Unavailable)]
        if len(errors) == len(outcomes):
            raise errors[0]
        return [
            result_of(person, outcome)
            for person, outcome in zip(call.recipients, outcomes, strict=True)
        ]

    def _check_size(self, size: int) -> None:
        """Raise Rejected for a mail that the provider is known not to take."""
        if size > self.max_message_bytes:
            words = too_large(size, self.max_message_bytes, self.label)
            raise Rejected(words, kind=Fault.CONTENT)

    def _call(self, batch: Batch, call: Call, files: Sequence[ReadyFile]) -> Any:
        """Build and send one request; return the provider's answer.

        The verdict is raised outside of the handler, so that it does not drag along the
        library's exception, which holds the request and its credentials.
        """
        message = None
        try:
            message = self._message(batch, call, files)
            with kept(self.account, self.kind, self._connect) as backend:
                backend.send_messages([message])
            return message.anymail_status.esp_response
        except ProviderError as error:
            failure = error
        except Exception as error:  # noqa: BLE001 - whatever a client library raises is a verdict
            failure = classify(error, was_posted=hasattr(message, "was_posted"))
        raise failure

    def _connect(self) -> Backend:
        for field in self.fields:
            if field.is_secret and not _is_sendable(field, self.account[field.name]):
                words = f"The account's {field.label} has a character that no key has."
                raise Unavailable(words, is_account_fault=True)
        backend = self._backend()
        backend.open()
        return backend

    def _message(self, batch: Batch, call: Call, files: Sequence[ReadyFile]) -> AnymailMessage:
        message = AnymailMessage(
            from_email=str(address_of(batch.from_name, batch.from_email)),
            to=[address_of(person.name, person.email) for person in call.recipients],
            reply_to=[batch.reply_to] if batch.reply_to else None,
            headers=dict(batch.headers),
        )
        message.attachments = list(files)
        self._set_common(message, batch)
        if call.is_rendered:
            [person] = call.recipients
            set_copies(message, person)
            self._render(message, batch, person)
        else:
            self._merge(message, batch, call.recipients)
        return message

    def _set_common(self, message: AnymailMessage, batch: Batch) -> None:
        """Set what a provider takes for a whole call."""
        message.track_opens = batch.track_opens
        message.track_clicks = batch.track_clicks
        if tags := batch.all_tags:
            message.tags = tags
        if metadata := self._metadata(batch):
            message.metadata = metadata

    def _metadata(self, batch: Batch) -> dict[str, str]:
        """Return what of the caller's own metadata the provider takes."""
        return dict(batch.metadata)

    def _render(self, message: AnymailMessage, batch: Batch, person: Recipient) -> None:
        """Set content and data of a call with one complete message."""
        set_content(
            message,
            batch.subject.fill(person.subject),
            batch.html.fill(person.html),
            batch.text.fill(person.text),
        )
        message.metadata = {**self._metadata(batch), METADATA_KEY: person.message_id}
        message.extra_headers = {**batch.headers, **person.headers}


def set_copies(message: AnymailMessage, person: Recipient) -> None:
    """Add everybody else whom one mail goes to."""
    message.to += [address_of(copy.name, copy.email) for copy in person.more_to]
    message.cc = [address_of(copy.name, copy.email) for copy in person.cc]
    message.bcc = [address_of(copy.name, copy.email) for copy in person.bcc]


def set_content(message: AnymailMessage, subject: str, html: str, text: str) -> None:
    """Set subject and body; a part that is empty is left out, not sent empty."""
    message.subject = subject
    if not text:
        message.body, message.content_subtype = html, "html"
        return
    message.body = text
    if html:
        message.attach_alternative(html, "text/html")


def set_person_data(message: AnymailMessage, recipients: Sequence[Recipient]) -> None:
    """Set our id and the person's own headers, by address. Makes it one mail for each person."""
    message.merge_metadata = {
        person.email: {METADATA_KEY: person.message_id} for person in recipients
    }
    message.merge_headers = {
        person.email: dict(person.headers) for person in recipients if person.headers
    }


def merge_fields(person: Recipient) -> dict[str, str]:
    """Return the person's values by the names of their fields: s0…, h0…, t0…."""
    fields = {f"h{index}": value for index, value in enumerate(person.html)}
    fields.update({f"t{index}": value for index, value in enumerate(person.text)})
    fields.update({f"s{index}": value for index, value in enumerate(person.subject)})
    return fields


def _is_sendable(field: Field, value: str) -> bool:
    """Whether a secret can be part of a request; webhook secrets never are."""
    return field.name.startswith("webhook_") or (value.isascii() and value.isprintable())
