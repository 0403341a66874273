"""What a segment can ask of a person: fields, the questions each takes, and their SQL.

A condition is {"field", "op", "value"}. Empty means missing too: “plan is not free” holds for
people who have no plan. Attributes are compared by their registered type; a stored value which is
not of that type counts as missing, so nothing a person wrote can break a query.

Apps above bring fields of their own with `offer`: people know nothing of mail.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from django.db.models import Q

from subscribers.conditions import engagement, people, standings
from subscribers.conditions.kinds import Field, Fields, Loaded, Op, Ops, inverted, negation
from subscribers.conditions.people import DATE, NUMBER
from subscribers.conditions.standings import SEGMENT
from subscribers.models import Subscriber
from subscribers.wording import pair_worded, parsed, worded

__all__ = [
    "DATE",
    "NUMBER",
    "SEGMENT",
    "Field",
    "Fields",
    "Loaded",
    "Op",
    "Ops",
    "choices",
    "compiled",
    "described",
    "fields",
    "known",
    "negation",
    "offer",
    "validate",
]

_offered: dict[str, Callable[[], Fields]] = {}


def offer(name: str, load: Callable[[], Fields]) -> None:
    """Take in fields of an app above; `load` gives them anew for every question."""
    _offered[name] = load


def fields() -> Fields:
    """Return every field there is now, by the name conditions use, attributes last."""
    found = {**standings.fields(), **people.own_fields(), **engagement.fields()}
    for load in _offered.values():
        found |= load()
    return {**found, **people.attributes()}


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


def compiled(
    node: Mapping[str, Any], known: Fields, now: datetime, *, is_inverted: bool = False
) -> Q:
    """Return a valid condition as SQL, or that it does not hold."""
    field = known[node["field"]]
    op = field.ops[node["op"]]
    holds = op.build(field.expression, node["value"], now)
    return inverted(holds, op) if is_inverted else holds


def described(node: Mapping[str, Any], known: Fields) -> str:
    """Return a valid condition in words: “language is de”, “opened no mail in the last 30 days”."""
    field = known[node["field"]]
    op = field.ops[node["op"]]
    value = worded(op.value, node["value"], field.options)
    if op.sentence and op.value == "choice_days":
        choice, days = pair_worded(node["value"], field.options)
        return op.sentence.format(choice=choice, days=days)
    if op.sentence:
        return op.sentence.format(value=value)
    label = field.label[:1].lower() + field.label[1:]
    return " ".join(filter(None, [label, op.words, value]))


def known(node: Mapping[str, Any], person: Subscriber, fields: Fields) -> Any:
    """Return what is known of a person that a valid condition asks for; None for nothing."""
    field = fields[node["field"]]
    return field.known(person, node["value"]) if field.known else None


def choices() -> list[dict[str, Any]]:
    """Return what a form may offer.

    [{"field", "label", "kind", "group", "options": [{"value", "label"}],
      "ops": [{"op", "label", "value": a kind of `wording.parsed`}]}]
    """
    return [
        {
            "field": name,
            "label": field.label,
            "kind": field.kind,
            "group": field.group,
            "options": [{"value": v, "label": text} for v, text in (field.options or {}).items()],
            "ops": [
                {"op": key, "label": op.words, "value": op.value} for key, op in field.ops.items()
            ],
        }
        for name, field in fields().items()
    ]
