"""Kinds of fields: the questions each takes, and their SQL."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from django.db.models import Exists, OuterRef, Q
from django.db.models.expressions import Combinable
from django.db.models.lookups import (
    EndsWith,
    Exact,
    GreaterThan,
    GreaterThanOrEqual,
    IContains,
    IsNull,
    LessThan,
    LessThanOrEqual,
    StartsWith,
)

from subscribers.models import Subscription
from subscribers.wording import Options

Build = Callable[[Any, Any, datetime], Q]
"""(expression of the field, value, now) -> the condition."""


@dataclass(frozen=True, slots=True)
class Op:
    """A question: how it reads, what kind of value it takes (see `wording`), and its SQL."""

    words: str
    value: str
    build: Build


@dataclass(frozen=True, slots=True)
class Field:
    """Something known of people."""

    label: str
    kind: str
    expression: Combinable
    options: Options | None = None
    """Value -> label, where only these will do."""

    @property
    def ops(self) -> Mapping[str, Op]:
        return _OPS[self.kind]


Fields = Mapping[str, Field]


def _compare(lookup: type[Any]) -> Build:
    return lambda expression, value, _now: Q(lookup(expression, value))


def _not(build: Build) -> Build:
    return lambda expression, value, now: ~build(expression, value, now)


def _between(expression: Any, value: list[Any], _now: datetime) -> Q:
    low, high = value
    return Q(GreaterThanOrEqual(expression, low)) & Q(LessThanOrEqual(expression, high))


def _between_decimals(expression: Any, value: list[Any], now: datetime) -> Q:
    return _between(expression, [Decimal(str(each)) for each in value], now)


def _last_days(expression: Any, value: int, now: datetime) -> Q:
    first = now.date() - timedelta(days=value - 1)
    return _between(expression, [first.isoformat(), now.date().isoformat()], now)


def _start_of(day: str) -> datetime:
    return datetime.combine(date.fromisoformat(day), time(), tzinfo=UTC)


def _created_before(expression: Any, value: str, _now: datetime) -> Q:
    return Q(LessThan(expression, _start_of(value)))


def _created_after(expression: Any, value: str, _now: datetime) -> Q:
    return Q(GreaterThanOrEqual(expression, _start_of(value) + timedelta(days=1)))


def _created_in_last_days(expression: Any, value: int, now: datetime) -> Q:
    return Q(GreaterThan(expression, now - timedelta(days=value)))


def _is_on_list(_expression: Any, value: int, _now: datetime) -> Q:
    on_it = Subscription.objects.filter(
        subscriber=OuterRef("pk"), list=value, status=Subscription.Status.ACTIVE
    )
    return Q(Exists(on_it))


def _has_tag(_expression: Any, value: str, _now: datetime) -> Q:
    return Q(tags__contains=[value]) & ~Q(tags=[])  # the second for its index


def _is_boolean(expression: Any, value: bool, _now: datetime) -> Q:
    return Q(Exact(expression, "true" if value else "false"))


def _is_empty(expression: Any, _value: None, _now: datetime) -> Q:
    return Q(Exact(expression, ""))


def _is_missing(expression: Any, _value: None, _now: datetime) -> Q:
    return Q(IsNull(expression, True))


def _decimal(lookup: type[Any]) -> Build:
    return lambda expression, value, _now: Q(lookup(expression, Decimal(str(value))))


_is = _compare(Exact)
_EMPTY = {
    "is_empty": Op("is empty", "none", _is_empty),
    "is_not_empty": Op("is not empty", "none", _not(_is_empty)),
}
_MISSING = {
    "is_empty": Op("is empty", "none", _is_missing),
    "is_not_empty": Op("is not empty", "none", _not(_is_missing)),
}
_TEXT = {
    "is": Op("is", "text", _is),
    "is_not": Op("is not", "text", _not(_is)),
    "contains": Op("contains", "text", _compare(IContains)),
    "begins_with": Op("begins with", "text", _compare(StartsWith)),
    "ends_with": Op("ends with", "text", _compare(EndsWith)),
}
_OPS: dict[str, dict[str, Op]] = {
    "text": {**_TEXT, **_EMPTY},
    "email": _TEXT,
    "choice": {"is": Op("is", "choice", _is), "is_not": Op("is not", "choice", _not(_is))},
    "list": {
        "is": Op("is", "choice", _is_on_list),
        "is_not": Op("is not", "choice", _not(_is_on_list)),
    },
    "tags": {
        "has": Op("include", "text", _has_tag),
        "has_not": Op("do not include", "text", _not(_has_tag)),
    },
    "time": {
        "before": Op("before", "date", _created_before),
        "after": Op("after", "date", _created_after),
        "in_last_days": Op("in the last", "days", _created_in_last_days),
    },
    "number": {
        "=": Op("is", "number", _decimal(Exact)),
        "<": Op("is less than", "number", _decimal(LessThan)),
        ">": Op("is more than", "number", _decimal(GreaterThan)),
        "<=": Op("is at most", "number", _decimal(LessThanOrEqual)),
        ">=": Op("is at least", "number", _decimal(GreaterThanOrEqual)),
        "between": Op("is between", "numbers", _between_decimals),
        **_MISSING,
    },
    "date": {
        "on": Op("is", "date", _is),
        "before": Op("is before", "date", _compare(LessThan)),
        "after": Op("is after", "date", _compare(GreaterThan)),
        "in_last_days": Op("is in the last", "days", _last_days),
        **_MISSING,
    },
    "boolean": {"is": Op("is", "boolean", _is_boolean), **_EMPTY},
}
"""Kind of field -> op -> the question."""
