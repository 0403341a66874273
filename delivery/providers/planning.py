"""One batch, as many calls as the provider's limits ask for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from delivery.providers.base import Batch, Recipient


@dataclass(frozen=True, slots=True)
class Limits:
    """What one call may carry. Bytes are UTF-8, before the call's own encoding."""

    recipients: int
    call_bytes: int
    """Of the static text and the values of all persons."""
    person_bytes: int
    """Of one person's values; who needs more is sent to alone, fully rendered."""
    repeats_static: bool = False
    """Each person's text travels complete, so the static text counts once for each."""


@dataclass(frozen=True, slots=True)
class Call:
    """The people of one call; `is_rendered`: one person, the text complete, no merge fields."""

    recipients: Sequence[Recipient]
    is_rendered: bool = False


def plan(batch: Batch, limits: Limits) -> Iterator[Call]:
    """Yield calls that together hold every recipient once, each within the limits.

    No address, whatever its case, is twice in one call: providers refuse that or send one mail.
    """
    static = size_of((*batch.subject.static, *batch.html.static, *batch.text.static))
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
            if values > limits.person_bytes or size > free:
                yield Call([person], is_rendered=True)
            elif address in call or size > room or len(call) == limits.recipients:
                later.append(person)
            else:
                call[address] = person
                room -= size
        if call:
            yield Call(list(call.values()))
        waiting = later


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
