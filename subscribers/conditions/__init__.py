"""What a segment can ask of a person: fields, the questions each kind takes, and their SQL.

A condition is {"field", "op", "value"}. Empty means missing too: “plan is not free” holds for
people who have no plan. Attributes are compared by their registered type; a stored value which is
not of that type counts as missing, so nothing a person wrote can break a query.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.db.models import Q

from subscribers.conditions.catalogue import DATE, NUMBER, fields
from subscribers.conditions.kinds import Field, Fields, Op
from subscribers.wording import parsed, worded

__all__ = [
    "DATE",
    "NUMBER",
    "Field",
    "Fields",
    "Op",
    "choices",
    "compiled",
    "described",
    "fields",
    "validate",
]


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
