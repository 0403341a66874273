"""Importing people through the admin: every step, and every way a file can be broken."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import Group
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from subscribers import importing
from subscribers.models import Import, MailingList, Subscription
from tests import make

pytestmark = pytest.mark.django_db
ADD = "/admin/subscribers/import/add/"
PEOPLE = "E-Mail;Vorname;Plan\nana@example.com;Ana;pro\nbea@example.com;Bea;free\nwrong;W;free\n"


@pytest.fixture(autouse=True)
def own_places(settings: Any, tmp_path: Path) -> None:
    """Uploads and cache of this test alone."""
    settings.MEDIA_ROOT = tmp_path
    default = {**settings.CACHES["default"], "KEY_PREFIX": uuid4().hex}
    settings.CACHES = {"default": default}


def text(answer: Any) -> str:
    assert answer.status_code == 200
    return str(answer.content.decode())


def upload(client: Client, content: str | bytes = PEOPLE, **fields: Any) -> Any:
    raw = content.encode() if isinstance(content, str) else content
    file = SimpleUploadedFile(fields.pop("name", "people.csv"), raw, "text/csv")
    return client.post(ADD, {"file": file, **fields}, follow=True)


def choices_of(page: str) -> dict[str, str]:
    """What the columns page would send: each select with its chosen option."""
    selects = re.findall(r'<select[^>]*name="(column-\d+)".*?</select>', page, re.DOTALL)
    bodies = re.findall(r'<select[^>]*name="column-\d+".*?</select>', page, re.DOTALL)
    chosen = [re.search(r'value="([^"]*)" selected', body) for body in bodies]
    return {
        name: match.group(1) if match else "" for name, match in zip(selects, chosen, strict=True)
    }


def test_a_file_goes_from_upload_to_result(admin_client):
    news = make.mailing_list("News")
    make.subscriber("ana@example.com")

    columns = text(upload(admin_client, list=news.pk))
    url = f"/admin/subscribers/import/{Import.objects.get().pk}/"
    chosen = {**choices_of(columns), "known": "update"}
    check = text(admin_client.post(f"{url}check/", chosen))
    nothing_yet = Subscription.objects.count()
    waiting = text(admin_client.post(f"{url}start/", chosen, follow=True))
    importing.run(Import.objects.get().pk)
    result = text(admin_client.get(f"{url}change/"))

    assert chosen == {
        "column-0": "email",
        "column-1": "first_name",
        "column-2": "attributes.plan",
        "known": "update",
    }
    assert "ana@example.com<br>bea@example.com<br>wrong" in columns
    assert all(
        f"<b>{count}</b>{what}" in check
        for count, what in ((1, "new people"), (1, "known already"), (1, "refused"))
    )
    assert "Import 2 people" in check
    assert nothing_yet == 0
    assert "every 2s" in waiting
    assert "Done" in result
    assert "No @" in result
    assert "every 2s" not in result
    assert sorted(Subscription.objects.values_list("subscriber__email", "list__name")) == [
        ("ana@example.com", "News"),
        ("bea@example.com", "News"),
    ]


def test_refused_rows_are_fetched_as_a_file(admin_client):
    upload(admin_client)
    work = Import.objects.get()
    importing.confirm(work, work.mapping)
    importing.run(work.pk)

    answer = admin_client.get(f"/admin/subscribers/import/{work.pk}/refused.csv")

    assert answer.headers["Content-Disposition"] == f'attachment; filename="refused-{work.pk}.csv"'
    lines = b"".join(answer.streaming_content).decode().splitlines()
    assert lines[1].startswith("4,no @,")


def test_rows_can_be_pasted_and_a_list_made_on_the_way(admin_client):
    form = {"pasted": "email,first name\nana@example.com,Ana\n", "new_list": "Fresh"}

    page = text(admin_client.post(ADD, form, follow=True))

    assert "What is in which column?" in page
    assert Import.objects.get().list == MailingList.objects.get(name="Fresh")


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "The file is empty."),
        (b"PK\x03\x04rest", "The workbook cannot be read"),
        (b"%PDF-1.7", "This is a PDF"),
        (b"email,name\n", "The file has a line of column names and nothing below it."),
    ],
)
def test_a_broken_file_gets_one_sentence_at_the_field_and_leaves_nothing(
    admin_client, tmp_path, content, sentence
):
    page = text(upload(admin_client, content, new_list="Fresh"))

    assert sentence in page.split('id="file-error"')[1].split("</div>")[0]
    assert 'value="Fresh"' in page
    assert not Import.objects.exists()
    assert not MailingList.objects.exists()
    assert not [each for each in tmp_path.rglob("*") if each.is_file()]


def test_a_file_that_is_too_large_is_refused_with_both_sizes(admin_client, settings):
    settings.MAX_UPLOAD_BYTES = 2 << 20

    page = text(upload(admin_client, b"email\n" + b"a@example.com\n" * 250_000))

    assert "The file has 3 MB; at most 2 MB can be read at once." in page


@pytest.mark.parametrize("pasted", ["", "   \n "])
def test_no_file_and_nothing_pasted_is_said_in_words(admin_client, pasted):
    page = text(admin_client.post(ADD, {"pasted": pasted}))

    assert "Choose a file, or paste addresses below." in page


def test_a_file_without_addresses_says_what_to_choose(admin_client):
    page = text(upload(admin_client, "name,city\nAna,Berlin\n"))
    url = f"/admin/subscribers/import/{Import.objects.get().pk}/"

    refused = text(admin_client.post(f"{url}check/", {"column-0": "first_name", "known": "update"}))

    assert "No column looks like e-mail addresses" in page
    assert "No column is mapped to the e-mail address" in refused
    assert choices_of(refused)["column-0"] == "first_name"


@pytest.mark.parametrize(
    "content",
    [
        b"email;name\nana@example.com;J\xfcrgen\n",
        b"\xef\xbb\xbfemail;name\nana@example.com;J\xc3\xbcrgen\n",
        "email;name\nana@example.com;Jürgen\n".encode("utf-16"),
    ],
)
def test_files_in_other_encodings_show_their_accents(admin_client, content):
    assert "Jürgen" in text(upload(admin_client, content))


def test_nul_bytes_and_endless_lines_cost_one_row_each(admin_client):
    rows = b"email\nana@example.com\nb\0@example.com\n" + b"x" * 3_000_000 + b"\nbea@example.com\n"
    upload(admin_client, rows)
    work = Import.objects.get()

    check = text(
        admin_client.post(f"/admin/subscribers/import/{work.pk}/check/", {"column-0": "email"})
    )

    assert "<b>2</b>new people" in check
    assert "Contains NUL bytes" in check
    assert "Longer than 1 MB" in check


def test_hostile_names_in_a_file_are_shown_as_they_are(admin_client):
    hostile = "<script>alert(1)</script>"
    page = text(
        upload(admin_client, f"email,{hostile}\nana@example.com,{hostile}\n", name=f"{hostile}.csv")
    )

    assert hostile not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page


def test_two_columns_for_one_field_are_refused_and_the_choice_is_kept(admin_client):
    upload(admin_client, "email,a,b\nana@example.com,Ana,Gil\n")
    url = f"/admin/subscribers/import/{Import.objects.get().pk}/"
    form = {"column-0": "email", "column-1": "first_name", "column-2": "first_name"}

    page = text(admin_client.post(f"{url}check/", form))

    assert "Two columns are mapped to “First name”." in page
    assert choices_of(page) == form


def started(client: Client) -> str:
    upload(client)
    work = Import.objects.get()
    importing.confirm(work, work.mapping)
    return f"/admin/subscribers/import/{work.pk}/"


def test_an_import_is_paused_goes_on_and_is_stopped(admin_client):
    url = started(admin_client)
    states = []

    for deed in ("pause", "resume", "cancel"):
        admin_client.post(f"{url}{deed}/")
        states.append(Import.objects.get().status)

    assert states == ["paused", "queued", "cancelled"]


def test_what_cannot_be_done_any_more_is_said_and_not_done(admin_client):
    url = started(admin_client)
    importing.run(Import.objects.get().pk)

    page = text(admin_client.post(f"{url}pause/", follow=True))

    assert "cannot become paused" in page
    assert Import.objects.get().status == "done"


def test_the_progress_piece_refreshes_and_ends_with_the_whole_page(admin_client):
    url = started(admin_client)

    piece = text(admin_client.get(f"{url}progress/?state=queued"))
    importing.run(Import.objects.get().pk)
    after = admin_client.get(f"{url}progress/?state=queued")

    assert "every 2s" in piece
    assert "<html" not in piece
    assert after.headers["HX-Refresh"] == "true"


def test_uploads_are_served_by_no_address(admin_client):
    upload(admin_client)
    name = Import.objects.get().file.name

    assert admin_client.get(f"/media/{name}").status_code == 404
    assert admin_client.get(f"/{name}").status_code == 404
    assert admin_client.get(f"/static/{name}").status_code == 404


def test_a_viewer_sees_imports_and_starts_none():
    boss = make.user(is_staff=True, is_superuser=True)
    client = Client()
    client.force_login(boss)
    url = started(client)
    viewer = make.user(is_staff=True)
    viewer.groups.add(Group.objects.get(name="Viewer"))
    client.force_login(viewer)

    assert client.get(f"{url}change/").status_code == 200
    assert client.get(ADD).status_code == 403
    assert [
        client.post(f"{url}{deed}/").status_code for deed in ("start", "pause", "cancel", "check")
    ] == [403] * 4
    assert Import.objects.get().status == "queued"


def test_the_list_to_import_into_is_chosen_when_one_comes_from_its_page(admin_client):
    news = make.mailing_list("News")

    page = text(admin_client.get(f"{ADD}?list={news.pk}"))

    assert f'<option value="{news.pk}" selected>News</option>' in page
