"""Which language a person reads on a public page: texts are in locale/, eight languages."""

from __future__ import annotations

from django.conf import settings
from django.http import HttpRequest
from django.utils.translation.trans_real import parse_accept_lang_header

LANGUAGES: dict[str, str] = dict(settings.LANGUAGES)
"""Code -> its own name."""


def choose(asked: str, own: str, accepted: str, default: str = "en") -> str:
    """Return the language: the one asked for, the person's own, the best accepted, the default.

    >>> choose("", "pt_BR", "de"), choose("", "", "sv, nl;q=0.5"), choose("ja", "de", "")
    ('pt', 'nl', 'ja')
    >>> choose("tlh", "", "tlh", "fr")
    'fr'
    """
    wishes = [asked, own, *(tag for tag, _ in parse_accept_lang_header(accepted)), default]
    return next((wish for each in wishes if (wish := each[:2].lower()) in LANGUAGES), "en")


def language_of(request: HttpRequest, own: str = "", default: str = "en") -> str:
    accepted = request.headers.get("Accept-Language", "")
    return choose(request.GET.get("lang", ""), own, accepted, default)
