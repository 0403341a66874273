"""“Why this way”: the decision that routing stored in a hand-off, as people read it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from delivery.models import Handoff
from emailplatform.formats import number

PARTS = ("health", "free", "cost", "region")


@dataclass(frozen=True, slots=True)
class Line:
    """One account in the table: its score and the parts of it, or why it was left out."""

    name: str
    is_chosen: bool
    score: str = ""
    parts: tuple[str, ...] = ()
    share: str = ""
    left_out: str = ""


@dataclass(frozen=True, slots=True)
class Decision:
    """A sentence, the rule if there was one, and a line per account, the best first."""

    sentence: str
    rule: str
    is_probe: bool
    lines: list[Line]


def decision_of(handoff: Handoff) -> Decision:
    """Return why a hand-off took its way. Old ones know less."""
    reason = handoff.reason
    candidates = reason.get("candidates", [])
    if not isinstance(candidates, list):  # as it was stored before there were scores
        candidates = [{"name": name, **facts} for name, facts in candidates.items()]
    lines = [_candidate(each, reason.get("chosen", "")) for each in candidates]
    lines += [
        Line(each["name"], is_chosen=False, left_out=each["why"])
        for each in reason.get("left_out", [])
    ]
    rule = reason.get("rule")
    return Decision(
        sentence=_sentence(handoff),
        rule=rule["name"] if isinstance(rule, dict) else "",
        is_probe=bool(reason.get("probe")),
        lines=lines,
    )


def why(handoff: Handoff) -> str:
    """Return in one sentence why this provider was chosen."""
    return _sentence(handoff)


def _sentence(handoff: Handoff) -> str:
    reason = handoff.reason
    if "refused" in reason:
        return f"A part of hand-off {reason['refused']}, which was refused as a whole."
    how = reason.get("how") or reason.get("rule") or "not recorded"
    rule = reason.get("rule")
    of_rule = f" “{rule['name']}”" if isinstance(rule, dict) and "rule" in how else ""
    return f"{handoff.provider}: {how}{of_rule}."


def _candidate(each: dict[str, Any], chosen: str) -> Line:
    return Line(
        name=each["name"],
        is_chosen=each["name"] == chosen,
        score=_points(each.get("total")),
        parts=tuple(_points(each.get(part)) for part in PARTS),
        share=_share(each),
    )


def _points(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _share(each: dict[str, Any]) -> str:
    """Return what an account has had of the campaign and should have; without one, its weight."""
    weight = f"weight {each.get('weight', 0)}"
    return f"{number(each['sent'])} of the campaign, {weight}" if each.get("sent") else weight
