"""Addresses as people paste them."""

from __future__ import annotations

import csv
import io

import pytest
from django.test import Client

from subscribers.models import Import, Subscriber
from subscribers.pasting import as_csv, rows_of
from tests import make


def rows(text: str) -> list[list[str]]:
    made = as_csv(text)
    assert made is not None
    return list(csv.reader(io.StringIO(made.decode())))[1:]


@pytest.mark.parametrize(
    ("pasted", "people"),
    [
        ("ana@example.com", [["ana@example.com", "", ""]]),
        (
            "ana@example.com\n\n  ben@example.com ",
            [["ana@example.com", "", ""], ["ben@example.com", "", ""]],
        ),
        ("Ana Gil <ana@example.com>", [["ana@example.com", "Ana", "Gil"]]),
        ('"Gil, Ana" <ana@example.com>', [["ana@example.com", "Ana", "Gil"]]),
        ("Ana Maria Gil <ana@example.com>,", [["ana@example.com", "Ana", "Maria Gil"]]),
        (
            "Ana <ana@example.com>, ben@example.com; Cleo Roy <cleo@example.com>",
            [
                ["ana@example.com", "Ana", ""],
                ["ben@example.com", "", ""],
                ["cleo@example.com", "Cleo", "Roy"],
            ],
        ),
        ("ana@example.com\tAna\tGil", [["ana@example.com", "Ana", "Gil"]]),
        ("Ana Gil; ana@example.com", [["ana@example.com", "Ana", "Gil"]]),
        (
            "ana@example.com ben@example.com",
            [["ana@example.com", "", ""], ["ben@example.com", "", ""]],
        ),
        ("ana@example.com\nnobody", [["ana@example.com", "", ""], ["nobody", "", ""]]),
    ],
)
def test_everybody_is_found_with_their_name(pasted: str, people: list[list[str]]) -> None:
    assert rows(pasted) == people


@pytest.mark.parametrize("pasted", ["Email,Plan\nana@example.com,pro", "", "Mail\tName\nb@c.de\tB"])
def test_a_table_with_column_names_is_left_to_the_page_of_columns(pasted: str) -> None:
    assert as_csv(pasted) is None


def test_nothing_is_lost_of_what_is_no_address() -> None:
    assert [row[0] for row in rows_of("what <is> this, “really”")] == ["what <is> this", "“really”"]


@pytest.mark.django_db
def test_pasted_addresses_are_looked_at_before_they_count(admin_client: Client) -> None:
    news = make.mailing_list("News")
    pasted = "Ana Gil <ana@example.com>\nben@example.com\nnobody\nBen <ben@example.com>"

    page = admin_client.post(
        "/admin/subscribers/import/add/", {"pasted": pasted, "list": news.pk}, follow=True
    ).content.decode()

    assert "Import 2 people" in page
    assert "No @" in page
    assert not Subscriber.objects.exists()

    work = Import.objects.get()
    posted = {"column-0": "email", "column-1": "first_name", "column-2": "last_name"}
    admin_client.post(f"/admin/subscribers/import/{work.pk}/start/", {**posted, "known": "update"})
    work.refresh_from_db()
    assert work.status == "queued"
