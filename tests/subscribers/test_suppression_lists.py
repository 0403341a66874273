"""Suppression lists as files in the admin and over HTTP: looked at, taken, given out."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

import pytest
from django.contrib.auth.models import Permission
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.utils import timezone

from emailplatform.models import AuditEntry
from subscribers import exchanging, holding
from subscribers.models import Subscriber, Suppression
from tests import make
from tests.calling import Api

pytestmark = pytest.mark.django_db
PAGE = "/admin/subscribers/suppression/import/"
DUMP = (
    b"EmailAddress,SuppressionReason,Origin\n"
    b"ana@x.example,SpamComplaint,Recipient\nbo@x.example,HardBounce,Recipient\nnobody,x,x\n"
)


@pytest.fixture(autouse=True)
def _media(settings, tmp_path):
    settings.MEDIA_ROOT = tmp_path


def _file(content=DUMP):
    return SimpleUploadedFile("dump.csv", content, "text/csv")


def _hidden(page: str) -> dict[str, str]:
    return dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', page))


def _held(root: Path) -> list[Path]:
    return list((root / holding.FOLDER).glob("*"))


def test_a_list_is_looked_at_before_it_is_taken(admin_client, settings):
    make.subscriber("ana@x.example")
    make.suppression("bo@x.example", "bounced")

    seen = admin_client.post(PAGE, {"file": _file(), "reason": "blocked"}).content.decode()

    assert "Suppress 1 address<" in seen
    assert "Line 4 has neither an address nor a hash" in seen
    assert "Spam complaint" in seen
    assert Suppression.objects.count() == 1
    assert len(_held(settings.MEDIA_ROOT)) == 1

    chosen = _hidden(seen)
    done = admin_client.post(PAGE, chosen, follow=True).content.decode()

    assert "dump.csv: 1 new, 1 suppressed already, 1 refused." in done
    assert Subscriber.objects.get().status == "complained"
    assert AuditEntry.objects.get().action == "suppression.import"
    assert _held(settings.MEDIA_ROOT) == []
    again = admin_client.post(PAGE, chosen).content.decode()
    assert "The file is not here any more: choose it again." in again


def test_what_is_stopped_and_for_how_long_goes_with_the_list(admin_client):
    choice = {"reason": "unsubscribed", "reach": "marketing", "days": "30"}

    page = admin_client.post(PAGE, {"file": _file(b"ana@x.example\n"), **choice}).content.decode()
    admin_client.post(PAGE, _hidden(page))

    row = Suppression.objects.get()
    assert (row.reason, row.stream) == ("unsubscribed", "marketing")
    assert row.expires_at
    assert timedelta(days=29) < row.expires_at - timezone.now() < timedelta(days=31)


def test_a_file_that_cannot_be_used_is_refused_at_the_field(admin_client, monkeypatch):
    unnamed = {"file": _file(b"name,city\nAna,Lisbon\n"), "reason": "blocked"}
    assert "No column is called email or hash" in admin_client.post(PAGE, unnamed).content.decode()
    assert "Choose a file." in admin_client.post(PAGE, {"reason": "blocked"}).content.decode()
    monkeypatch.setattr(exchanging, "MOST_BYTES", 10)
    big = admin_client.post(PAGE, {"file": _file(), "reason": "blocked"}).content.decode()
    assert "can be read at once" in big
    assert not Suppression.objects.exists()


def test_nobody_confirms_what_somebody_else_looked_at(admin_client):
    page = admin_client.post(PAGE, {"file": _file(), "reason": "blocked"}).content.decode()
    chosen = _hidden(page)
    other = Client()
    other.force_login(make.user(is_staff=True, is_superuser=True))

    assert "Somebody else looked at this file" in other.post(PAGE, chosen).content.decode()
    forged = {**chosen, "held": chosen["held"][:-2]}
    assert "choose the file again" in admin_client.post(PAGE, forged).content.decode()
    assert not Suppression.objects.exists()


def test_what_nobody_confirmed_is_thrown_away(admin_client, settings):
    admin_client.post(PAGE, {"file": _file(), "reason": "blocked"})
    now = timezone.now()

    assert holding.end(now - timedelta(hours=1), 100) == 0
    assert holding.end(now + timedelta(hours=1), 100) == 1
    assert _held(settings.MEDIA_ROOT) == []


def test_who_may_only_look_is_offered_neither_import_nor_export():
    client, user = Client(), make.user(is_staff=True)
    client.force_login(user)
    user.user_permissions.add(Permission.objects.get(codename="view_suppression"))

    page = client.get("/admin/subscribers/suppression/").content.decode()

    assert "Import list" not in page
    assert "suppressions/export" not in page
    assert client.get(PAGE).status_code == 403
    assert client.get("/api/v1/suppressions/export/").status_code == 403


def test_the_page_offers_the_list_as_a_file(admin_client):
    make.suppression("ana@x.example", "bounced")

    page = admin_client.get("/admin/subscribers/suppression/").content.decode()
    address = re.search(r'href="([^"]*suppressions/export[^"]*)"', page)
    assert address
    file = admin_client.get(address[1])

    assert PAGE in page
    assert b"".join(file.streaming_content).decode().count("bounced") == 1
    assert AuditEntry.objects.get().action == "suppression.export"


def test_the_api_rehearses_and_reads_a_list():
    api = Api(make.api_key("manage"))

    told = b"email,type\nana@x.example,spam\nbo@x.example,\nnobody,\n"
    looked = api.upload("suppressions/import/", file=_file(told), dry_run="true")
    assert not Suppression.objects.exists()
    said = {"reason": "bounced", "stream": "marketing"}
    taken = api.upload("suppressions/import/", file=_file(told), **said)

    assert looked.status == taken.status == 200
    assert looked.data["reasons"] == {"complained": 1, "blocked": 1}
    assert [taken.data[each] for each in ("rows", "new", "known", "refused")] == [3, 2, 0, 1]
    assert taken.data["reasons"] == {"complained": 1, "bounced": 1}
    assert set(Suppression.objects.values_list("stream", flat=True)) == {"marketing"}
    actions = AuditEntry.objects.order_by("id").values_list("action", flat=True)
    assert list(actions) == ["suppression.rehearse", "suppression.import"]


def test_the_api_refuses_in_words():
    api = Api(make.api_key("manage"))
    assert api.upload("suppressions/import/", file=_file(b"a,b\n")).error["param"] == "file"
    assert api.upload("suppressions/import/", reason="blocked").error["param"] == "file"
    wrong = api.upload(
        "suppressions/import/", file=_file(), reason="unsubscribed", stream="critical"
    )
    assert (wrong.status, wrong.error["param"]) == (400, "stream")
    reading = Api(make.api_key("read"))
    assert reading.upload("suppressions/import/", file=_file()).status == 403


def test_the_api_gives_out_hashes_and_addresses_only_when_asked():
    make.subscriber("ana@x.example")
    make.suppression("ana@x.example", "bounced")
    api = Api(make.api_key("export"))

    bare = api.get("suppressions/export/")
    full = api.get("suppressions/export/", addresses="true")

    assert bare.headers["Content-Disposition"] == 'attachment; filename="suppressions.csv"'
    assert "ana@" not in bare.data
    assert "ana@x.example" in full.data
    assert Api(make.api_key("manage")).get("suppressions/export/").status == 403
    assert AuditEntry.objects.filter(action="suppression.export").count() == 2
