"""The record of consent: written with every change, chained, sealed, and never altered."""

from __future__ import annotations

from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import IntegrityError, connection, transaction
from django.db.models import Count
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from emailplatform.secrets import address_key
from subscribers import consenting, enrolling, verifying
from subscribers.consents import Proof
from subscribers.models import (
    ConsentAnchor,
    ConsentRecord,
    ConsentText,
    Import,
    Subscriber,
    Suppression,
)
from tests import make
from tests.make import NOW
from tests.racing import overtaken
from tests.subscribers import files

pytestmark = pytest.mark.django_db
LATER = NOW + timedelta(hours=1)
PAGE = Proof("page", "192.0.2.7", "Firefox", "de")


def record(**given: Any) -> list[tuple[str, list[int], str]]:
    rows = ConsentRecord.objects.filter(**given).order_by("id")
    return list(rows.values_list("action", "lists", "via"))


def tamper(sql: str, *params: Any) -> None:
    """Change the tables as their owner could: with the triggers off."""
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL session_replication_role = replica")
        cursor.execute(sql, params)
        cursor.execute("SET LOCAL session_replication_role = DEFAULT")


# --- Every change ------------------------------------------------------------------------


def test_joining_leaving_and_coming_back_are_on_record():
    news, offers = make.mailing_list(), make.mailing_list()
    person, _ = enrolling.enrol("ana@x.example", [news, offers], source="API", now=NOW)

    consenting.unsubscribe(person, [news.pk], LATER, "the page", PAGE)
    consenting.unsubscribe(person, [], LATER, "the page", PAGE)
    consenting.come_back(person, [news.pk], LATER, PAGE, everything=True)
    consenting.suppress("ana@x.example", "complained", "SendGrid reported it", LATER)
    consenting.lift(Suppression.objects.get(), LATER)

    assert record() == [
        ("subscribed", [news.pk, offers.pk], "api"),
        ("left", [news.pk], "page"),
        ("left_all", [offers.pk], "page"),
        ("let_back", [], "page"),
        ("returned", [news.pk], "page"),
        ("suppressed", [], "provider"),
        ("let_back", [], "system"),
    ]
    assert {row.person for row in ConsentRecord.objects.all()} == {person.pk}
    assert ConsentRecord.objects.get(action="left").details == {
        "ip": "192.0.2.7",
        "user_agent": "Firefox",
    }
    assert verifying.verify().breaks == []


def test_what_changes_nothing_is_not_on_record():
    person = make.subscriber()

    consenting.unsubscribe(person, [], NOW)
    consenting.unsubscribe(person, [], LATER)
    for _ in range(2):
        consenting.suppress(person.email, "bounced", "it says so", LATER)

    assert [action for action, *_ in record()] == ["left_all", "suppressed"]


def test_an_address_of_nobody_has_a_chain_too():
    consenting.suppress("ghost@x.example", "blocked", "a letter", NOW)

    row = ConsentRecord.objects.get()
    assert (bytes(row.chain), row.person) == (address_key("ghost@x.example"), None)
    assert row.source == "blocked: a letter"
    assert "ghost" not in str(ConsentRecord.objects.values().get())


def test_an_import_is_one_row_that_knows_everybody_it_put_on_the_list():
    news = make.mailing_list()
    known, gone = make.subscriber("known@x.example"), make.subscriber("gone@x.example")
    consenting.unsubscribe(gone, [], NOW)
    names = ["known", "gone", *(f"p{n}" for n in range(300))]
    work = files.imported(files.table(["email"], *([f"{name}@x.example"] for name in names)), news)

    assert Import.objects.get().status == "done"
    batches = ConsentRecord.objects.filter(action="imported")
    assert set(batches.values_list("source", "via")) == {
        (f"import {work.pk}: people.csv", "import")
    }
    assert len(batches) <= 2
    assert sum(1 for _ in ConsentRecord.objects.of(address_key("p7@x.example"), _id("p7"))) == 1
    assert ConsentRecord.objects.of(bytes(known.address_key), known.pk).count() == 1
    assert not ConsentRecord.objects.filter(people__has=gone.pk).exists()
    assert verifying.verify().breaks == []


def _id(name: str) -> int:
    return Subscriber.objects.get(email=f"{name}@x.example").pk


def test_a_text_keeps_its_versions():
    first = ConsentText.objects.keep("form news", "en", "I agree.")
    again = ConsentText.objects.keep("form news", "en", "I agree.")
    second = ConsentText.objects.keep("form news", "en", "I agree to more.")
    ConsentText.objects.keep("form news", "de", "Ja.")

    assert first == again != second
    versions = ConsentText.objects.values_list("language", "version")
    assert sorted(versions) == [("de", 1), ("en", 1), ("en", 2)]


# --- Never changed -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE subscribers_consentrecord SET action = 'confirmed'",
        "UPDATE subscribers_consentrecord SET details = NULL",
        "DELETE FROM subscribers_consentrecord",
        "UPDATE subscribers_consentchain SET number = 0",
        "DELETE FROM subscribers_consentchain",
        "UPDATE subscribers_consenttext SET text = 'I sell my soul.'",
        "DELETE FROM subscribers_consenttext",
        "DELETE FROM subscribers_consentanchor",
    ],
)
@pytest.mark.parametrize("erasing", ["off", "on"])
def test_the_database_refuses_to_change_what_is_on_record(sql, erasing):
    ConsentText.objects.keep("form news", "en", "I agree.")
    consenting.unsubscribe(make.subscriber(), [], NOW, "the page", PAGE)
    verifying.anchor(NOW)

    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('consent.erasing', %s, true)", [erasing])
        with pytest.raises(IntegrityError, match="only added to"), transaction.atomic():
            cursor.execute(sql)


def test_details_can_be_forgotten_and_the_chain_stays_whole():
    person = make.subscriber()
    consenting.unsubscribe(person, [], NOW, "the page", PAGE)
    other = make.subscriber()
    consenting.unsubscribe(other, [], LATER, "the page", PAGE)

    key = bytes(person.address_key)
    assert ConsentRecord.objects.forget_details(LATER, chain=key) == 1
    assert ConsentRecord.objects.forget_details(LATER, chain=key) == 0
    assert ConsentRecord.objects.forget_details(LATER, before=NOW + timedelta(seconds=1)) == 0

    gone, kept = ConsentRecord.objects.order_by("id")
    assert (gone.details, gone.salt, gone.erased_at) == (None, None, LATER)
    assert kept.details
    assert kept.details["ip"] == "192.0.2.7"
    assert verifying.verify().breaks == []


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("UPDATE subscribers_consentrecord SET action = 'confirmed' WHERE number = 2", "changed"),
        ("UPDATE subscribers_consentrecord SET at = at + '1 s' WHERE number = 1", "changed"),
        ("UPDATE subscribers_consentrecord SET person = 5 WHERE number = 3", "changed"),
        ("UPDATE subscribers_consentrecord SET hash = '\\x00' WHERE number = 3", "changed"),
        ("UPDATE subscribers_consentrecord SET details = '{}' WHERE number = 2", "details"),
        ("DELETE FROM subscribers_consentrecord WHERE number = 2", "missing"),
        ("DELETE FROM subscribers_consentrecord WHERE number = 3", "should have 3"),
        ("DELETE FROM subscribers_consentrecord", "is gone: it had 3"),
        ("DELETE FROM subscribers_consentchain", "not on file"),
        ("UPDATE subscribers_consenttext SET text = 'More.'", "text"),
    ],
)
def test_every_change_by_force_is_found(sql, said):
    text = ConsentText.objects.keep("form news", "en", "I agree.")
    news = make.mailing_list()
    person = make.subscriber(lists=[news])
    proof = Proof("page", "192.0.2.7", "Firefox", "en", text)
    consenting.unsubscribe(person, [news.pk], NOW, "the page", proof)
    consenting.come_back(person, [news.pk], NOW, proof)
    consenting.unsubscribe(person, [news.pk], NOW, "the page", proof)
    assert verifying.verify().breaks == []

    tamper(sql)

    assert any(said in sentence for sentence in verifying.verify().breaks)
    out = StringIO()
    with pytest.raises(CommandError, match="is broken"):
        call_command("verify_consent", stdout=out)
    assert "BROKEN" in out.getvalue()


def test_a_whole_chain_taken_out_with_its_end_is_found_by_the_seals():
    for _ in range(3):
        consenting.unsubscribe(make.subscriber(), [], NOW)
        assert verifying.anchor(NOW)
    assert verifying.anchor(NOW) is None
    row = ConsentRecord.objects.order_by("id")[1]

    tamper("DELETE FROM subscribers_consentrecord WHERE chain = %s", bytes(row.chain))
    tamper("DELETE FROM subscribers_consentchain WHERE key = %s", bytes(row.chain))

    report = verifying.verify()
    assert report.anchors == 3
    assert any("not those that were sealed" in sentence for sentence in report.breaks)


def test_a_seal_made_by_another_is_not_ours(settings):
    consenting.unsubscribe(make.subscriber(), [], NOW)
    settings.ADDRESS_KEY = "a stranger's"
    from emailplatform import secrets

    secrets._seal_hmac.cache_clear()
    verifying.anchor(NOW)
    settings.ADDRESS_KEY = "ours"

    assert any("not ours" in sentence for sentence in verifying.verify().breaks)


def test_a_seal_kept_elsewhere_shows_that_the_end_was_cut_off():
    consenting.unsubscribe(make.subscriber(), [], NOW)
    made = verifying.anchor(NOW)
    assert made
    out = StringIO()
    call_command("verify_consent", stdout=out)
    assert bytes(made.seal).hex() in out.getvalue()
    assert "The record is whole." in out.getvalue()

    tamper("DELETE FROM subscribers_consentanchor")

    assert verifying.verify().breaks == []
    with pytest.raises(CommandError, match="cut off"):
        call_command("verify_consent", seal=bytes(made.seal).hex(), stdout=out)


# --- Many at a time ----------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_two_writers_at_once_make_one_chain():
    key = address_key("ana@x.example")

    def write(words: str) -> None:
        with transaction.atomic():
            ConsentRecord.objects.write("left_all", (key, None), [], NOW, PAGE, words)

    overtaken(lambda: write("first"), lambda: write("second"))

    rows = ConsentRecord.objects.order_by("number").values_list("number", "source")
    assert list(rows) == [(1, "first"), (2, "second")]
    assert verifying.verify().breaks == []


@pytest.mark.django_db(transaction=True)
def test_a_seal_waits_for_who_is_still_writing():
    person, other = make.subscriber(), make.subscriber()

    overtaken(lambda: consenting.unsubscribe(person, [], NOW), lambda: verifying.anchor(LATER))
    consenting.unsubscribe(other, [], NOW)

    assert ConsentAnchor.objects.get().count == 1
    assert verifying.verify().breaks == []


def test_many_in_one_statement_each_have_their_own_place():
    people = [make.subscriber() for _ in range(5)]
    rows = [(bytes(each.address_key), "bounced", "SendGrid") for each in people]

    Suppression.objects.suppress_many([*rows, *rows], NOW)

    counts = ConsentRecord.objects.values("chain").annotate(count=Count("id"))
    assert [row["count"] for row in counts] == [1] * 5
    assert verifying.verify().breaks == []


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    source=st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=250),
    agent=st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=50),
    lists=st.lists(st.integers(0, 2**62), max_size=4),
)
def test_whatever_is_said_both_sides_compute_the_same_hash(source, agent, lists):
    with transaction.atomic():
        ConsentRecord.objects.write(
            "left", (b"x" * 32, 1), lists, NOW, Proof("page", "::1", agent), source
        )
        assert verifying.verify().breaks == []
