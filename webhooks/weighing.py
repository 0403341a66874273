"""Stored opens and clicks → verdicts beside all others of their message, and what follows.

Whoever brings new events judges all opens and clicks of their messages again. So the end is the
same in whatever order and batches they came; marks, counters and people are revised with it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

from django.conf import settings

from delivery.counting import Delta
from webhooks import classifying
from webhooks.classifying import Seen, Verdict
from webhooks.models import Event
from webhooks.querysets import Glance, Judgement, Pace


class Change(NamedTuple):
    """A verdict that is not what it was."""

    event: int
    type: str
    before: Verdict
    after: Verdict


class Weighed(NamedTuple):
    deltas: list[Delta]
    """For `delivery.counting.add`, last in the transaction."""
    changes: list[Change]


def weigh_fresh() -> list[Delta]:
    """Judge beside each other what the new events of this transaction's batch concern.

    They are marked already by what each says of itself; return how the counters change.
    """
    messages = Event.objects.concerned(_pace())
    if not messages:
        return []
    judged = list(_judged(Event.objects.glances(messages, _pace())))
    changed = sorted({glance.message for glance, _ in judged if glance.message})
    return _write(judged, changed, is_batch=True).deltas if judged else []


def weigh(messages: list[int], lonely: list[int]) -> Weighed:
    """Judge all opens and clicks of messages, and events of none; see to the messages' marks."""
    judged = list(_judged(Event.objects.glances(messages, _pace()))) if messages else []
    judged += _judged(Event.objects.lonely_glances(lonely)) if lonely else []
    return _write(judged, messages, is_batch=False)


def _pace() -> Pace:
    return Pace(
        settings.JUDGE_PACE,
        classifying.OPEN_FAST,
        classifying.CLICK_FAST,
        classifying.BEFORE_DELIVERY,
        classifying.CROWD_WITHIN,
    )


def _judged(glances: Sequence[Glance]) -> Iterator[tuple[Glance, Verdict]]:
    """Yield those whose verdict changes."""
    for message, group in groupby(glances, key=lambda glance: glance.message):
        rows = list(group)
        verdicts = _of_message(rows) if message else [_alone(row) for row in rows]
        for glance, verdict in zip(rows, verdicts, strict=True):
            if verdict != (glance.was_machine, glance.was_reason, glance.was_rules):
                yield glance, verdict


def _alone(glance: Glance) -> Verdict:
    return classifying.judge_alone(
        glance.type, glance.user_agent, glance.ip, glance.told, glance.reason
    )


def _of_message(rows: Sequence[Glance]) -> list[Verdict]:
    # Fields type … crowd stand in one order here and there.
    seen = [Seen(*row[2:10]) for row in rows]
    return classifying.judge_message(seen, rows[0].delivered_at if settings.JUDGE_PACE else None)


def _write(
    judged: Sequence[tuple[Glance, Verdict]], messages: list[int], *, is_batch: bool
) -> Weighed:
    judgements = [
        Judgement(glance.id, verdict.is_machine, verdict.reason, glance.told, verdict.rules)
        for glance, verdict in judged
    ]
    deltas = Event.objects.judge(judgements, messages, is_batch=is_batch)
    Event.objects.revise_engagement(
        [each.id for each, verdict in judged if verdict.is_machine and not each.was_machine],
        [each.id for each, verdict in judged if each.was_machine and not verdict.is_machine],
    )
    changes = [
        Change(
            each.id,
            each.type,
            Verdict(each.was_machine, each.was_reason, each.was_rules),
            verdict,
        )
        for each, verdict in judged
    ]
    return Weighed(deltas, changes)
