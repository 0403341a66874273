"""Cells into values: lenient, never an error. None means "this is none": the field stays empty."""

from __future__ import annotations

import re
import zoneinfo
from collections.abc import Callable
from datetime import date
from functools import lru_cache

Value = str | int | float | bool

MOST_TAGS = 100
LONGEST_TAG = 50
LONGEST_NAME = 100
LONGEST_TEXT = 1000
"""Characters of a text attribute; the rest is cut off."""

_COUNTRIES_WORDS = (
    "AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR "
    "BS BT BV BW BY BZ CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ "
    "EC EE EG EH ER ES ET FI FJ FK FM FO FR GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW "
    "GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE JM JO JP KE KG KH KI KM KN KP KR KW KY "
    "KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO MP MQ MR MS MT MU MV "
    "MW MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW PY "
    "QA RE RO RS RU RW SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG "
    "TH TJ TK TL TM TN TO TR TT TV TW TZ UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS XK YE YT ZA "
    "ZM ZW"
)
_COUNTRIES = frozenset(_COUNTRIES_WORDS.split())
"""ISO 3166-1 alpha-2, and XK as everybody writes Kosovo."""

_YES_WORDS = "1 true yes y on ja j oui o si sí s sim vero verdadero vrai wahr x"
_YES = frozenset(_YES_WORDS.split())
_NO_WORDS = "0 false no n off nein non não nao nee falso faux falsch"
_NO = frozenset(_NO_WORDS.split())
_language = re.compile(
    r"([a-z]{2,3})(?:[-_]([a-z]{4}))?(?:[-_]([a-z]{2}|\d{3}))?", re.IGNORECASE | re.ASCII
)
_number = re.compile(r"[+-]?\d{1,15}(?:[.,]\d{1,9})?", re.ASCII).fullmatch
_iso_date = re.compile(r"(\d{4})-(\d\d)-(\d\d)(?:[T ][\d:.,Zz+ -]*)?", re.ASCII).fullmatch
_dotted_date = re.compile(r"(\d\d?)\.(\d\d?)\.(\d{4})", re.ASCII).fullmatch


def name(text: str) -> str:
    """Return text on one line, cut to what fits: a name may end up in a header."""
    return " ".join(text.split())[:LONGEST_NAME]


@lru_cache(maxsize=4096)
def language(text: str) -> str | None:
    """Return a language tag in its usual spelling (BCP 47): "de", "pt-BR", "zh-Hant"."""
    match = _language.fullmatch(text.strip())
    if match is None:
        return None
    plain, script, region = match.groups(default="")
    return "-".join(filter(None, [plain.lower(), script.title(), region.upper()]))


@lru_cache(maxsize=4096)
def country(text: str) -> str | None:
    """Return an ISO 3166 code of two capitals."""
    code = text.strip().upper()
    code = {"UK": "GB", "EL": "GR"}.get(code, code)
    return code if code in _COUNTRIES else None


@lru_cache(maxsize=1)
def _time_zones() -> dict[str, str]:
    return {zone.lower(): zone for zone in zoneinfo.available_timezones()}


@lru_cache(maxsize=4096)
def time_zone(text: str) -> str | None:
    """Return the name of a time zone as the tz database spells it."""
    return _time_zones().get(text.strip().replace(" ", "_").lower())


@lru_cache(maxsize=4096)
def tags(text: str) -> tuple[str, ...]:
    """Return what stands between | , ; or line breaks: each once, in order."""
    parts = (" ".join(part.split())[:LONGEST_TAG] for part in re.split(r"[|,;\n]", text))
    return tuple(dict.fromkeys(filter(None, parts)))[:MOST_TAGS]


def number(text: str) -> int | float | None:
    """Return a number written with a point or a comma; thousands are not grouped."""
    text = text.strip()
    if not _number(text):
        return None
    text = text.replace(",", ".")
    return float(text) if "." in text else int(text)


@lru_cache(maxsize=4096)
def iso_date(text: str) -> str | None:
    """Return 2026-11-23 for itself, for 2026-11-23T10:00Z and for 23.11.2026.

    Slashes are left alone: nobody can tell 1/2 from 2/1.
    """
    text = text.strip()
    if match := _iso_date(text):
        year, month, day = map(int, match.groups())
    elif match := _dotted_date(text):
        day, month, year = map(int, match.groups())
    else:
        return None
    try:
        return date(year, month, day).isoformat()
    except ValueError:
        return None


def boolean(text: str) -> bool | None:
    """Return what yes and no are called in the languages we meet."""
    word = text.strip().lower()
    return True if word in _YES else False if word in _NO else None


def plain_text(text: str) -> str:
    """Return text as it is, cut to what we keep."""
    return text.strip()[:LONGEST_TEXT]


BY_TYPE: dict[str, Callable[[str], Value | None]] = {
    "text": plain_text,
    "number": number,
    "date": iso_date,
    "boolean": boolean,
}
"""Attribute.Type -> how a cell becomes a value of it. Dates stay text, ISO 8601: it sorts."""
