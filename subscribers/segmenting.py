"""Segments: groups of people described by rules. Nobody else reads the JSON they are stored as.

    {"match": "all" | "any", "rules": [condition or group, …]}
    condition: {"field": "language", "op": "is", "value": "de"}

Fields and what can be asked of them: `subscribers.conditions`. Nothing here builds SQL text, so a
rule can at worst be slow, and `count` has a time limit.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db import OperationalError, connection, transaction
from django.db.models import Q
from django.utils import timezone

from emailplatform.errors import InvalidInput
from subscribers import conditions
from subscribers.models import Subscriber
from subscribers.querysets import SubscriberQuerySet

DEEPEST = 5
"""Groups within groups, the outermost included."""
MOST_CONDITIONS = 50
COUNT_TIMEOUT = "5s"

Rules = dict[str, Any]


class CountTooSlow(InvalidInput):
    """Counting took longer than COUNT_TIMEOUT."""

    code = "too_slow"


def validate(rules: object) -> Rules:
    """Return the rules with values in their canonical spelling. {} means everybody.

    Raises InvalidInput; the sentence names the place, as “rule 2 of rule 1”.
    """
    if rules in ({}, None):
        return {"match": "all", "rules": []}
    fields = conditions.fields()
    valid = _valid_group(rules, "the segment", 1, fields)
    if _size(valid) > MOST_CONDITIONS:
        raise _wrong("the segment", f"has more than {MOST_CONDITIONS} conditions")
    return valid


def _wrong(place: str, what: str) -> InvalidInput:
    return InvalidInput(f"{place[:1].upper()}{place[1:]} {what}.", param="rules")


def _valid_group(node: object, place: str, depth: int, fields: conditions.Fields) -> Rules:
    if depth > DEEPEST:
        raise _wrong(place, f"is nested deeper than {DEEPEST} groups")
    if not isinstance(node, dict) or set(node) - {"match", "rules"}:
        raise _wrong(place, "must have “match” and “rules” and nothing else")
    match, rules = node.get("match", "all"), node.get("rules")
    if match not in ("all", "any"):
        raise _wrong(place, "must match “all” or “any” of its rules")
    if not isinstance(rules, list):
        raise _wrong(place, "has no list of rules")
    if len(rules) > MOST_CONDITIONS:
        raise _wrong(place, f"has more than {MOST_CONDITIONS} rules")
    inside = "" if depth == 1 else f" of {place}"
    checked = [
        _valid_node(rule, f"rule {number}{inside}", depth, fields)
        for number, rule in enumerate(rules, 1)
    ]
    return {"match": match, "rules": checked}


def _valid_node(node: object, place: str, depth: int, fields: conditions.Fields) -> Rules:
    if isinstance(node, dict) and "field" in node:
        try:
            return conditions.validate(node, fields)
        except ValueError as error:
            raise _wrong(place, f"cannot be used: {error}") from error
    return _valid_group(node, place, depth + 1, fields)


def _size(node: Rules) -> int:
    return sum(_size(rule) for rule in node["rules"]) if "rules" in node else 1


def people(rules: object, now: datetime | None = None) -> SubscriberQuerySet:
    """Return the people the rules describe, whatever their standing; `.mailable()` asks for that.

    “The last 7 days” end at `now`. Raises InvalidInput if the rules are not valid (any more).
    """
    valid = validate(rules)
    return Subscriber.objects.filter(_compiled(valid, conditions.fields(), now or timezone.now()))


def _compiled(node: Rules, fields: conditions.Fields, now: datetime) -> Q:
    if "field" in node:
        return conditions.compiled(node, fields, now)
    joined = Q()
    for rule in node["rules"]:
        part = _compiled(rule, fields, now)
        joined = joined & part if node["match"] == "all" else joined | part
    return joined


def count(rules: object) -> int:
    """Return how many people the rules describe who may be mailed.

    Raises InvalidInput for rules that are not valid, CountTooSlow after COUNT_TIMEOUT.
    """
    asked = people(rules).mailable()
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SELECT set_config('statement_timeout', %s, true)", [COUNT_TIMEOUT])
            found = asked.count()
            cursor.execute("SET LOCAL statement_timeout TO DEFAULT")
            return found
    except OperationalError as error:
        if getattr(error.__cause__, "sqlstate", "") == "57014":
            raise CountTooSlow("Counting takes too long: make the rules simpler.") from error
        raise


def describe(rules: object) -> str:
    """Return the rules as a sentence: “language is de and (plan is pro or tags include vip)”."""
    valid = validate(rules)
    return _described(valid, conditions.fields(), is_outermost=True) or "everybody"


def _described(node: Rules, fields: conditions.Fields, *, is_outermost: bool = False) -> str:
    if "field" in node:
        return conditions.described(node, fields)
    parts = [text for text in (_described(rule, fields) for rule in node["rules"]) if text]
    joined = (" and " if node["match"] == "all" else " or ").join(parts)
    return joined if is_outermost or len(parts) < 2 else f"({joined})"


def choices() -> list[dict[str, Any]]:
    """Return what a form may offer: see `conditions.choices`."""
    return conditions.choices()
