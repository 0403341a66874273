"""Excel workbooks: values with their types, the right sheet, and nothing that bursts."""

from __future__ import annotations

import io
import zipfile
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from emailplatform.errors import InvalidInput
from subscribers import importing
from subscribers.models import Attribute, Import, RefusedRow, Subscriber
from tests.subscribers.files import Formula, imported, started, workbook

pytestmark = pytest.mark.django_db

PEOPLE: list[list[Any]] = [
    ["E-Mail", "Vorname", "Punkte", "Seit", "Mitglied", "Konto"],
    ["ana@example.com", "Ana", 12.5, date(2024, 2, 29), True, Formula("A-17")],
    ["bea@example.com", "Bea\nMaria", 7, date(1999, 12, 31), False, Formula("B-9")],
]


@pytest.fixture(autouse=True)
def own_places(settings: Any, tmp_path: Path) -> None:
    settings.MEDIA_ROOT = tmp_path


def test_dates_numbers_and_formulas_arrive_as_what_they_are() -> None:
    done = imported(workbook({"Leute": PEOPLE}))

    assert (done.status, done.created_count, done.refused_count) == ("done", 2, 0)
    ana = Subscriber.objects.get(email="ana@example.com")
    assert ana.attributes == {
        "punkte": 12.5,
        "seit": "2024-02-29",
        "mitglied": True,
        "konto": "A-17",
    }
    assert Subscriber.objects.get(email="bea@example.com").first_name == "Bea Maria"
    types = dict(Attribute.objects.values_list("name", "type"))
    assert types == {"punkte": "number", "seit": "date", "mitglied": "boolean", "konto": "text"}


def test_refused_rows_are_told_by_the_number_the_sheet_gives_them() -> None:
    rows: list[list[Any]] = [
        ["Email"],
        ["ana@example.com"],
        [None],
        ["two\nlines@example.com"],
        ["nobody"],
    ]

    done = imported(workbook({"People": rows}))

    assert done.rows == 3
    lines = RefusedRow.objects.order_by("line").values_list("line", flat=True)
    assert list(lines) == [4, 5]


def test_the_first_sheet_with_something_in_it_is_taken_and_another_can_be_chosen() -> None:
    others = [["Mail", "Plan"], ["cleo@example.com", "pro"]]
    file = workbook({"Cover": [], "People": PEOPLE, "Others": others, "Old(hidden)": PEOPLE})

    work = started(file)
    assert (work.sheet, work.sheets) == ("People", ["Cover", "People", "Others"])
    importing.choose_sheet(work, "Others")

    assert work.headers == ["Mail", "Plan"]
    importing.confirm(work, work.mapping)
    importing.run(work.pk, 60)
    assert Subscriber.objects.get().email == "cleo@example.com"


def test_the_workbook_is_kept_no_longer_than_a_sheet_can_be_chosen(tmp_path: Path) -> None:
    work = started(workbook({"People": PEOPLE, "Others": PEOPLE}))
    assert len([*tmp_path.rglob("*.xlsx")]) == 1

    importing.confirm(work, work.mapping)

    assert not [*tmp_path.rglob("*.xlsx")]
    with pytest.raises(InvalidInput):
        importing.choose_sheet(work, "Others")


def test_a_sheet_that_is_not_there_is_refused_by_name() -> None:
    with pytest.raises(InvalidInput, match="“Nope”"):
        importing.start(io.BytesIO(workbook({"People": PEOPLE})), "p.xlsx", sheet="Nope")


def test_a_sheet_is_chosen_on_the_page_of_columns(admin_client: Client) -> None:
    work = started(workbook({"People": PEOPLE, "Others": [["Mail"], ["cleo@example.com"]]}))
    url = f"/admin/subscribers/import/{work.pk}"
    page = admin_client.get(f"{url}/change/").content.decode()
    assert "<option selected>People</option><option>Others</option>" in page

    page = admin_client.post(f"{url}/sheet/", {"sheet": "Others"}, follow=True).content.decode()

    assert "sheet “Others”" in page
    assert "cleo@example.com" in page


def _bomb() -> bytes:
    """Return a workbook that says it unpacks to 700 MB."""
    content = bytearray(workbook({"People": PEOPLE}))
    place = content.rindex(b"PK\x01\x02")
    content[place + 24 : place + 28] = (700 << 20).to_bytes(4, "little")
    return bytes(content)


def _liar() -> bytes:
    """Return a workbook whose sheet says that it is small and unpacks to more than a gigabyte."""
    row = b'<row r="1"><c r="A1" t="inlineStr"><is><t>' + b"a" * 2_000 + b"</t></is></c></row>"
    file = io.BytesIO(workbook({"People": PEOPLE}))
    out = io.BytesIO()
    with zipfile.ZipFile(file) as old, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            if not name.endswith("sheet1.xml"):
                new.writestr(name, old.read(name))
        with new.open("xl/worksheets/sheet1.xml", "w") as part:
            part.write(
                b'<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main">'
            )
            part.write(b"<sheetData>")
            for _ in range(560):
                part.write(row * 1_000)
            part.write(b"</sheetData></worksheet>")
    content = bytearray(out.getvalue())
    place = content.rindex(b"PK\x01\x02")  # the sheet was written last: its entry in the directory
    content[place + 24 : place + 28] = (1_000).to_bytes(4, "little")
    return bytes(content)


@pytest.mark.parametrize(
    ("make_file", "sentence"),
    [
        (_bomb, "unpacks to more than"),
        (_liar, "cannot be read"),
        (lambda: workbook({"People": []}), "empty"),
        (lambda: workbook({"People": PEOPLE})[:-400], "cannot be read"),
        (lambda: b"PK\x03\x04" + bytes(100), "cannot be read"),
        (lambda: b"\xd0\xcf\x11\xe0" + bytes(100), "password"),
    ],
)
def test_what_is_no_workbook_or_would_burst_gets_one_sentence_and_leaves_nothing(
    make_file: Any, sentence: str, tmp_path: Path
) -> None:
    with pytest.raises(InvalidInput, match=sentence):
        started(make_file())

    assert not Import.objects.exists()
    assert not [each for each in tmp_path.rglob("*") if each.is_file()]


def test_a_zip_file_of_something_else_is_told_apart() -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as packed:
        packed.writestr("people.csv", "Email\nana@example.com\n")

    with pytest.raises(InvalidInput, match="zip file"):
        started(file.getvalue())


def test_the_process_that_unpacks_is_told_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_KEY", "nobody may know")
    monkeypatch.setenv("PYTHONSTARTUP", "/nowhere")

    assert started(workbook({"People": PEOPLE})).sheet == "People"
