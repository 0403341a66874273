"""Suppression lists as files: providers' and ours."""

from __future__ import annotations

import csv
import io

import pytest
from django.core.management import call_command

from emailplatform.errors import InvalidInput
from emailplatform.secrets import address_key
from subscribers import exchanging
from subscribers.exchanging import Usual
from subscribers.models import Suppression
from tests import make
from tests.make import NOW

pytestmark = pytest.mark.django_db

FILES = {
    "sendgrid bounces": (
        "status,reason,email,created\n5.1.1,550 no such user,ana@x.example,1700000000\n",
        "bounced",
    ),
    "mailgun complaints": ("address,count,created_at\nana@x.example,1,Mon\n", "bounced"),
    "postmark dump": (
        "EmailAddress,SuppressionReason,Origin,CreatedAt\nana@x.example,SpamComplaint,Recipient,x\n",
        "complained",
    ),
    "ses": ("EmailAddress,Reason,LastUpdateTime\nana@x.example,COMPLAINT,x\n", "complained"),
    "semicolons": ("Name;E-Mail;Type\nAna;ANA@x.example;unsubscribe\n", "unsubscribed"),
    "lines": ("ana@x.example\n", "bounced"),
}


def read(text, **options):
    return exchanging.read(io.BytesIO(text.encode()), "list.csv", NOW, **options)


@pytest.mark.parametrize("name", FILES)
def test_each_format_is_understood(name):
    text, reason = FILES[name]

    taken = read(text, usual=Usual("bounced"))

    assert (taken.rows, taken.new, taken.known, taken.refused) == (1, 1, 0, 0)
    row = Suppression.objects.get()
    assert bytes(row.address_key) == address_key("ana@x.example")
    assert (row.reason, row.source) == (reason, "list list.csv")


def test_counts_are_exact_whatever_the_chunks_and_a_rehearsal_changes_nothing(monkeypatch):
    monkeypatch.setattr(exchanging, "CHUNK", 2)
    known = address_key("bo@x.example").hex()
    make.suppression("bo@x.example", "blocked")
    text = f"email,hash\nana@x.example,\nANA@x.example,\n,{known}\nno address,\n\ncy@x.example,\n"

    rehearsed = read(text, is_rehearsal=True)
    assert Suppression.objects.count() == 1
    taken = read(text)

    assert taken == rehearsed
    assert (taken.rows, taken.new, taken.known, taken.refused) == (5, 2, 2, 1)
    assert taken.problems == ["Line 5 has neither an address nor a hash of ours."]
    assert read(text).new == 0


@pytest.mark.parametrize("text", ["name,city\nAna,Lisbon\n", "", "\x00\xff"])
def test_what_is_no_list_is_refused(text):
    with pytest.raises(InvalidInput):
        read(text)
    with pytest.raises(InvalidInput):
        exchanging.read(io.BytesIO(b"email\n\xff\xfe@x\n"), "x", NOW)


def test_what_was_written_can_be_read_and_names_nobody_unless_asked(tmp_path):
    make.subscriber("ana@x.example")
    make.suppression("ana@x.example", "bounced", source="=cmd()")
    make.suppression("gone@x.example", "complained", stream="marketing")

    bare = "".join(exchanging.write(False))
    full = list(csv.DictReader(io.StringIO("".join(exchanging.write(True)))))

    assert "ana@" not in bare
    assert [row["email"] for row in full] == ["ana@x.example", ""]
    assert full[0]["source"] == "'=cmd()"
    kept = ("address_key", "reason", "stream", "list", "expires_at")
    before = [(bytes(key), *rest) for key, *rest in Suppression.objects.values_list(*kept)]
    Suppression.objects.all().delete()
    file = tmp_path / "list.csv"
    file.write_text(bare)
    call_command("import_suppressions", str(file), stdout=io.StringIO())
    after = [(bytes(key), *rest) for key, *rest in Suppression.objects.values_list(*kept)]
    assert sorted(after, key=str) == sorted(before, key=str)
