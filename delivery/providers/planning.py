"""One batch, as many calls as the provider's limits ask for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from delivery.providers.base import Batch, Recipient
from delivery.providers.cargo import encoded_bytes


@dataclass(frozen=True, slots=True)
class Limits:
    """What one call may carry. Bytes are UTF-8, before the call's own encoding."""

    recipients: int
    call_bytes: int
    """Of the static text and the values of all persons."""
    person_bytes: int
    """Of one person's values; who needs more is sent to alone, fully rendered."""
    wire_bytes: int
    """Of the whole call once it is encoded: what `call_bytes` can become, files included."""
    repeats_static: bool = False
    """Each person's text travels complete, so the static text and the files count for each."""
    carries_files: bool = True
    """Whether a call for many can hold attachments; else each of them is sent to alone."""


@dataclass(frozen=True, slots=True)
class Call:
    """The people of one call; `is_rendered`: one person, the text complete, no merge fields."""

    recipients: Sequence[Recipient]
    is_rendered: bool = False


def plan(batch: Batch, limits: Limits) -> Iterator[Call]:
    """Yield calls that together hold every recipient once, each within the limits.

    No address, whatever its case, is twice in one call: providers refuse that or send one mail.
    A mail with copies is a call of its own.
    """
    if batch.attachments and not limits.carries_files:
        yield from (Call([person], is_rendered=True) for person in batch.recipients)
        return
    static = size_of((*batch.subject.static, *batch.html.static, *batch.text.static))
    static += _weight_of_files(batch, limits)
    shared, own = (0, static) if limits.repeats_static else (static, 0)
    free = limits.call_bytes - shared
    waiting: Sequence[Recipient] = batch.recipients
    while waiting:
        call: dict[str, Recipient] = {}
        later: list[Recipient] = []
        room = free
        for person in waiting:
            values = weight(person)
            size, address = values + own, person.email.lower()
            if values > limits.person_bytes or size > free or person.copies:
                yield Call([person], is_rendered=True)
            elif address in call or size > room or len(call) == limits.recipients:
                later.append(person)
            else:
                call[address] = person
                room -= size
        if call:
            yield Call(list(call.values()))
        waiting = later


def _weight_of_files(batch: Batch, limits: Limits) -> int:
    """Return how much room files take from texts: base64 does not grow on the wire, texts do."""
    if not batch.attachments:
        return 0
    return encoded_bytes(batch.attachments) * limits.call_bytes // limits.wire_bytes + 1


def weight(person: Recipient) -> int:
    """Return the bytes of a person's values, the names of the merge fields included."""
    values = (*person.subject, *person.html, *person.text)
    return size_of((*values, *person.headers.values())) + FIELD_BYTES * len(values)


FIELD_BYTES = 20
"""The most that a merge field's name and its quotes take."""


def size_of(texts: Iterable[str]) -> int:
    """Return the bytes of texts in UTF-8."""
    text = "".join(texts)
    return len(text) if text.isascii() else len(text.encode())
