"""What the columns of a file mean: by name in eight languages, by what stands in them otherwise."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence

from subscribers import converting
from subscribers.models import Attribute
from subscribers.validating import InvalidAddress, clean_address

FIELDS = {
    "email": "E-mail",
    "first_name": "First name",
    "last_name": "Last name",
    "language": "Language",
    "time_zone": "Time zone",
    "country": "Country",
    "tags": "Tags",
}
"""The fields a column may be mapped to, besides "attributes.<name>" and "" (leave out)."""

_NAMES = {
    "email": "email|e mail|mail|email address|e mail address|mail address|emailaddress"
    "|e mail adresse|email adresse|mailadresse|emailadresse|courriel|adresse mail|adresse e mail"
    "|adresse email|adresse electronique|correo|correo electronico|direccion de correo"
    "|indirizzo email|indirizzo e mail|posta elettronica|endereco de email|e mailadres|mailadres"
    "|subscriber|メール|メールアドレス|eメール",
    "first_name": "first name|firstname|fname|given name|givenname|forename|vorname|prenom|nombre"
    "|primer nombre|nome|primeiro nome|voornaam|名",
    "last_name": "last name|lastname|lname|surname|family name|familyname|nachname|familienname"
    "|zuname|nom|nom de famille|apellido|apellidos|cognome|sobrenome|apelido|achternaam|姓",
    "language": "language|lang|locale|preferred language|sprache|langue|idioma|lingua|taal|言語",
    "time_zone": "time zone|timezone|tz|zeitzone|fuseau|fuseau horaire|zona horaria|huso horario"
    "|fuso orario|fuso horario|tijdzone|タイムゾーン",
    "country": "country|country code|land|laendercode|landescode|pays|code pays|pais|paese|nazione"
    "|landcode|国",
    "tags": "tags|tag|labels|schlagworte|schlagworter|etiquettes|mots cles|etiquetas|etichette"
    "|trefwoorden|タグ",
}
_FIELD_OF = {name: field for field, names in _NAMES.items() for name in names.split("|")}
_CODES = re.compile(
    r"\b(zip|postal|postcode|post code|plz|cp|cap|cep|phone|tel|telefon|telephone|mobile|mobil"
    r"|handy|fax|id|nr|no|number|nummer|numero|code|sku|iban|account|konto)\b"
)
"""Headers whose digits are no numbers: leading zeros count and nobody adds them up."""
_RESERVED_WORDS = (
    "email first_name last_name full_name language time_zone country tags attributes subscriber "
    "campaign unsubscribe_url preferences_url view_url"
)
_RESERVED = frozenset(_RESERVED_WORDS.split())
"""Names templates know already (`{{ email }}`)."""


def guess_mapping(headers: Sequence[str], samples: Sequence[Sequence[str]]) -> dict[str, str]:
    """Return header -> field: one of FIELDS or "attributes.<name>", no field twice.

    A column of addresses is the e-mail column whatever it is called. Empty columns are left out.
    """
    mapping: dict[str, str] = {}
    for position, header in enumerate(headers):
        field = _FIELD_OF.get(plain(header), "")
        mapping[header] = "" if field in mapping.values() else field
        if not mapping[header] and any(column(samples, position)):
            mapping[header] = f"attributes.{free_name(header, position, mapping.values())}"
    if "email" not in mapping.values():
        for position, header in enumerate(headers):
            if _holds_addresses(column(samples, position)):
                mapping[header] = "email"
                break
    return mapping


def column(samples: Sequence[Sequence[str]], position: int) -> list[str]:
    """Return the cells of one column that are not empty."""
    cells = (row[position].strip() for row in samples if position < len(row))
    return [cell for cell in cells if cell]


def plain(header: str) -> str:
    """Return a column name without case, accents and punctuation: “E-Mail” as “e mail”."""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", header)
    return " ".join(re.sub(r"[\W_]+", " ", _without_accents(spaced).lower()).split())


def _without_accents(text: str) -> str:
    folded = unicodedata.normalize("NFKD", text.replace("ß", "ss"))
    return unicodedata.normalize("NFC", "".join(c for c in folded if not _is_accent(c)))


def _is_accent(character: str) -> bool:
    # Only Latin accents: a Japanese voicing mark (゛) makes another letter.
    return "\u0300" <= character <= "\u036f"


def free_name(header: str, position: int, taken: Iterable[str]) -> str:
    """Return a name for an attribute, as templates can write it, that no other column has."""
    slug = re.sub(r"[^a-z0-9]+", "_", plain(header)).strip("_")[:44]
    if not slug:
        slug = f"column_{position + 1}"
    if not slug[0].isalpha() or slug in _RESERVED:
        slug = f"own_{slug}"
    others = set(taken)
    free, number = slug, 1
    while f"attributes.{free}" in others:
        number += 1
        free = f"{slug}_{number}"
    return free


_attribute_name = re.compile(r"[a-z][a-z0-9_]{0,49}", re.ASCII).fullmatch


def is_attribute_name(name: str) -> bool:
    """Say whether templates can write it: {{ plan }}."""
    return _attribute_name(name) is not None and name not in _RESERVED


def _holds_addresses(cells: list[str]) -> bool:
    return bool(cells) and sum(map(is_address, cells)) * 2 > len(cells)


def is_address(text: str) -> bool:
    """Say whether this is a valid address."""
    try:
        clean_address(text)
    except InvalidAddress:
        return False
    return True


def guess_type(header: str, cells: Sequence[str]) -> str:
    """Return the Attribute.Type which every sample fits; text if in doubt."""
    if not cells:
        return Attribute.Type.TEXT.value
    if all(converting.iso_date(cell) for cell in cells):
        return Attribute.Type.DATE.value
    if all(map(_is_number, cells)) and not _CODES.search(plain(header)):
        return Attribute.Type.NUMBER.value
    words = {cell.lower() for cell in cells}
    if len(words) <= 2 and all(_is_yes_or_no(word) for word in words):
        return Attribute.Type.BOOLEAN.value
    return Attribute.Type.TEXT.value


def _is_number(cell: str) -> bool:
    has_leading_zero = re.match(r"[+-]?0\d", cell) is not None
    is_grouped = re.fullmatch(r"[+-]?\d{1,3},\d{3}", cell) is not None
    return not has_leading_zero and not is_grouped and converting.number(cell) is not None


def _is_yes_or_no(word: str) -> bool:
    return len(word) > 1 and converting.boolean(word) is not None
