"""Why somebody is in a segment, or is not: every condition with its answer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Case, Value, When

from emailplatform.formats import exact
from subscribers import conditions, segmenting
from subscribers.models import Subscriber


@dataclass(frozen=True, slots=True)
class Answer:
    """A condition or a group of them, and whether it holds for one person."""

    text: str
    """“Language is de”; of a group “All of these”, “None of these”, “In segment Pros: any of …”."""
    holds: bool
    known: str = ""
    """What is known of the person, for a condition; “nothing” if nothing is."""
    parts: tuple[Answer, ...] = ()


def explain(rules: object, person: Subscriber, now: datetime) -> Answer:
    """Return the rules as a tree of answers. “The last 7 days” end at `now`.

    The database answers every condition, by the SQL that chooses a segment's people; segments that
    are asked for stand with their own rules. Raises InvalidInput if the rules are not valid (any
    more).
    """
    valid = segmenting.resolved(rules)
    fields = conditions.fields()
    asked = {
        f"holds_{number}": Case(
            When(conditions.compiled(leaf, fields, now), then=Value(True)), default=Value(False)
        )
        for number, leaf in enumerate(segmenting.leaves(valid))
    }
    rows = Subscriber.objects.filter(pk=person.pk)
    row: dict[str, Any] = {**rows.values("pk", **asked).get()}
    holds = iter([row[name] for name in asked])
    answers = _Answers(person, fields, holds)
    return answers.of(valid) or Answer("Everybody", holds=True)


class _Answers:
    """The answers for one person; `holds` says yes or no to each condition in its order."""

    def __init__(
        self, person: Subscriber, fields: conditions.Fields, holds: Iterator[bool]
    ) -> None:
        self._person, self._fields, self._holds = person, fields, holds

    def of(self, node: Mapping[str, Any]) -> Answer | None:
        """Return a node's answer; None for a group that asks nothing, which has no say."""
        if "field" in node:
            text = conditions.described(node, self._fields)
            known = conditions.known(node, self._person, self._fields)
            return Answer(text[:1].upper() + text[1:], next(self._holds), _worded(known))
        answers = [self.of(part) for part in node["rules"]]
        parts = tuple(each for each in answers if each is not None)
        is_not, segment = node.get("not", False), node.get("segment", "")
        if not parts:
            return Answer(f"In segment {segment}: everybody", not is_not) if segment else None
        if len(parts) == 1 and not is_not and not segment:
            return parts[0]
        is_all = node["match"] == "all"
        holds = (all if is_all else any)(each.holds for each in parts) != is_not
        return Answer(_GROUPS[is_all, is_not, bool(segment)].format(segment), holds, parts=parts)


_GROUPS = {
    (True, False, False): "All of these",
    (False, False, False): "Any of these",
    (True, True, False): "Not all of these",
    (False, True, False): "None of these",
    (True, False, True): "In segment {}: all of these",
    (False, False, True): "In segment {}: any of these",
    (True, True, True): "Not in segment {}: not all of these",
    (False, True, True): "Not in segment {}: none of these",
}
"""(all or any, turned round, a segment's rules) -> how a group is named."""


def _worded(value: Any) -> str:
    if value is None or value in ("", []):
        return "nothing"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return exact(value)
    return ", ".join(value) if isinstance(value, list) else str(value)
