"""Why somebody is in a segment, or is not: every condition with its answer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Case, Value, When

from emailplatform.formats import exact
from subscribers import conditions, segmenting
from subscribers.models import Subscriber, Subscription

_COLUMNS = {"tag": "tags", "created": "created_at"}
"""Field of conditions -> column of people, where they have different names."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A condition or a group of them, and whether it holds for one person."""

    text: str
    """“Language is de”; of a group “All of these” or “Any of these”."""
    holds: bool
    known: str = ""
    """What is known of the person, for a condition; “nothing” if nothing is."""
    parts: tuple[Answer, ...] = ()


def explain(rules: object, person: Subscriber, now: datetime) -> Answer:
    """Return the rules as a tree of answers. “The last 7 days” end at `now`.

    The database answers every condition, by the SQL that chooses a segment's people. Raises
    InvalidInput if the rules are not valid (any more).
    """
    valid = segmenting.validate(rules)
    fields = conditions.fields()
    asked = {
        f"holds_{number}": Case(
            When(conditions.compiled(leaf, fields, now), then=Value(True)), default=Value(False)
        )
        for number, leaf in enumerate(_leaves(valid))
    }
    rows = Subscriber.objects.filter(pk=person.pk)
    row: dict[str, Any] = {**rows.values("pk", **asked).get()}
    holds = iter([row[name] for name in asked])
    return _answer(valid, holds, _Known(person, fields)) or Answer("Everybody", holds=True)


def _leaves(node: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield the conditions in the order in which `_answer` meets them."""
    if "field" in node:
        yield node
    for part in node.get("rules", []):
        yield from _leaves(part)


def _answer(node: Mapping[str, Any], holds: Iterator[bool], known: _Known) -> Answer | None:
    """Return a node's answer; None for a group that asks nothing, which has no say."""
    if "field" in node:
        text = conditions.described(node, known.fields)
        return Answer(text[:1].upper() + text[1:], next(holds), known.of(node))
    answers = [_answer(part, holds, known) for part in node["rules"]]
    parts = tuple(each for each in answers if each is not None)
    if len(parts) < 2:
        return parts[0] if parts else None
    is_all = node["match"] == "all"
    together = all if is_all else any
    text = "All of these" if is_all else "Any of these"
    return Answer(text, together(each.holds for each in parts), parts=parts)


class _Known:
    """What is known of one person, in words; their lists are read once, if asked for."""

    def __init__(self, person: Subscriber, fields: conditions.Fields) -> None:
        self.fields = fields
        self._person = person
        self._standings: dict[int, str] | None = None

    def of(self, node: Mapping[str, Any]) -> str:
        name = node["field"]
        field = self.fields[name]
        if field.kind == "list":
            return self._standing(node["value"])
        _, is_own, own = name.partition("attributes.")
        if is_own:
            value = self._person.attributes.get(own)
        else:
            value = getattr(self._person, _COLUMNS.get(name, name))
        return _worded((field.options or {}).get(value, value) if field.options else value)

    def _standing(self, source: int) -> str:
        if self._standings is None:
            rows = Subscription.objects.filter(subscriber=self._person)
            labels = dict(Subscription.Status.choices)
            self._standings = {
                each: str(labels[status]).lower()
                for each, status in rows.values_list("list", "status")
            }
        return self._standings.get(source, "never on it")


def _worded(value: Any) -> str:
    if value is None or value in ("", []):
        return "nothing"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return exact(value)
    return ", ".join(value) if isinstance(value, list) else str(value)
