"""CSV files for tests, as bytes."""

from __future__ import annotations

import csv
import io
import itertools
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from subscribers import importing
from subscribers.models import Import, MailingList

ROOT = Path(__file__).resolve().parent.parent.parent
DEMO = ROOT / "demo" / "subscribers.csv"


def table(*rows: Iterable[str], delimiter: str = ",") -> bytes:
    """Return a CSV file with these rows, the first being the header."""
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter, lineterminator="\r\n").writerows(rows)
    return text.getvalue().encode()


def people(count: int, tag: str = "p") -> bytes:
    """Return a file of so many people: E-Mail, Vorname, Plan."""
    plans = itertools.cycle(["free", "pro", "team"])
    rows = ((f"{tag}{n}@mail.example", f"Name {n}", next(plans)) for n in range(count))
    return table(("E-Mail", "Vorname", "Plan"), *rows)


def started(content: bytes, target: MailingList | None = None) -> Import:
    """Return the import of a file, waiting for its columns to be confirmed."""
    return importing.start(io.BytesIO(content), "people.csv", target)


def imported(content: bytes, target: MailingList | None = None, known: str = "update") -> Import:
    """Return the import of a file after it has run."""
    row = started(content, target)
    importing.confirm(row, row.mapping, known)
    importing.run(row.pk, 60)
    row.refresh_from_db()
    return row


class Formula(str):
    """A cell with a formula: this is the value that was computed last."""

    __slots__ = ()


def workbook(
    sheets: Mapping[str, Sequence[Sequence[Any]]], extra: Mapping[str, bytes] | None = None
) -> bytes:
    """Return an Excel workbook as Excel writes it; None is an empty cell, "(hidden)" hides a sheet.

    By hand, so that what reads it is checked against the format and not against a sister of itself.
    """
    names = [name.removesuffix("(hidden)") for name in sheets]
    hidden = [name.endswith("(hidden)") for name in sheets]
    strings: dict[str, int] = {}
    bodies = [_sheet(rows, strings) for rows in sheets.values()]
    main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    office = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    package = "http://schemas.openxmlformats.org/package/2006/relationships"
    types = "http://schemas.openxmlformats.org/package/2006/content-types"
    sheet_list = "".join(
        f'<sheet name="{escape(name)}" sheetId="{n}" r:id="r{n}"'
        + (' state="hidden"/>' if is_hidden else "/>")
        for n, (name, is_hidden) in enumerate(zip(names, hidden, strict=True), 1)
    )
    links = "".join(
        f'<Relationship Id="r{n}" Type="{office}/worksheet" Target="worksheets/sheet{n}.xml"/>'
        for n in range(1, len(bodies) + 1)
    )
    shared = "".join(f'<si><t xml:space="preserve">{escape(each)}</t></si>' for each in strings)
    parts = {
        "[Content_Types].xml": f'<Types xmlns="{types}"><Default Extension="xml"'
        ' ContentType="application/xml"/></Types>',
        "_rels/.rels": f'<Relationships xmlns="{package}"><Relationship Id="r1"'
        f' Type="{office}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
        "xl/workbook.xml": f'<workbook xmlns="{main}" xmlns:r="{office}"><sheets>{sheet_list}'
        "</sheets></workbook>",
        "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{package}">{links}'
        f'<Relationship Id="s" Type="{office}/sharedStrings" Target="sharedStrings.xml"/>'
        f'<Relationship Id="y" Type="{office}/styles" Target="styles.xml"/></Relationships>',
        "xl/sharedStrings.xml": f'<sst xmlns="{main}">{shared}</sst>',
        "xl/styles.xml": f'<styleSheet xmlns="{main}"><cellXfs><xf numFmtId="0"/>'
        '<xf numFmtId="14"/></cellXfs></styleSheet>',
        **{
            f"xl/worksheets/sheet{n}.xml": f'<worksheet xmlns="{main}"><sheetData>{body}'
            "</sheetData></worksheet>"
            for n, body in enumerate(bodies, 1)
        },
    }
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, text in parts.items():
            packed.writestr(name, text)
        for name, content in (extra or {}).items():
            packed.writestr(name, content)
    return file.getvalue()


def _sheet(rows: Sequence[Sequence[Any]], strings: dict[str, int]) -> str:
    return "".join(
        f'<row r="{n}">'
        + "".join(
            _cell(f"{chr(65 + column)}{n}", value, strings)
            for column, value in enumerate(row)
            if value is not None
        )
        + "</row>"
        for n, row in enumerate(rows, 1)
    )


def _cell(place: str, value: Any, strings: dict[str, int]) -> str:
    if isinstance(value, Formula):
        return f'<c r="{place}" t="str"><f>A1&amp;"x"</f><v>{escape(value)}</v></c>'
    if isinstance(value, str):
        return f'<c r="{place}" t="s"><v>{strings.setdefault(value, len(strings))}</v></c>'
    if isinstance(value, bool):
        return f'<c r="{place}" t="b"><v>{int(value)}</v></c>'
    if isinstance(value, date):
        days = (value - date(1899, 12, 30)).days
        return f'<c r="{place}" s="1"><v>{days}</v></c>'
    return f'<c r="{place}"><v>{value}</v></c>'
