"""The drill's judge: it must see what it is there to see."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from io import StringIO

from django.core.management.color import no_style

from webhooks.drilling import showing
from webhooks.drilling.judging import Outcome, Row, broken, ghosts, is_lost
from webhooks.drilling.stage import ODD, Plan

NOW = datetime(2026, 11, 24, tzinfo=UTC)
GOOD = Outcome(
    scenario="a drill",
    kind="sendgrid",
    people=100,
    accepted=100,
    lost=0,
    doubled=0,
    doubt=20,
    bound=20,
    settled=20,
    left=0,
    left_out=0,
    kills=1,
    seconds=3.0,
)


def row(status: str, email: str = "ada@example.com") -> Row:
    return Row(email, status, NOW)


def test_who_has_a_mail_or_is_in_doubt_is_not_lost():
    assert not is_lost(row("sent"), {"ada@example.com": 1})
    assert not is_lost(row("unknown"), {})


def test_who_has_none_and_is_not_in_doubt_is_lost_whatever_we_say():
    for status in ("sent", "failed", "queued", "sending", "expired", "skipped", "cancelled"):
        assert is_lost(row(status), {}), status


def test_the_one_whom_a_provider_refuses_is_lost_unless_we_say_that_it_failed():
    assert not is_lost(row("failed", ODD), {})
    assert is_lost(row("sent", ODD), {})


def test_a_mail_we_do_not_know_to_be_sent_is_a_ghost():
    mail = {"message_id": "m7", "recipient": "ada@example.com"}

    assert ghosts({7: row("sent")}, [mail]) == []
    assert ghosts({7: row("unknown")}, [mail]) == []
    for rows in ({7: row("queued")}, {7: row("sent", "bob@example.com")}, {8: row("sent")}):
        assert ghosts(rows, [mail]) == ["1 mails nobody knows of"]


def test_each_broken_promise_is_named():
    assert broken(GOOD) == []
    assert broken(replace(GOOD, lost=2)) == ["2 lost"]
    assert broken(replace(GOOD, doubled=1)) == ["1 doubled"]
    assert broken(replace(GOOD, doubt=21)) == ["21 in doubt, 20 at most"]


def test_the_table_says_which_campaign_was_bad_and_that_not_all_is_good():
    out = Written()
    table = showing.Table(out, no_style())
    table.begin(Plan(people=100, kinds=("sendgrid",)))
    table.row(GOOD)

    assert table.end()

    table.row(replace(GOOD, lost=3, problems=("3 lost",)))
    assert not table.end()
    assert "3 lost" in out.getvalue()
    assert "2 kills: 3 lost, 0 doubled; 40 in doubt" in out.getvalue()


def test_a_drill_without_a_single_campaign_is_no_proof():
    assert not showing.Table(Written(), no_style()).end()


def test_a_scenario_that_came_to_no_end_is_not_good():
    table = showing.Table(Written(), no_style())
    table.row(GOOD)
    table.row(Outcome.stuck("kills", "smtp", "Nobody gets to work."))

    assert not table.end()


class Written(StringIO):
    """What a command writes to: each call is a line."""

    def write(self, text: str) -> int:
        return super().write(f"{text}\n")
