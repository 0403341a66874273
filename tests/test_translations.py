"""What recipients read, in eight languages: complete, and compiled from what is in the catalogs."""

from __future__ import annotations

import gettext
import re
from ast import literal_eval
from pathlib import Path

import pytest
from django.conf import settings

ROOT = Path(__file__).resolve().parent.parent
OTHERS = [code for code, _name in settings.LANGUAGES if code != "en"]
_SAID = re.compile(r'{% translate "([^"]+)" %}')
_BLOCK = re.compile(r"{% blocktranslate trimmed[^%]*%}(.*?){% endblocktranslate %}", re.DOTALL)
_ENTRY = re.compile(r'^msgid (".*")\nmsgstr (".*")$', re.MULTILINE)


def _said() -> set[str]:
    """Return every text that a public page or mail of ours asks a translation for."""
    found: set[str] = set()
    for page in [*(ROOT / "templates/public").iterdir(), *(ROOT / "templates/mail").iterdir()]:
        source = page.read_text(encoding="utf-8")
        found |= set(_SAID.findall(source))
        for block in _BLOCK.findall(source):
            found.add(re.sub(r"{{ (\w+) }}", r"%(\1)s", " ".join(block.split())))
    for module in ("subscribers/signing.py", "subscribers/joining.py", "delivery/confirming.py"):
        source = (ROOT / module).read_text(encoding="utf-8")
        for call in re.findall(r"\b(?:_|gettext)\(((?:\s*\"[^\"]*\")+)\s*\)", source):
            found.add("".join(literal_eval(part) for part in re.findall(r'"[^"]*"', call)))
    return found


def _catalog(language: str) -> dict[str, str]:
    path = ROOT / "locale" / language / "LC_MESSAGES" / "django.po"
    entries = _ENTRY.findall(path.read_text(encoding="utf-8"))
    return {
        literal_eval(source): literal_eval(target) for source, target in entries if source != '""'
    }


@pytest.mark.parametrize("language", OTHERS)
def test_everything_is_said_in_every_language_and_nothing_else(language):
    catalog = _catalog(language)

    assert len(_said()) > 50
    assert _said() == set(catalog)
    assert all(catalog.values())


@pytest.mark.parametrize("language", OTHERS)
def test_translations_keep_the_places_of_values(language):
    places = re.compile(r"%\(\w+\)s")

    for source, target in _catalog(language).items():
        assert sorted(places.findall(source)) == sorted(places.findall(target)), source


@pytest.mark.parametrize("language", OTHERS)
def test_the_compiled_catalog_is_the_written_one(language):
    path = ROOT / "locale" / language / "LC_MESSAGES" / "django.mo"
    with path.open("rb") as file:
        compiled = gettext.GNUTranslations(file)

    for source, target in _catalog(language).items():
        assert compiled.gettext(source) == target
