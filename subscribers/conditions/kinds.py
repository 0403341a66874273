"""Kinds of fields: the questions each takes, and their SQL."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from functools import cached_property
from typing import TYPE_CHECKING, Any

from django.db.models import F, Func, Q
from django.db.models.expressions import Combinable
from django.db.models.fields import BooleanField
from django.db.models.lookups import (
    EndsWith,
    Exact,
    GreaterThan,
    GreaterThanOrEqual,
    IContains,
    In,
    IsNull,
    LessThan,
    LessThanOrEqual,
    StartsWith,
)

from subscribers.wording import Options

if TYPE_CHECKING:
    from subscribers.models import Subscriber

Build = Callable[[Any, Any, datetime], Q]
"""(expression of the field, value, now) -> the condition."""
Known = Callable[["Subscriber", Any], Any]
"""(person, value of the condition) -> what is known of the person; None for nothing."""


@dataclass(frozen=True, slots=True)
class Op:
    """A question: how it reads, what kind of value it takes (see `wording`), and its SQL."""

    words: str
    value: str
    build: Build
    sentence: str = ""
    """The whole condition with {value} in it, where field, words and value in a row do not read."""
    is_total: bool = False
    """Its SQL is never NULL, whatever is missing."""


Ops = Mapping[str, Op]


@dataclass(frozen=True, slots=True)
class Field:
    """Something known of people."""

    label: str
    kind: str
    ops: Ops
    expression: Combinable = field(default_factory=lambda: F("pk"))
    options: Options | None = None
    """Value -> label, where only these will do."""
    group: str = "The person"
    """Under which a form lists it."""
    known: Known | None = None


Fields = Mapping[str, Field]


class Loaded(Mapping[Any, str]):
    """Options that are read when somebody first looks at them."""

    def __init__(self, load: Callable[[], dict[Any, str]]) -> None:
        self._load = load

    @cached_property
    def _rows(self) -> dict[Any, str]:
        return self._load()

    def __getitem__(self, key: Any) -> str:
        return self._rows[key]

    def __iter__(self) -> Iterator[Any]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)


# --- SQL ---------------------------------------------------------------------------------


class _IsNotTrue(Func):
    template = "(%(expressions)s) IS NOT TRUE"
    output_field = BooleanField()


def inverted(condition: Q, op: Op) -> Q:
    """Return that a condition does not hold; what is NULL does not hold."""
    return ~condition if op.is_total else Q(_IsNotTrue(condition))


def compare(lookup: type[Any]) -> Build:
    return lambda expression, value, _now: Q(lookup(expression, value))


def negation(op: Op, words: str, sentence: str = "") -> Op:
    """Return the opposite question: it holds exactly where `op` does not."""
    return replace(
        op,
        words=words,
        sentence=sentence,
        build=lambda expression, value, now: inverted(op.build(expression, value, now), op),
        is_total=True,
    )


def _not(build: Build) -> Build:
    return lambda expression, value, now: ~build(expression, value, now)


def _between(expression: Any, value: list[Any], _now: datetime) -> Q:
    low, high = value
    return Q(GreaterThanOrEqual(expression, low)) & Q(LessThanOrEqual(expression, high))


def _between_numbers(expression: Any, value: list[Any], now: datetime) -> Q:
    return _between(expression, [_exact(each) for each in value], now)


def _last_days(expression: Any, value: int, now: datetime) -> Q:
    first = now.date() - timedelta(days=value - 1)
    return _between(expression, [first.isoformat(), now.date().isoformat()], now)


def _start_of(day: str) -> datetime:
    return datetime.combine(date.fromisoformat(day), time(), tzinfo=UTC)


def _before(expression: Any, value: str, _now: datetime) -> Q:
    return Q(LessThan(expression, _start_of(value)))


def _after(expression: Any, value: str, _now: datetime) -> Q:
    return Q(GreaterThanOrEqual(expression, _start_of(value) + timedelta(days=1)))


def days_before(now: datetime, days: int) -> datetime:
    """Return the moment so many days ago."""
    return now - timedelta(days=days)


def within_days(expression: Any, value: int, now: datetime) -> Q:
    return Q(GreaterThan(expression, days_before(now, value)))


def _is_boolean(expression: Any, value: bool, _now: datetime) -> Q:
    return Q(Exact(expression, "true" if value else "false"))


def _is_empty(expression: Any, _value: None, _now: datetime) -> Q:
    return Q(Exact(expression, ""))


def _is_missing(expression: Any, _value: None, _now: datetime) -> Q:
    return Q(IsNull(expression, True))


def _is_there(expression: Any, _value: None, _now: datetime) -> Q:
    return Q(IsNull(expression, False))


def _number(lookup: type[Any]) -> Build:
    # Whole numbers stay so: a column of them is compared as it is, by its index.
    return lambda expression, value, _now: Q(lookup(expression, _exact(value)))


def _exact(value: float) -> int | Decimal:
    return value if isinstance(value, int) else Decimal(str(value))


_is = compare(Exact)


# --- Questions ---------------------------------------------------------------------------


def _total(words: str, value: str, build: Build) -> Op:
    return Op(words, value, build, is_total=True)


_EMPTY = {
    "is_empty": _total("is empty", "none", _is_empty),
    "is_not_empty": _total("is not empty", "none", _not(_is_empty)),
}
MISSING = {
    "is_empty": _total("is empty", "none", _is_missing),
    "is_not_empty": _total("is not empty", "none", _is_there),
}
EMAIL: Ops = {
    "is": _total("is", "text", _is),
    "is_not": _total("is not", "text", _not(_is)),
    "contains": _total("contains", "text", compare(IContains)),
    "begins_with": _total("begins with", "text", compare(StartsWith)),
    "ends_with": _total("ends with", "text", compare(EndsWith)),
}
_ONE_OF = _total("is one of", "texts", compare(In))
TEXT: Ops = {
    **EMAIL,
    "is_one_of": _ONE_OF,
    "is_none_of": negation(_ONE_OF, "is none of"),
    **_EMPTY,
}
CHOICE: Ops = {
    "is": _total("is", "choice", _is),
    "is_not": _total("is not", "choice", _not(_is)),
}
NUMBER: Ops = {
    "=": Op("is", "number", _number(Exact)),
    "<": Op("is less than", "number", _number(LessThan)),
    ">": Op("is more than", "number", _number(GreaterThan)),
    "<=": Op("is at most", "number", _number(LessThanOrEqual)),
    ">=": Op("is at least", "number", _number(GreaterThanOrEqual)),
    "between": Op("is between", "numbers", _between_numbers),
    **MISSING,
}
DATE: Ops = {
    "on": Op("is", "date", _is),
    "before": Op("is before", "date", compare(LessThan)),
    "after": Op("is after", "date", compare(GreaterThan)),
    "in_last_days": Op("is in the last", "days", _last_days),
    **MISSING,
}
"""Of dates that are text, like 2026-11-23."""
BOOLEAN: Ops = {"is": _total("is", "boolean", _is_boolean), **_EMPTY}
MOMENT: Ops = {
    "before": Op("before", "date", _before),
    "after": Op("after", "date", _after),
    "in_last_days": Op("in the last", "days", within_days),
    "not_in_last_days": negation(Op("", "days", within_days), "not in the last"),
}


def deeds(did: str, did_not: str) -> Ops:
    """Return what can be asked of something people do, by the moment when they last did it.

    `did` reads like “opened a mail”, `did_not` like “opened no mail”.
    """
    lately = Op("in the last", "days", within_days, f"{did} in the last {{value}}")
    ever = Op("ever", "none", _is_there, f"{did} at some time", is_total=True)
    return {
        "in_last_days": lately,
        "not_in_last_days": negation(lately, "not in the last", f"{did_not} in the last {{value}}"),
        "ever": ever,
        "never": negation(ever, "never", f"never {did}"),
    }
