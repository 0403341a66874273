"""Segments: groups of people described by rules. Nobody else reads the JSON they are stored as.

    {"match": "all" | "any", "rules": [condition or group, …], "not": true}
    condition: {"field": "language", "op": "is", "value": "de"}

“not” is there only where a group is turned round. Fields and what can be asked of them:
`subscribers.conditions`. Nothing here builds SQL text, so a rule can at worst be slow, and
`count` has a time limit.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

from django.db.models import Q
from django.utils import timezone

from emailplatform.errors import InvalidInput
from subscribers import conditions, limiting
from subscribers.limiting import TooSlow
from subscribers.models import Segment, Subscriber
from subscribers.querysets import SubscriberQuerySet

DEEPEST = 5
"""Groups within groups, the outermost included."""
MOST_CONDITIONS = 50
MOST_TOGETHER = 300
"""Conditions of a segment with those of all segments it asks for."""
COUNT_TIMEOUT_MS = 5_000

Rules = dict[str, Any]
CountTooSlow = TooSlow


def validate(rules: object, of: int | None = None) -> Rules:
    """Return the rules with values in their canonical spelling. {} means everybody.

    `of` is the segment they are to be stored in, which they must not ask for. Raises InvalidInput;
    the sentence names the place, as “rule 2 of rule 1”.
    """
    fields = conditions.fields()
    valid = _validated(rules, fields)
    _size_of(_resolved(valid, fields, () if of is None else (of,)))
    return valid


def _validated(rules: object, fields: conditions.Fields) -> Rules:
    if rules in ({}, None):
        return {"match": "all", "rules": []}
    valid = _Reader(fields).group(rules, "the segment", 1)
    if sum(1 for _ in leaves(valid)) > MOST_CONDITIONS:
        raise _wrong("the segment", f"has more than {MOST_CONDITIONS} conditions")
    return valid


def _wrong(place: str, what: str) -> InvalidInput:
    return InvalidInput(f"{place[:1].upper()}{place[1:]} {what}.", param="rules")


class _Reader:
    """Rules from JSON, checked. Those that are `resolved` have names, and are deeper."""

    def __init__(self, fields: conditions.Fields, *, is_resolved: bool = False) -> None:
        self._fields = fields
        self._deepest = 5 * DEEPEST if is_resolved else DEEPEST
        self._keys = {"match", "rules", "not", *(["segment"] if is_resolved else [])}

    def group(self, node: object, place: str, depth: int) -> Rules:
        if depth > self._deepest:
            raise _wrong(place, f"is nested deeper than {self._deepest} groups")
        if not isinstance(node, dict) or set(node) - self._keys:
            raise _wrong(place, "must have “match” and “rules”, may have “not”, and nothing else")
        match, is_not, name = node.get("match", "all"), node.get("not", False), node.get("segment")
        if match not in ("all", "any"):
            raise _wrong(place, "must match “all” or “any” of its rules")
        if not isinstance(is_not, bool):
            raise _wrong(place, "has a “not” that is neither true nor false")
        valid: Rules = {"match": match, "rules": self._rules(node.get("rules"), place, depth)}
        if is_not:
            valid["not"] = True
        return valid if name is None else {**valid, "segment": str(name)[:100]}

    def _rules(self, rules: object, place: str, depth: int) -> list[Rules]:
        if not isinstance(rules, list):
            raise _wrong(place, "has no list of rules")
        if len(rules) > MOST_CONDITIONS:
            raise _wrong(place, f"has more than {MOST_CONDITIONS} rules")
        inside = "" if depth == 1 else f" of {place}"
        return [
            self._node(rule, f"rule {number}{inside}", depth)
            for number, rule in enumerate(rules, 1)
        ]

    def _node(self, node: object, place: str, depth: int) -> Rules:
        if isinstance(node, dict) and "field" in node:
            try:
                return conditions.validate(node, self._fields)
            except ValueError as error:
                raise _wrong(place, f"cannot be used: {error}") from error
        return self.group(node, place, depth + 1)


def leaves(node: Rules) -> Iterator[Rules]:
    """Yield the conditions, in the order in which they stand."""
    if "field" in node:
        yield node
    for part in node.get("rules", []):
        yield from leaves(part)


# --- Segments within segments ------------------------------------------------------------


def resolved(rules: object) -> Rules:
    """Return valid rules in which every segment that is asked for stands with its own rules.

    Such a group has {"segment": its name} as well. What is resolved stays so: a campaign keeps it,
    whatever becomes of the segments. Raises InvalidInput.
    """
    fields = conditions.fields()
    found = _read(rules, fields)
    _size_of(found)
    return found


def _read(rules: object, fields: conditions.Fields) -> Rules:
    if isinstance(rules, dict) and "resolved" in rules:
        return _Reader(fields, is_resolved=True).group(rules["resolved"], "the segment", 1)
    return _resolved(_validated(rules, fields), fields, ())


def _resolved(node: Rules, fields: conditions.Fields, within: tuple[int, ...]) -> Rules:
    if node.get("field") == conditions.SEGMENT:
        return _rules_of(node, fields, within)
    if "field" in node:
        return node
    return {**node, "rules": [_resolved(each, fields, within) for each in node["rules"]]}


def _rules_of(node: Rules, fields: conditions.Fields, within: tuple[int, ...]) -> Rules:
    """Return the rules of the segment that a condition names, as a group with its name."""
    segment = Segment.objects.filter(pk=node["value"]).first()
    if segment is None:
        raise _wrong("a segment", "that is asked for is gone")
    if segment.pk in within:
        raise _wrong("the segment", f"asks for “{segment}”, which asks for it: a circle")
    rules = _validated(segment.rules, fields)
    inside = _resolved(rules, fields, (*within, segment.pk))
    is_not = (node["op"] == "is_not") != inside.pop("not", False)
    return {**inside, "segment": segment.name, **({"not": True} if is_not else {})}


def _size_of(node: Rules) -> None:
    if sum(1 for _ in leaves(node)) > MOST_TOGETHER:
        what = f"has with the segments it asks for more than {MOST_TOGETHER} conditions"
        raise _wrong("the segment", what)


def asked_for(rules: object) -> set[int]:
    """Return the keys of segments that stored rules ask for directly."""
    if not isinstance(rules, dict):
        return set()
    if rules.get("field") == conditions.SEGMENT:
        return {rules["value"]} if isinstance(rules.get("value"), int) else set()
    inside = rules.get("rules")
    return set().union(*map(asked_for, inside)) if isinstance(inside, list) else set()


# --- People ------------------------------------------------------------------------------


def people(rules: object, now: datetime | None = None) -> SubscriberQuerySet:
    """Return the people the rules describe, whatever their standing; `.mailable()` asks for that.

    “The last 7 days” end at `now`. Raises InvalidInput if the rules are not valid (any more).
    """
    return people_of_all([rules], now or timezone.now())


def people_of_all(several: Iterable[object], now: datetime) -> SubscriberQuerySet:
    """Return the people whom all of several rules describe."""
    found = Subscriber.objects.all()
    for rules in several:
        condition = compiled(resolved(rules), conditions.fields(), now)
        found = found.filter(condition) if condition is not None else found
    return found


def compiled(
    node: Rules, fields: conditions.Fields, now: datetime, *, is_inverted: bool = False
) -> Q | None:
    """Return resolved rules as SQL; None for a group that asks nothing, which has no say.

    “not” is carried down to the conditions, so that PostgreSQL sees joins and not a riddle.
    """
    if "field" in node:
        return conditions.compiled(node, fields, now, is_inverted=is_inverted)
    is_inverted = is_inverted != node.get("not", False)
    found = [compiled(each, fields, now, is_inverted=is_inverted) for each in node["rules"]]
    parts = [each for each in found if each is not None]
    if not parts:
        return _everybody(is_inverted) if "segment" in node else None
    joined = Q()
    for part in parts:
        joined = joined & part if (node["match"] == "all") != is_inverted else joined | part
    return joined


def _everybody(is_inverted: bool) -> Q:
    return Q(pk__in=[]) if is_inverted else Q(pk__isnull=False)


def count(rules: object) -> int:
    """Return how many people the rules describe who may be mailed.

    Raises InvalidInput for rules that are not valid, CountTooSlow after COUNT_TIMEOUT_MS.
    """
    asked = people(rules).mailable()
    with limiting.limited(COUNT_TIMEOUT_MS):
        return asked.count()


def describe(rules: object) -> str:
    """Return the rules as a sentence: “language is de and (plan is pro or tags include vip)”."""
    fields = conditions.fields()
    is_resolved = isinstance(rules, dict) and "resolved" in rules
    valid = _read(rules, fields) if is_resolved else _validated(rules, fields)
    return _described(valid, fields, is_outermost=True) or "everybody"


def told(rules: object) -> str:
    """Return the rules as a sentence, or why they cannot be used any more."""
    try:
        return describe(rules)
    except InvalidInput as error:
        return f"(cannot be used any more: {error})"


def _described(node: Rules, fields: conditions.Fields, *, is_outermost: bool = False) -> str:
    if "field" in node:
        return conditions.described(node, fields)
    if "segment" in node:
        return f"is {'not ' if node.get('not') else ''}in segment {node['segment']}"
    parts = [text for text in (_described(rule, fields) for rule in node["rules"]) if text]
    joined = (" and " if node["match"] == "all" else " or ").join(parts)
    if node.get("not") and parts:
        return f"not ({joined})"
    return joined if is_outermost or len(parts) < 2 else f"({joined})"


def choices() -> list[dict[str, Any]]:
    """Return what a form may offer: see `conditions.choices`."""
    return conditions.choices()
