from __future__ import annotations

import pytest

from subscribers import converting
from subscribers.guessing import guess_mapping, guess_type

SAMPLE = [["ana@x.example", "Ana", "Gil", "es", "Europe/Madrid", "ES", "vip"]]


@pytest.mark.parametrize(
    "headers",
    [
        ["Email", "First name", "Last name", "Language", "Time zone", "Country", "Tags"],
        ["E-Mail-Adresse", "Vorname", "Nachname", "Sprache", "Zeitzone", "Land", "Schlagwörter"],
        ["Courriel", "Prénom", "Nom", "Langue", "Fuseau horaire", "Pays", "Étiquettes"],
        [
            "Correo electrónico",
            "Nombre",
            "Apellidos",
            "Idioma",
            "Zona horaria",
            "País",
            "Etiquetas",
        ],
        ["EMAIL_ADDRESS", "FNAME", "LNAME", "locale", "timezone", "country_code", "TAGS"],
        ["メールアドレス", "名", "姓", "言語", "タイムゾーン", "国", "タグ"],
    ],
)
def test_columns_are_known_by_name_in_many_languages(headers):
    assert list(guess_mapping(headers, SAMPLE).values()) == [
        "email", "first_name", "last_name", "language", "time_zone", "country", "tags",
    ]  # fmt: skip


def test_a_column_of_addresses_is_the_email_column_whatever_its_name():
    mapping = guess_mapping(["Wer", "Wie"], [["Ana", "ana@x.example"], ["Bo", "bo@x.example"]])

    assert mapping == {"Wer": "attributes.wer", "Wie": "email"}


def test_other_columns_become_attributes_that_templates_can_name():
    headers = ["Email", "Größe (cm)", "1st order", "年齢", "Größe cm", "Full name", "leer"]
    samples = [["a@x.example", "180", "2026-01-01", "30", "181", "Ana Gil", " "]]

    assert list(guess_mapping(headers, samples).values())[1:] == [
        "attributes.grosse_cm",
        "attributes.own_1st_order",
        "attributes.column_4",
        "attributes.grosse_cm_2",
        "attributes.own_full_name",
        "",
    ]


def test_no_field_is_given_twice():
    mapping = guess_mapping(["E-Mail", "Mail"], [["a@x.example", "b@x.example"]])

    assert mapping == {"E-Mail": "email", "Mail": "attributes.mail"}


@pytest.mark.parametrize(
    ("header", "cells", "kind"),
    [
        ("Value", ["1", "2.50", "-3"], "number"),
        ("Wert", ["1,5", "2"], "number"),
        ("Sum", ["1,234", "5,678"], "text"),
        ("PLZ", ["10115", "80331"], "text"),
        ("Value", ["007", "12"], "text"),
        ("Since", ["2026-11-23", "2026-01-02T10:00:00Z"], "date"),
        ("Seit", ["23.11.2026", "1.2.2026"], "date"),
        ("When", ["11/12/2026"], "text"),
        ("Newsletter", ["yes", "no", "Yes"], "boolean"),
        ("Kunde", ["ja", "nein"], "boolean"),
        ("Plan", ["free", "pro"], "text"),
        ("Nothing", [], "text"),
    ],
)
def test_types_are_told_from_the_samples(header, cells, kind):
    assert guess_type(header, cells) == kind


@pytest.mark.parametrize(
    ("convert", "cell", "value"),
    [
        (converting.language, "pt_br", "pt-BR"),
        (converting.language, "ZH-hant-tw", "zh-Hant-TW"),
        (converting.language, "German", None),
        (converting.country, " uk ", "GB"),
        (converting.country, "Germany", None),
        (converting.time_zone, "europe/berlin", "Europe/Berlin"),
        (converting.time_zone, "CET+1", None),
        (converting.number, "1,5", 1.5),
        (converting.number, "1e400", None),
        (converting.number, "\uff11", None),
        (converting.iso_date, "31.2.2026", None),
        (converting.iso_date, "3.2.2026", "2026-02-03"),
        (converting.boolean, "oui", True),
        (converting.boolean, "perhaps", None),
        (converting.tags, "a| b ;a,,c", ("a", "b", "c")),
        (converting.name, "Ana\r\nBcc: x", "Ana Bcc: x"),
    ],
)
def test_cells_become_values_or_nothing(convert, cell, value):
    assert convert(cell) == value
