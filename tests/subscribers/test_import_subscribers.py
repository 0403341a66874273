from __future__ import annotations

import io
import sys
from types import SimpleNamespace

import pytest
from django.core.management import CommandError, call_command

from subscribers import importing
from subscribers.models import Import, MailingList, Subscriber
from tests import make
from tests.subscribers.files import DEMO, people, started, table

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def own_files(settings, tmp_path):
    settings.MEDIA_ROOT = tmp_path / "media"
    return tmp_path / "media"


def run(*arguments: object) -> str:
    out = io.StringIO()
    call_command("import_subscribers", *map(str, arguments), stdout=out, stderr=out)
    return out.getvalue()


def test_the_demo_file_is_imported_with_a_report_and_an_error_file(tmp_path):
    errors = tmp_path / "refused.csv"

    shown = run(DEMO, "--list", "News", "--create-list", "--errors", errors)

    assert "attributes.lifetime_value (number)" in shown
    for line in ["10,000  rows", "9,550  new people", "300  twice", "150  refused", "20    no add"]:
        assert line in shown
    assert "\r" not in shown
    assert Subscriber.objects.on_lists([MailingList.objects.get().pk]).count() == 9_550
    assert len(errors.read_text(encoding="utf-8").splitlines()) == 151


def test_a_dry_run_changes_nothing(own_files):
    shown = run(DEMO, "--list", "News", "--create-list", "--dry-run")

    assert "9,550  new people" in shown
    assert not Subscriber.objects.exists()
    assert not Import.objects.exists()
    assert not MailingList.objects.exists()
    assert not list(own_files.rglob("*.csv"))


def test_standard_input_is_read(monkeypatch):
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(people(3))))

    assert "3  new people" in run("-")


def test_a_column_is_mapped_by_hand(tmp_path):
    file = tmp_path / "a.csv"
    file.write_bytes(table(("E-Mail", "Rufname", "Vorname"), ("a@x.example", "Anni", "Anna")))

    run(file, "--map", "Rufname=first_name", "--map", "Vorname=attributes.legal_name")

    person = Subscriber.objects.get()
    assert person.first_name == "Anni"
    assert person.attributes == {"legal_name": "Anna"}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["{file}", "--list", "Nws"], "There is no list “Nws”"),
        (["/nowhere.csv"], "cannot be read: No such file"),
        ([], "Name a CSV file"),
        (["{file}", "--map", "Nope=email"], "with one of the columns E-Mail, Vorname, Plan"),
        (["{file}", "--map", "E-Mail="], "No column is mapped to the e-mail address"),
        (["--resume", "99"], "There is no import 99"),
    ],
)
def test_what_cannot_work_fails_in_one_sentence_and_leaves_nothing(tmp_path, arguments, sentence):
    file = tmp_path / "people.csv"
    file.write_bytes(people(2))

    with pytest.raises(CommandError, match=sentence) as refusal:
        run(*[argument.format(file=file) for argument in arguments])

    assert "\n" not in str(refusal.value)
    assert not Import.objects.exists()
    assert not Subscriber.objects.exists()


def test_a_paused_import_is_resumed():
    row = started(people(5), make.mailing_list())
    importing.confirm(row, row.mapping)
    row.pause()

    assert "5  new people" in run("--resume", row.pk)
    with pytest.raises(CommandError, match="there is nothing to resume"):
        run("--resume", row.pk)
