"""Public pages: one calm column in the reader's language, small, without scripts or strangers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.utils import translation
from django.utils.crypto import get_random_string

from subscribers.speaking import LANGUAGES


@dataclass(frozen=True, slots=True)
class Reach:
    """What a page may have to do with anything beyond itself."""

    framed_by: Sequence[str] = ()
    """Origins that may show it in a frame."""
    posts_to: Sequence[str] = ()
    """Origins its form may lead to."""
    has_script: bool = False


ALONE = Reach()


def draw(
    request: HttpRequest,
    template: str,
    language: str,
    *,
    status: int = 200,
    reach: Reach = ALONE,
    **context: object,
) -> HttpResponse:
    """Return a page of templates/public/ with the headers that keep it to itself."""
    nonce = get_random_string(22)
    frame = {"nonce": nonce, "language": language, "languages": LANGUAGES, "path": request.path}
    with translation.override(language):
        page = render_to_string(f"public/{template}", {**frame, **context})
    policy = (
        f"default-src 'none'; style-src 'nonce-{nonce}'",
        *(["script-src 'self'"] if reach.has_script else []),
        " ".join(["form-action 'self'", *reach.posts_to]),
        "base-uri 'none'",
        "frame-ancestors " + (" ".join(reach.framed_by) or "'none'"),
    )
    headers = {
        "Cache-Control": "no-store",
        "Content-Language": language,
        "Content-Security-Policy": "; ".join(policy),
        "Referrer-Policy": "no-referrer",
        "X-Robots-Tag": "noindex, nofollow",
    }
    return HttpResponse(page, status=status, headers=headers)


def masked(email: str) -> str:
    """Return an address so that its owner knows it and nobody else learns it.

    >>> masked("ana@mail.example.org")
    'a•••@m•••.org'
    """
    local, _, domain = email.rpartition("@")
    return f"{local[:1]}•••@{domain[:1]}•••.{domain.rpartition('.')[2]}"
