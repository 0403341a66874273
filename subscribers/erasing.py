"""Everything about one person: told, and erased. Each app adds the part of its own tables.

What stays of somebody who is erased: the keyed hash of the address where it is suppressed and in
the chain of consent (whose details go), and messages and events without anything of the person,
so that the figures of campaigns stay what they were.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.db import models, transaction
from django.template.loader import render_to_string

from emailplatform.secrets import address_key
from subscribers import enrolling
from subscribers.consents import BY_SYSTEM, Proof
from subscribers.models import Subscriber, Suppression

Told = dict[str, list[dict[str, Any]]]


@dataclass(frozen=True, slots=True)
class Who:
    """Somebody by address, known to us or not."""

    email: str
    key: bytes
    person: int | None
    """Key of the Subscriber."""


@dataclass(frozen=True, slots=True)
class Part:
    """What one app keeps of people."""

    name: str
    tell: Callable[[Who], Told]
    """Everything its tables hold on somebody: heading -> rows, ready for JSON."""
    erase: Callable[[Who, datetime], dict[str, int]]
    """Erase it; return what was changed in words -> how many. To repeat it changes nothing."""
    holding: Collection[str]
    """Its tables that hold something of a person: labels of models."""
    holding_nothing: Mapping[str, str] = field(default_factory=dict)
    """Its other tables -> why nobody is in there."""


PARTS: list[Part] = []
"""From the lowest app up, as the apps get ready: what is above looks into what is below."""


def register(part: Part) -> None:
    if part.name not in [each.name for each in PARTS]:
        PARTS.append(part)


def who_is(address: str) -> Who:
    """Return whoever an address belongs to. Raises InvalidInput for what is no address."""
    email = enrolling.clean(address)
    person = Subscriber.objects.filter(email=email).values_list("pk", flat=True).first()
    return Who(email, address_key(email), person)


def tell(who: Who, now: datetime) -> dict[str, Any]:
    """Return everything we hold on somebody, ready for JSON."""
    told: dict[str, Any] = {"address": who.email, "told_at": now.isoformat()}
    for part in PARTS:
        told[part.name] = part.tell(who)
    return told


@dataclass(frozen=True, slots=True)
class Erased:
    """What an erasure came to."""

    counts: dict[str, int]
    """In words -> how many."""
    is_kept_out: bool
    """Is the address suppressed, so that no import brings it back?"""


@transaction.atomic
def erase(who: Who, now: datetime, *, keep_out: bool = True, proof: Proof = BY_SYSTEM) -> Erased:
    """Erase everything about somebody but the hash of a suppression.

    With `keep_out` the address is suppressed, unless it is: only its owner can sign up again. To
    repeat it changes nothing.
    """
    counts: dict[str, int] = {}
    if keep_out and not Suppression.objects.closing().filter(address_key=who.key).exists():
        row = (who.key, Suppression.Reason.UNSUBSCRIBED.value, "asked to be erased")
        Suppression.objects.suppress_many([row], now, proof)
    for part in reversed(PARTS):
        counts |= {words: number for words, number in part.erase(who, now).items() if number}
    is_kept_out = Suppression.objects.closing().filter(address_key=who.key).exists()
    return Erased(counts, is_kept_out)


def rows_of(rows: models.QuerySet[Any], without: Collection[str] = ()) -> list[dict[str, Any]]:
    """Return rows of one table with every column, ready for JSON."""
    fields = [each.attname for each in rows.model._meta.concrete_fields]
    names = [name for name in fields if name not in without]
    return [
        {name: plain(value) for name, value in row.items()}
        for row in rows.order_by("pk").values(*names).iterator(2_000)
    ]


def plain(value: Any) -> Any:
    """Return a value as JSON has it: bytes in hex, times in ISO 8601."""
    if isinstance(value, bytes | memoryview):
        return bytes(value).hex()
    if isinstance(value, str | int | float | bool | dict | list | None):
        return value
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def as_page(told: dict[str, Any]) -> str:
    """Return what is told of somebody as a page to read, which needs no other file."""
    return render_to_string("subscribers/told.html", {"told": told, "parts": _sections(told)})


def _sections(told: dict[str, Any]) -> list[tuple[str, str, list[str], list[list[Any]]]]:
    """Return (part, heading, columns, rows), only of what there is anything of."""
    found = []
    for part in PARTS:
        for heading, rows in told.get(part.name, {}).items():
            if rows:
                columns = [name for name in rows[0] if any(row.get(name) for row in rows)]
                cells = [[_cell(row.get(name)) for name in columns] for row in rows]
                found.append((part.name, heading, columns, cells))
    return found


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
