"""A campaign's messages as a file."""

from __future__ import annotations

import csv
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from campaigns.models import Campaign
from delivery.admin import exporting
from delivery.models import Message
from tests import make

pytestmark = pytest.mark.django_db


def read(campaign: Campaign) -> list[dict[str, str]]:
    """Every row of the file, as a spreadsheet would read it."""
    answer: Any = exporting.messages_csv(campaign)
    content = b"".join(answer.streaming_content).decode()
    return list(csv.DictReader(content.splitlines()))


def test_every_message_is_in_it_once_however_many_pages_it_takes(monkeypatch):
    monkeypatch.setattr(exporting, "PAGE", 2)
    campaign = make.launched([])
    for _ in range(5):
        make.message(campaign)
    for email in ("erased1@example.com", "erased2@example.com", "erased3@example.com"):
        message = make.message(campaign, make.subscriber(email))
        Message.objects.filter(pk=message.pk).update(subscriber=None)
    make.message(make.launched([]))

    rows = read(campaign)

    expected = Message.objects.filter(campaign=campaign).values_list("email", flat=True)
    assert sorted(row["email"] for row in rows) == sorted(expected)
    assert len(rows) == 8


def test_each_page_is_one_statement_and_no_cursor_stays_open_between_them(monkeypatch):
    monkeypatch.setattr(exporting, "PAGE", 2)
    campaign = make.launched([])
    for _ in range(5):
        make.message(campaign)

    with CaptureQueriesContext(connection) as captured:
        read(campaign)

    statements = [query["sql"] for query in captured]
    assert all("LIMIT 2" in sql and "CURSOR" not in sql for sql in statements)
    assert len(statements) == 4, "three pages of people, and whether anybody was erased"


@pytest.mark.parametrize("start", ["=", "+", "-", "@", " =", "\uff1d", "\uff20", "'="])
def test_no_spreadsheet_takes_a_cell_for_a_formula(start):
    campaign = make.launched([])
    make.message(campaign, status="failed", error=f"{start}cmd()")

    row = read(campaign)[0]

    assert row["error"] == f"'{start}cmd()"


def test_times_are_utc_and_what_did_not_happen_is_empty():
    campaign = make.launched([])
    make.message(campaign, status="sent", sent_at=make.NOW)

    row = read(campaign)[0]

    assert row["sent_at"] == "2026-11-23T10:00:00+00:00"
    assert row["opened_at"] == ""
