"""What a provider's answer to one call means for each of its people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from delivery.providers.base import (
    Fault,
    ProviderError,
    Recipient,
    Rejected,
    Result,
    Unavailable,
    Verdict,
)


@dataclass(frozen=True, slots=True)
class Taken:
    """The mail was taken, but not for all whom it names."""

    provider_message_id: str
    refused: Mapping[str, str]
    """Why, by address."""


Outcome = str | Taken | ProviderError
"""What a provider said about one recipient: its own id for the message, or why not."""


def result_of(person: Recipient, outcome: Outcome) -> Result:
    """Return the result of one person."""
    if isinstance(outcome, str):
        return Result(person.message_id, Verdict.ACCEPTED, provider_message_id=outcome)
    if isinstance(outcome, Taken):
        return _partly_taken(person, outcome)
    return Result(
        person.message_id,
        _verdict(outcome),
        reason=str(outcome),
        fault=outcome.kind if isinstance(outcome, Rejected) else None,
        is_throttle=isinstance(outcome, Unavailable) and outcome.is_throttle,
    )


def _partly_taken(person: Recipient, taken: Taken) -> Result:
    """Return the result of a mail that some get and some do not.

    The person whom it is for decides: refused, it is refused, though the copies have got it.
    """
    copies = {copy.email.lower(): copy.email for copy in person.copies}
    by_address = {at.lower(): why for at, why in taken.refused.items()}
    refused = {copies[at]: why for at, why in by_address.items() if at in copies}
    why = by_address.get(person.email.lower())
    if why is None:
        return Result(
            person.message_id,
            Verdict.ACCEPTED,
            provider_message_id=taken.provider_message_id,
            refused_copies=refused,
        )
    return Result(
        person.message_id,
        Verdict.REJECTED,
        provider_message_id=taken.provider_message_id,
        reason=f"{why} The copies were sent.",
        fault=Fault.ADDRESS,
        refused_copies=refused,
    )


def _verdict(error: ProviderError) -> Verdict:
    if isinstance(error, Rejected):
        return Verdict.REJECTED
    return Verdict.UNAVAILABLE if isinstance(error, Unavailable) else Verdict.UNKNOWN


def same_for_all(people: Sequence[Recipient], error: ProviderError) -> list[Result]:
    """Return the results of a call that went one way for all of its people."""
    return [result_of(person, error) for person in people]
