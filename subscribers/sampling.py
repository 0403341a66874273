"""A look at a segment while it is being made: how many people, ten of them, what is wrong where."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from emailplatform.errors import InvalidInput
from subscribers import conditions, limiting, segmenting
from subscribers.models import Subscriber

SAMPLE = 10
SAMPLE_TIMEOUT_MS = 2_000


@dataclass(frozen=True, slots=True)
class Look:
    """What one sees of a segment: either problems, or a count with a sentence and a sample."""

    count: int | None = None
    sentence: str = ""
    people: list[Subscriber] = field(default_factory=list)
    problems: dict[str, str] = field(default_factory=dict)
    """Place of a condition -> what is wrong with it. "1.0" is the first in the second group."""
    problem: str = ""
    """What is wrong with the whole."""


def look(rules: Any, of: int | None = None) -> Look:
    """Return how many may be mailed, and the ten newest of them.

    `of` is the segment the rules are to be stored in, if there is one.
    """
    problems = dict(_problems(rules, conditions.fields()))
    if problems:
        return Look(problems=problems)
    try:
        segmenting.validate(rules, of)
        sentence = segmenting.describe(rules)
        return Look(segmenting.count(rules), sentence, _sample(rules))
    except InvalidInput as error:
        return Look(problem=str(error))


def _problems(
    node: Any, fields: conditions.Fields, place: tuple[int, ...] = ()
) -> Iterator[tuple[str, str]]:
    """Yield every condition that cannot be used; the shape of groups is `segmenting.validate`'s."""
    if not isinstance(node, dict):
        return
    if "field" in node:
        try:
            conditions.validate(node, fields)
        except ValueError as error:
            sentence = str(error)
            yield ".".join(map(str, place)), f"{sentence[:1].upper()}{sentence[1:]}."
    elif isinstance(node.get("rules"), list) and len(place) < segmenting.DEEPEST:
        for number, rule in enumerate(node["rules"]):
            yield from _problems(rule, fields, (*place, number))


def _sample(rules: Any) -> list[Subscriber]:
    """Return the newest; none if finding ten takes too long, since few match."""
    newest = segmenting.people(rules).mailable().order_by("-pk")[:SAMPLE]
    try:
        with limiting.limited(SAMPLE_TIMEOUT_MS):
            return list(newest)
    except limiting.TooSlow:
        return []
