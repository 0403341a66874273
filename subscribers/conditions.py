"""What a segment can ask of a person: fields, the questions each kind takes, and their SQL.

A condition is {"field", "op", "value"}. Empty means missing too: “plan is not free” holds for
people who have no plan. Attributes are compared by their registered type; a stored value which is
not of that type counts as missing, so nothing a person wrote can break a query.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from django.db.models import Case, CharField, DecimalField, Exists, F, OuterRef, Q, Value, When
from django.db.models.expressions import Combinable
from django.db.models.fields.json import KeyTextTransform
from django.db.models.functions import Cast, Coalesce
from django.db.models.lookups import (
    EndsWith,
    Exact,
    GreaterThan,
    GreaterThanOrEqual,
    IContains,
    IsNull,
    LessThan,
    LessThanOrEqual,
    Regex,
    StartsWith,
)

from subscribers.mailboxes import Mailbox
from subscribers.models import Attribute, MailingList, Subscriber, Subscription
from subscribers.wording import Options, parsed, worded

NUMBER = "^-?[0-9]{1,30}([.][0-9]{1,40})?$"
DATE = "^[0-9]{4}-[0-9]{2}-[0-9]{2}$"
"""What PostgreSQL can take for one. Its own digit class has every script's where ICU sorts."""
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


def fields() -> Fields:
    """Return every field there is now, by the name conditions use, attributes last."""
    own = {
        f"attributes.{each.name}": Field(each.label, each.type, _attribute(each))
        for each in Attribute.objects.all()
    }
    return {**_plain_fields(), **own}


def _plain_fields() -> dict[str, Field]:
    lists = dict(MailingList.objects.values_list("pk", "name"))
    statuses = {value: str(label) for value, label in Subscriber.Status.choices}
    mailboxes = {value: str(label) for value, label in Mailbox.choices}
    texts = {
        name: Field(label, "text", F(name))
        for name, label in {
            "language": "Language",
            "country": "Country",
            "time_zone": "Time zone",
            "first_name": "First name",
            "last_name": "Last name",
            "source": "Source",
        }.items()
    }
    return {
        "list": Field("List", "list", F("pk"), lists),
        "email": Field("E-mail", "email", F("email")),
        **texts,
        "tag": Field("Tags", "tags", F("tags")),
        "status": Field("Status", "choice", F("status"), statuses),
        "mailbox": Field("Mailbox provider", "choice", F("mailbox"), mailboxes),
        "created": Field("Added", "time", F("created_at")),
    }


def _attribute(attribute: Attribute) -> Combinable:
    """Return the attribute as SQL of its type: NULL (text: "") where a person has none such."""
    text = KeyTextTransform(attribute.name, "attributes")
    if attribute.type == Attribute.Type.NUMBER:
        cast = Cast(text, DecimalField(max_digits=60, decimal_places=20))
        return _only_if(NUMBER, text, cast)
    if attribute.type == Attribute.Type.DATE:
        return _only_if(DATE, text, Cast(text, CharField()))
    return Coalesce(text, Value(""), output_field=CharField())


def _only_if(pattern: str, text: Any, cast: Cast) -> Case:
    # CASE, because PostgreSQL may otherwise cast first and fail on “n/a”.
    return Case(When(Q(Regex(text, pattern)), then=cast), default=None)


def validate(node: Mapping[str, Any], known: Fields) -> dict[str, Any]:
    """Return one condition with its value in canonical spelling. Raises ValueError in words."""
    if set(node) - {"field", "op", "value"}:
        raise ValueError("it may have “field”, “op” and “value” and nothing else")
    field = known.get(str(node["field"]))
    if field is None:
        raise ValueError(f"there is no field “{str(node['field'])[:60]}”")
    op = field.ops.get(str(node.get("op")))
    if op is None:
        can = ", ".join(field.ops)
        raise ValueError(f"“{field.label}” takes one of {can}, not “{str(node.get('op'))[:60]}”")
    value = parsed(op.value, node.get("value"), field.options)
    if field.kind == "email":
        value = value.lower()
    return {"field": str(node["field"]), "op": str(node["op"]), "value": value}


def compiled(node: Mapping[str, Any], known: Fields, now: datetime) -> Q:
    """Return a valid condition as SQL."""
    field = known[node["field"]]
    return field.ops[node["op"]].build(field.expression, node["value"], now)


def described(node: Mapping[str, Any], known: Fields) -> str:
    """Return a valid condition in words: “language is de”, “tags include vip”."""
    field = known[node["field"]]
    op = field.ops[node["op"]]
    label = field.label[:1].lower() + field.label[1:]
    return " ".join(filter(None, [label, op.words, worded(op.value, node["value"], field.options)]))


def choices() -> list[dict[str, Any]]:
    """Return what a form may offer.

    [{"field", "label", "kind", "options": [{"value", "label"}],
      "ops": [{"op", "label", "value": "text" | "number" | "numbers" | "date" | "days" | "boolean"
               | "choice" | "none"}]}]
    """
    return [
        {
            "field": name,
            "label": field.label,
            "kind": field.kind,
            "options": [{"value": v, "label": text} for v, text in (field.options or {}).items()],
            "ops": [
                {"op": key, "label": op.words, "value": op.value} for key, op in field.ops.items()
            ],
        }
        for name, field in fields().items()
    ]
