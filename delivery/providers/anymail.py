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
    Field,
    OutcomeUnknown,
    Provider,
    ProviderError,
    Recipient,
    Rejected,
    Result,
    Skeleton,
    Unavailable,
    Verdict,
)
from delivery.providers.classifying import classify
from delivery.providers.connections import kept
from delivery.providers.planning import Call, Limits, plan
from delivery.providers.vetting import vet

TIMEOUT = (CONNECT_TIMEOUT_S, READ_TIMEOUT_S)
METADATA_KEY = "message_id"
"""Under this name our id travels with every mail and comes back in every event."""

Outcome = str | ProviderError
"""What a provider said about one recipient: its own id for the message, or why not."""


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
        return session


_READY = frozenset({"to", "merge_data", "merge_metadata", "merge_headers"})


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
        calls = list(plan(vetted.batch, self.limits))
        for number, call in enumerate(calls, start=1):
            try:
                results = self._deliver(vetted.batch, call)
            except OutcomeUnknown as error:
                if number == len(calls):
                    raise
                yield from _all(call, Verdict.UNKNOWN, error)
                break
            except Rejected as error:
                if len(call.recipients) > 1:
                    raise
                results = _all(call, Verdict.REJECTED, error)
            yield from results
        else:
            return
        raise Unavailable("Not tried: the call before it got no answer.")

    def _deliver(self, batch: Batch, call: Call) -> list[Result]:
        """Make one call; return its results. Raises if it went wrong for all of its people."""
        answer = self._call(batch, call)
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
            _result(person, outcome)
            for person, outcome in zip(call.recipients, outcomes, strict=True)
        ]

    def _call(self, batch: Batch, call: Call) -> Any:
        """Build and send one request; return the provider's answer.

        The verdict is raised outside of the handler, so that it does not drag along the
        library's exception, which holds the request and its credentials.
        """
        message = None
        try:
            message = self._message(batch, call)
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

    def _message(self, batch: Batch, call: Call) -> AnymailMessage:
        message = AnymailMessage(
            from_email=str(address_of(batch.from_name, batch.from_email)),
            to=[address_of(person.name, person.email) for person in call.recipients],
            reply_to=[batch.reply_to] if batch.reply_to else None,
            headers=dict(batch.headers),
        )
        self._set_common(message, batch)
        if call.is_rendered:
            self._render(message, batch, call.recipients[0])
        else:
            self._merge(message, batch, call.recipients)
        return message

    def _set_common(self, message: AnymailMessage, batch: Batch) -> None:
        """Set what is the same for all: the tag and whether the provider tracks."""
        message.tags = [batch.tag] if batch.tag else []
        message.track_opens = batch.track_opens
        message.track_clicks = batch.track_clicks

    def _render(self, message: AnymailMessage, batch: Batch, recipient: Recipient) -> None:
        """Set content and data of a call with one complete message."""
        plain = Batch(
            from_email=batch.from_email,
            from_name=batch.from_name,
            subject=Skeleton((batch.subject.fill(recipient.subject),)),
            html=Skeleton((batch.html.fill(recipient.html),)),
            text=Skeleton((batch.text.fill(recipient.text),)),
            recipients=(),
        )
        self._merge(message, plain, [without_values(recipient)])


def without_values(recipient: Recipient) -> Recipient:
    """Return the recipient of a complete message: nothing is left to be merged."""
    return Recipient(
        recipient.message_id, recipient.email, recipient.name, headers=recipient.headers
    )


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


def _result(person: Recipient, outcome: Outcome) -> Result:
    if isinstance(outcome, str):
        return Result(person.message_id, Verdict.ACCEPTED, provider_message_id=outcome)
    return Result(person.message_id, _verdict(outcome), reason=str(outcome))


def _verdict(error: ProviderError) -> Verdict:
    if isinstance(error, Rejected):
        return Verdict.REJECTED
    return Verdict.UNAVAILABLE if isinstance(error, Unavailable) else Verdict.UNKNOWN


def _all(call: Call, verdict: Verdict, error: ProviderError) -> list[Result]:
    return [Result(person.message_id, verdict, reason=str(error)) for person in call.recipients]
