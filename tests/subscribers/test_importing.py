from __future__ import annotations

import csv
import io
import json
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
from django.core.files.storage import FileSystemStorage
from django.db import connection
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from emailplatform.errors import InvalidInput
from subscribers import chunking, estimating, importing
from subscribers.models import (
    Attribute,
    Import,
    SeenAddress,
    Subscriber,
    Subscription,
    Suppression,
)
from subscribers.parsing import Parser, guarded, unguarded
from tests import make
from tests.subscribers.files import DEMO, imported, people, started, table

pytestmark = pytest.mark.django_db
EXPECTED = json.loads(
    (Path(__file__).parent / "data" / "subscribers.expected.json").read_text(encoding="utf-8")
)


@pytest.fixture(autouse=True)
def own_files(settings, tmp_path):
    settings.MEDIA_ROOT = tmp_path
    return tmp_path


@pytest.fixture
def small_chunks(monkeypatch):
    monkeypatch.setattr(chunking, "CHUNK_ROWS", 50)


def counts_of(import_):
    report = estimating.ImportReport.of(import_)
    known = (report.created, report.updated, report.unchanged, report.duplicate, report.refused)
    assert sum(known) == report.rows
    return known


# --- The demo file ----------------------------------------------------------------------------


def test_the_demo_file_is_imported_to_the_last_row():
    news = make.mailing_list("News")

    result = imported(DEMO.read_bytes(), news)

    assert result.status == Import.Status.DONE
    assert result.rows == EXPECTED["rows"]
    assert result.created_count == EXPECTED["distinct_valid_addresses"]
    assert result.duplicate_count == EXPECTED["duplicate_rows"]
    assert result.refused_count == EXPECTED["invalid_rows"] == result.refused.count()
    assert result.subscribed_count == Subscriber.objects.mailable().on_lists([news.pk]).count()
    assert sum(result.reasons.values()) == result.refused_count
    languages = Subscriber.objects.order_by("language").values_list("language", flat=True)
    assert list(languages.distinct()) == EXPECTED["languages"]
    assert dict(Attribute.objects.values_list("name", "type")) == {
        "plan": "text",
        "lifetime_value": "number",
        "signed_up": "date",
    }


def test_the_demo_file_estimated_is_the_demo_file_imported(small_chunks):
    content = DEMO.read_bytes()[:200_000].rpartition(b"\n")[0]
    half = content[:100_000].rpartition(b"\n")[0]
    imported(half, make.mailing_list())
    again = started(content, make.mailing_list())
    before = Subscriber.objects.count()

    estimate = estimating.dry_run(again)

    assert Subscriber.objects.count() == before
    importing.confirm(again, again.mapping)
    importing.run(again.pk, 60)
    again.refresh_from_db()
    assert estimate == estimating.ImportReport.of(again)
    assert estimate.created
    assert estimate.unchanged
    assert estimate.duplicate


# --- One person -------------------------------------------------------------------------------


def test_a_row_becomes_a_person():
    news = make.mailing_list()
    header = ["E-Mail", "Vorname", "Sprache", "Land", "Zeitzone", "Tags", "Plan", "Wert", "Seit"]
    row = ["Ana@GMAIL.com", "José\nMaria", "de_at", "at", "europe/vienna", "vip|a b"]

    imported(table(header, [*row, 'p"ro\\', "1,5", "3.2.2026"], ["b@x.example"]), news)

    ana = Subscriber.objects.get(email="ana@gmail.com")
    assert (ana.first_name, ana.language, ana.country) == ("José Maria", "de-AT", "AT")
    assert (ana.time_zone, ana.tags, ana.mailbox) == ("Europe/Vienna", ["vip", "a b"], "gmail")
    assert ana.attributes == {"plan": 'p"ro\\', "wert": 1.5, "seit": "2026-02-03"}
    assert ana.subscriptions.get().list == news
    assert ana.is_mailable


def test_values_nobody_understands_stay_empty_and_are_counted():
    header = ["E-Mail", "Land", "Sprache", "Zeitzone", "Wert"]
    rows = [[f"p{n}@x.example", "Atlantis", "?", "Mars/Base", "1"] for n in range(300)]

    result = imported(table(header, *rows, ["q@x.example", "DE", "de", "UTC", "n/a"]))

    assert result.created_count == 301
    assert sorted(result.warnings.values()) == [1, 300, 300, 300]
    assert Subscriber.objects.filter(country="", language="", time_zone="").count() == 300
    assert Subscriber.objects.get(email="q@x.example").attributes == {}


def test_the_first_row_of_an_address_counts_across_chunks(small_chunks):
    first, second = (
        people(60),
        table(("E-Mail", "Vorname", "Plan"), ("P0@mail.example", "Late", "")),
    )

    result = imported(first + second.partition(b"\r\n")[2])

    assert counts_of(result) == (60, 0, 0, 1, 0)
    assert Subscriber.objects.get(email="p0@mail.example").first_name == "Name 0"


def test_rows_that_cannot_be_taken_are_refused_with_line_and_reason():
    content = (
        b"E-Mail,Vorname\r\n"
        b"a@x.example,ok\r\n"
        b"\r\n"
        b",\r\n"
        b"b@x.example,Gil, Ana\r\n"
        b"c@x.example,N\0L\r\n"
        b'd@x.example,"two\nlines"\r\n'
        b"nobody,x\r\n"
        b'e@x.example,"open\r\n'
        b"f@x.example\r\n"
    )

    result = imported(content)

    refused = dict(result.refused.values_list("line", "reason"))
    assert list(refused) == [5, 6, 9, 10]
    assert refused[5].startswith("more cells than column names")
    assert refused[6] == "contains NUL bytes"
    assert refused[9] == "no @"
    assert refused[10] == "a quote that is never closed"
    assert counts_of(result) == (3, 0, 0, 0, 4)
    assert result.line == 11
    known = Subscriber.objects.order_by("email").values_list("email", "first_name")
    assert list(known) == [("a@x.example", "ok"), ("d@x.example", "two lines"), ("f@x.example", "")]


def test_the_error_file_holds_no_formula():
    content = table(("E-Mail", "Vorname"), ("=cmd|' /C calc'!A0", "x"), ("ok@x.example", "=1+1"))

    result = imported(content)

    rows = list(csv.reader(io.StringIO("".join(importing.refused_csv(result)))))
    assert rows == [["Line", "Reason", "Content"], ["2", "no @", "'=cmd|' /C calc'!A0, x"]]
    assert Subscriber.objects.get().first_name == "=1+1"


@given(st.text(st.sampled_from("=+-@\t\r' ax\uff1d\uff0b"), max_size=6))
def test_the_guard_against_formulas_comes_off_as_it_went_on(text):
    assert unguarded(guarded(text)) == text or guarded(text) == text
    assert not guarded(text).lstrip(" ").startswith(tuple("=+-@\t\r\uff1d\uff0b"))


# --- Known people -----------------------------------------------------------------------------


def test_updating_adds_and_overwrites_but_never_empties():
    make.subscriber(
        "a@x.example",
        first_name="Ana",
        last_name="Gil",
        tags=["old"],
        attributes={"plan": "free", "wert": 1},
    )
    header = ["E-Mail", "Vorname", "Nachname", "Tags", "Plan"]

    result = imported(table(header, ["a@x.example", "Anna", "", "new", "pro"]), make.mailing_list())

    person = Subscriber.objects.get()
    assert (person.first_name, person.last_name, person.tags) == ("Anna", "Gil", ["new", "old"])
    assert person.attributes == {"plan": "pro", "wert": 1}
    assert counts_of(result) == (0, 1, 0, 0, 0)
    assert result.subscribed_count == 1


def test_importing_the_same_again_changes_nothing():
    news = make.mailing_list()
    imported(people(20), news)
    before = list(Subscriber.objects.order_by("pk").values())

    result = imported(people(20), news)

    assert counts_of(result) == (0, 0, 20, 0, 0)
    assert result.subscribed_count == 0
    assert list(Subscriber.objects.order_by("pk").values()) == before


@pytest.mark.parametrize(("known", "subscribed"), [("skip", 1), ("add", 2)])
def test_known_people_may_be_left_alone(known, subscribed):
    make.subscriber("p0@mail.example", first_name="Old")
    news = make.mailing_list()

    result = imported(people(2), news, known)

    assert counts_of(result) == (1, 0, 1, 0, 0)
    assert result.subscribed_count == subscribed
    assert Subscriber.objects.get(email="p0@mail.example").first_name == "Old"
    assert Subscriber.objects.on_lists([news.pk]).count() == subscribed


@pytest.mark.parametrize("known", Import.Known.values)
def test_nobody_who_left_is_brought_back(known):
    news = make.mailing_list()
    left = make.subscriber("p0@mail.example", [news])
    Subscription.objects.end([left.pk], [news.pk], timezone.now())
    make.subscriber("p1@mail.example", status=Subscriber.Status.COMPLAINED)
    make.subscriber("p2@mail.example", status=Subscriber.Status.BOUNCED)
    make.suppression("p3@mail.example", Suppression.Reason.UNSUBSCRIBED)
    make.suppression("p4@mail.example", Suppression.Reason.BOUNCED)
    rehearsed = estimating.dry_run(started(people(6), news), known=known)

    result = imported(people(6), news, known)

    mailable = Subscriber.objects.mailable().on_lists([news.pk])
    assert [person.email for person in mailable] == ["p5@mail.example"]
    assert result.unmailable_count == (2 if known == "skip" else 5)
    assert Subscriber.objects.get(email="p3@mail.example").status == Subscriber.Status.UNSUBSCRIBED
    assert Subscriber.objects.get(email="p4@mail.example").status == Subscriber.Status.BOUNCED
    assert rehearsed == estimating.ImportReport.of(result)


# --- From upload to the end -------------------------------------------------------------------


def test_a_file_is_understood_and_shown_before_anything_happens():
    row = started("Courriel;Prénom;Punkte\r\na@x.example;Ana;3\r\n".encode("latin-1"))

    shown = importing.preview(row)

    assert (row.status, shown.encoding, shown.delimiter) == (
        Import.Status.MAPPING,
        "Windows-1252 (Latin-1)",
        "semicolon",
    )
    points = shown.columns[2]
    assert (points.field, points.type, points.samples) == ("attributes.punkte", "number", ["3"])
    assert [problem for problem in shown.problems if "Windows-1252" in problem]
    assert not Subscriber.objects.exists()


def test_a_file_without_addresses_or_without_header_is_told_in_a_sentence():
    nameless = importing.preview(started(table(("a", "b"), ("1", "2"))))
    headless = importing.preview(started(table(("a@x.example", "Ana"), ("b@x.example", "Bo"))))

    assert "No column looks like e-mail addresses" in nameless.problems[0]
    assert "seems to be missing" in headless.problems[0]


@pytest.mark.parametrize(
    ("mapping", "sentence"),
    [
        ({}, "No column is mapped to the e-mail address"),
        ({"E-Mail": "email", "Vorname": "email"}, "Two columns are mapped to “E-mail”"),
        ({"E-Mail": "email", "Nachname": ""}, "no column “Nachname”"),
        ({"E-Mail": "email", "Vorname": "password"}, "“password” is not a field"),
        ({"E-Mail": "email", "Plan": "attributes.A b"}, "“attributes.A b” is not a field"),
    ],
)
def test_a_mapping_that_makes_no_sense_is_refused(mapping, sentence):
    row = started(people(1))

    with pytest.raises(InvalidInput, match=sentence):
        importing.confirm(row, mapping)

    row.refresh_from_db()
    assert row.status == Import.Status.MAPPING
    assert not Attribute.objects.exists()


def test_a_refused_upload_leaves_nothing_behind(own_files):
    with pytest.raises(InvalidInput):
        started(b"E-Mail\r\n")

    assert not Import.objects.exists()
    assert not list(own_files.rglob("*.csv"))


def test_an_import_that_ended_lets_go_of_its_file(own_files):
    row = started(people(3))
    importing.confirm(row, row.mapping)
    kept = list(own_files.rglob("*.csv"))

    importing.run(row.pk, 60)

    assert len(kept) == 1
    assert not list(own_files.rglob("*.csv"))
    assert not SeenAddress.objects.exists()


def test_a_run_stops_when_its_time_is_over_and_the_next_goes_on(small_chunks):
    row = started(people(120))
    importing.confirm(row, row.mapping)

    states = []
    while importing.run(row.pk, 0):
        row.refresh_from_db()
        states.append((row.status, row.rows, row.line))

    assert states == [("running", 50, 51), ("running", 100, 101), ("done", 120, 121)]


def test_pausing_resuming_and_cancelling(small_chunks):
    row = started(people(120))
    importing.confirm(row, row.mapping)
    importing.run(row.pk, 0)
    row.refresh_from_db()

    row.pause()
    assert not importing.run(row.pk, 60)
    row.resume()
    assert importing.run(row.pk, 0)
    row.cancel()
    assert not importing.run(row.pk, 60)

    row.refresh_from_db()
    assert (row.status, row.rows, Subscriber.objects.count()) == ("cancelled", 100, 100)
    assert not SeenAddress.objects.exists()


def test_one_paused_as_it_fails_stays_paused_and_fails_when_it_is_resumed(monkeypatch):
    row = started(people(3))
    importing.confirm(row, row.mapping)

    def gone(*_args):
        if Import.objects.get().status == "running":
            Import.objects.get().pause()
        raise FileNotFoundError

    with monkeypatch.context() as storage:
        storage.setattr(FileSystemStorage, "open", gone)
        assert importing.run(row.pk, 60)
    row.refresh_from_db()
    assert (row.status, row.error) == ("paused", "")

    row.resume()
    row.file.delete(save=False)
    importing.run(row.pk, 60)
    row.refresh_from_db()
    assert (row.status, row.error[:8]) == ("failed", "The file")


def test_nobody_else_works_on_a_leased_import_until_the_lease_is_over(small_chunks):
    row = started(people(60))
    importing.confirm(row, row.mapping)
    now = timezone.now()
    assert Import.objects.lease(row.pk, now, now + timedelta(minutes=1))

    assert not importing.run(row.pk, 60)
    Import.objects.filter(pk=row.pk).update(lease_until=now - timedelta(seconds=1))
    assert importing.run(row.pk, 60)


def test_a_worker_that_lost_its_lease_takes_its_rows_back(small_chunks):
    row = started(people(60))
    importing.confirm(row, row.mapping)
    now = timezone.now()
    slow = Import.objects.lease(row.pk, now, now)
    assert slow
    with importing.opened(slow) as file:
        parser = Parser(slow.headers, slow.mapping, {})
        batch = next(chunking.batches(slow, file, parser))
    importing.run(row.pk, 60)

    with pytest.raises(chunking.NoLongerOurs):
        chunking.write(slow, batch)

    row.refresh_from_db()
    assert counts_of(row) == (60, 0, 0, 0, 0)


def test_a_file_that_is_gone_fails_the_import_in_a_sentence():
    row = started(people(3))
    importing.confirm(row, row.mapping)
    Path(row.file.path).unlink()

    importing.run(row.pk, 60)

    row.refresh_from_db()
    assert (row.status, row.error) == ("failed", "The file is no longer there: upload it again.")


@pytest.mark.django_db(transaction=True)
def test_two_imports_of_the_same_people_run_at_once(small_chunks):
    news = make.mailing_list()
    rows = [started(people(400), news), started(people(400), news)]
    for row in rows:
        importing.confirm(row, row.mapping)

    def work(row):
        try:
            return importing.run(row.pk, 60)
        finally:
            connection.close()

    with ThreadPoolExecutor(2) as workers:
        assert all(workers.map(work, rows))

    created = [counts_of(Import.objects.get(pk=row.pk))[0] for row in rows]
    assert sum(created) == 400 == Subscriber.objects.count()
    assert Subscription.objects.count() == 400


_odd = st.text(st.sampled_from("a=1,;|\"\\{}'\n\t\0\x01\u2028é\U0001f600"), max_size=8)


def test_whatever_stands_in_the_cells_an_import_ends_and_counts_every_row():
    header = ("E-Mail", "Vorname", "Tags", "Plan", "Wert", "Seit", "Land", "Ja")
    plain = ("x@mail.example", "Ana", "vip", "pro", "1", "2026-11-23", "DE", "yes")

    @settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(st.lists(_odd, min_size=7, max_size=7), min_size=1, max_size=5))
    def try_it(rows):
        people = ((f"p{n}@mail.example", *row) for n, row in enumerate(rows))
        result = imported(table(header, plain, *people))
        assert result.status == Import.Status.DONE, result.error
        assert sum(counts_of(result)) == len(rows) + 1

    try_it()
