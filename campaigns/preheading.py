"""The preheader: what mail programs show beside the subject, hidden in the mail itself."""

from __future__ import annotations

import re

from markupsafe import escape

from campaigns.markup import COMMENT, INSIDE
from campaigns.scanning import masked, tags

FILLER = "&zwnj;&nbsp;" * 80
"""Keeps the beginning of the body out of the preview."""
HIDDEN = (
    "display:none;font-size:1px;color:#ffffff;line-height:1px;"
    "max-height:0;max-width:0;opacity:0;overflow:hidden;mso-hide:all"
)
PLACES = (
    re.compile(rf"<body\b{INSIDE}(?:>|\Z)", re.IGNORECASE),
    re.compile(r"</head\s*>", re.IGNORECASE),
    re.compile(rf"<html\b{INSIDE}(?:>|\Z)", re.IGNORECASE),
    re.compile(r"<!doctype[^>]*+(?:>|\Z)", re.IGNORECASE),
)
"""Where the preheader is put: behind the first of these that there is, else in front."""
PREVIEW = re.compile(r"<mj-preview\s*+(?:/>|>(?P<html>.*?)(?:</mj-preview\s*>|\Z))", re.DOTALL)


def with_preheader(html: str, preheader: str, preview: str = "") -> str:
    """Return the template `html` with the preheader right behind its <body>.

    `preheader` is a template of plain text; `preview` is one of HTML, used if it is empty.
    """
    hidden = _escaped(preheader) if preheader.strip() else preview
    if not hidden.strip():
        return html
    # On one line, so that the lines of the body keep their numbers.
    hidden = hidden.strip().replace("\r", " ").replace("\n", " ")
    place = _place(html)
    return f'{html[:place]}<div style="{HIDDEN}">{hidden}{FILLER}</div>{html[place:]}'


def _place(html: str) -> int:
    blank = COMMENT.sub(lambda found: " " * len(found[0]), masked(html, list(tags(html))))
    for pattern in PLACES:
        if found := pattern.search(blank):
            return found.end()
    return 0


def _escaped(template: str) -> str:
    """Return a template of plain text as one of HTML: what is not a tag is escaped."""
    parts, position = [], 0
    for tag in tags(template):
        parts += [escape(template[position : tag.start]), tag.text]
        position = tag.end
    return "".join([*parts, escape(template[position:])])


def split_preview(mjml: str) -> tuple[str, str]:
    """Return `mjml` without its <mj-preview>, and the HTML that was in it; lines stay."""
    found = PREVIEW.search(mjml)
    if found is None:
        return mjml, ""
    lines = "\n" * found[0].count("\n")
    return mjml[: found.start()] + lines + mjml[found.end() :], found["html"] or ""
