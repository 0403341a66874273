"""What people did with our mail, from one narrow row each: `models.Engagement`."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ObjectDoesNotExist
from django.db.models import F, Value
from django.db.models.functions import Coalesce
from django.db.models.lookups import GreaterThanOrEqual, LessThan, LessThanOrEqual

from subscribers.conditions.kinds import (
    CHOICE,
    NUMBER,
    Field,
    Known,
    Op,
    Ops,
    compare,
    deeds,
)
from subscribers.models import Engagement, Subscriber

_GROUP = "What they did"
MOVED = 10
"""Points of the score within about 30 days that make it rising or falling."""
_STAGES = {value: str(label) for value, label in Engagement.Stage.choices}


def fields() -> dict[str, Field]:
    """Return the fields. People without a row were never sent anything: they are new."""
    return {
        "received": _deed("Received a mail", "received", "received a mail", "received no mail"),
        "opened": _deed("Opened a mail", "opened", "opened a mail", "opened no mail"),
        "clicked": _deed("Clicked in a mail", "clicked", "clicked in a mail", "clicked in no mail"),
        "replied": _deed("Replied to a mail", "replied", "replied to a mail", "replied to no mail"),
        "converted": _deed(
            "Converted", "converted", "converted after a mail", "did not convert after a mail"
        ),
        "received_count": _count("Mails received", "received"),
        "opened_count": _count("Mails opened", "opened"),
        "clicked_count": _count("Mails clicked in", "clicked"),
        "score": Field(
            "Engagement score", "number", NUMBER, F("engagement__score"), None, _GROUP, _of("score")
        ),
        "score_trend": Field("Engagement score", "trend", _TREND, group=_GROUP, known=_trend),
        "stage": Field(
            "Lifecycle stage",
            "choice",
            CHOICE,
            Coalesce(F("engagement__stage"), Value(Engagement.Stage.NEW)),
            _STAGES,
            _GROUP,
            lambda person, _value: _STAGES[_row(person).stage],
        ),
        "churn": Field(
            "Risk of losing them in per cent",
            "number",
            NUMBER,
            F("engagement__churn") * 100,
            None,
            _GROUP,
            _risk,
        ),
    }


def _row(person: Subscriber) -> Engagement:
    try:
        return person.engagement
    except ObjectDoesNotExist:
        return Engagement(subscriber_id=person.pk, stage=Engagement.Stage.NEW)


def _of(name: str) -> Known:
    def known(person: Subscriber, _value: Any) -> Any:
        row = _row(person)
        return None if row._state.adding else getattr(row, name)

    return known


def _deed(label: str, name: str, did: str, did_not: str) -> Field:
    column = f"last_{name}_at"
    ops = deeds(did, did_not)
    return Field(label, "deed", ops, F(f"engagement__{column}"), None, _GROUP, _of(column))


def _count(label: str, name: str) -> Field:
    expression = Coalesce(F(f"engagement__{name}"), Value(0))
    return Field(label, "number", _COUNT, expression, None, _GROUP, _of_count(name))


def _of_count(name: str) -> Known:
    return lambda person, _value: getattr(_row(person), name)


_COUNT: Ops = {name: op for name, op in NUMBER.items() if name not in {"is_empty", "is_not_empty"}}

_BEFORE = F("engagement__score_before")
_NOW = F("engagement__score")


def _moved(lookup: type[Any], by: int) -> Any:
    return lambda _e, _value, _now: compare(lookup)(_NOW - _BEFORE, by, _now)


_TREND: Ops = {
    "rising": Op("is rising", "none", _moved(GreaterThanOrEqual, MOVED)),
    "falling": Op("is falling", "none", _moved(LessThanOrEqual, -MOVED)),
    "steady": Op(
        "is steady",
        "none",
        lambda e, v, now: (
            _moved(LessThan, MOVED)(e, v, now) & ~_moved(LessThanOrEqual, -MOVED)(e, v, now)
        ),
    ),
}


def _trend(person: Subscriber, _value: Any) -> str | None:
    row = _row(person)
    if row.score_before is None:
        return None
    return f"{row.score} now, {row.score_before} about 30 days ago"


def _risk(person: Subscriber, _value: Any) -> str | None:
    churn = _row(person).churn
    return None if churn is None else f"{churn * 100:.1f} %"
