"""Every night everybody's score, stage and best hour come up to date."""

from __future__ import annotations

from datetime import datetime, timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection

from subscribers import scoring
from subscribers.models import Engagement, ScoreDay, ScoreRun
from tests import make
from tests.make import NOW

pytestmark = pytest.mark.django_db


def person(**facts: Any) -> Engagement:
    """Somebody mailed a year ago for the first time and yesterday for the last."""
    given = {
        "received": 10,
        "first_received_at": NOW - timedelta(days=365),
        "last_received_at": NOW - timedelta(days=1),
        "heat_at": NOW,
    }
    return Engagement.objects.create(subscriber=make.subscriber(), **{**given, **facts})


def days(number: float) -> datetime:
    return NOW - timedelta(days=number)


@pytest.mark.parametrize(
    ("heat", "age", "score"),
    [(0, 0, 0), (5, 0, 50), (10, 0, 75), (10, 30, 50), (10, 5000, 0), (-30, 0, 0), (1e6, 0, 100)],
)
def test_the_score_halves_its_way_to_100_and_fades_by_the_half_life(heat, age, score) -> None:
    row = person(heat=heat, heat_at=days(age))

    scoring.score_people(NOW)

    row.refresh_from_db()
    assert row.score == score


@pytest.mark.parametrize(
    ("facts", "stage"),
    [
        ({"first_received_at": None, "last_received_at": None, "received": 0}, "new"),
        ({"first_received_at": days(29)}, "new"),
        ({"first_received_at": days(31)}, "cooling"),
        ({"first_received_at": days(91)}, "dormant"),
        ({"last_opened_at": days(200), "last_clicked_at": days(29)}, "active"),
        ({"first_received_at": days(5), "last_opened_at": days(1)}, "active"),
        ({"last_replied_at": days(31)}, "cooling"),
        ({"last_converted_at": days(91)}, "dormant"),
        ({"last_opened_at": days(181)}, "lost"),
        ({}, "lost"),
    ],
)
def test_a_stage_goes_by_the_last_sign_of_life(facts, stage) -> None:
    row = person(**facts)

    scoring.score_people(NOW)

    row.refresh_from_db()
    assert row.stage == stage


def test_nothing_is_written_where_nothing_reads_differently() -> None:
    person(heat=5, last_opened_at=days(1))
    person()
    first = scoring.score_people(NOW)
    assert (first.people, first.changed) == (2, 2)
    assert first.moves == [], "who is scored for the first time came from no stage"

    again = scoring.score_people(NOW + timedelta(minutes=1))

    assert (again.people, again.changed) == (2, 0)
    assert again.stages == {"active": 1, "lost": 1}


def test_history_has_a_point_when_the_score_has_moved_far_or_the_stage_changed() -> None:
    row = person(heat=10, last_opened_at=NOW)
    for day in range(40):
        scoring.score_people(NOW + timedelta(days=day))

    points = [(each.score, each.stage) for each in ScoreDay.objects.order_by("day")]
    assert points == [(75, "active"), (65, "active"), (55, "active"), (49, "cooling")]
    assert (points[0][0] - points[1][0], points[1][0] - points[2][0]) == (10, 10)
    run = ScoreRun.objects.get(at=NOW + timedelta(days=31))
    assert run.moves == [["active", "cooling", 1]]
    row.refresh_from_db()
    assert row.stage_since == NOW + timedelta(days=31)


def test_the_trend_compares_with_the_score_of_30_days_ago() -> None:
    row = person(heat=10, last_opened_at=NOW)
    scoring.score_people(NOW)
    scoring.score_people(NOW + timedelta(days=29))
    known = Engagement.objects.filter(pk=row.pk).values_list("score", "score_before")
    assert known.get() == (51, None)

    scoring.score_people(NOW + timedelta(days=32))

    assert known.get() == (48, 75)


def test_the_best_hour_takes_evidence_and_neighbours_into_account() -> None:
    spread = [0] * 24
    spread[7], spread[8], spread[9], spread[20] = 2, 2, 2, 3
    sure, unsure = person(hours=spread), person(hours=[1] + [0] * 23)

    scoring.score_people(NOW)

    sure.refresh_from_db()
    unsure.refresh_from_db()
    assert (sure.best_hour, unsure.best_hour) == (8, None)


def test_it_is_due_once_a_night() -> None:
    night = NOW.replace(hour=2, minute=5)

    assert not scoring.is_due(NOW.replace(hour=1, minute=59))
    assert scoring.is_due(night)
    scoring.score_people(night)
    assert not scoring.is_due(night + timedelta(hours=20))
    assert scoring.is_due(night + timedelta(days=1))


def test_the_command_says_what_it_came_to() -> None:
    person(last_opened_at=days(1))
    out = StringIO()

    call_command("score_people", stdout=out)

    assert "1 people scored" in out.getvalue()


def test_a_change_of_score_touches_no_index() -> None:
    row = person(heat=10)
    scoring.score_people(NOW)
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT a.attname FROM pg_index i JOIN pg_attribute a"
            " ON a.attrelid = i.indrelid AND a.attnum = ANY(i.indkey)"
            " WHERE i.indrelid = 'subscribers_engagement'::regclass"
        )
        indexed = {name for (name,) in cursor.fetchall()}

    assert not indexed & {"heat", "heat_at", "score_noted", "scored_at", "churn"}
    row.refresh_from_db()
    assert row.score == 75
