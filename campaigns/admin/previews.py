"""A preview as JSON: the browser puts it into a frame that may do nothing."""

from __future__ import annotations

from collections.abc import Sequence

from django.http import JsonResponse

from campaigns import launching, previewing
from campaigns.models import Campaign
from campaigns.rendering import Source, TemplateProblem
from subscribers.models import Subscriber

GUARD = (
    '<!doctype html><meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
    "img-src http: https: data:; style-src 'unsafe-inline'; font-src http: https: data:\">"
    '<base target="_blank">'
)
"""Stands before the mail: pictures and styles, no scripts, no frames; links lead nowhere.

The frame has sandbox="" beside it. A second doctype further down is ignored by browsers.
"""


def answer(
    source: Source, campaign: Campaign | None, address: str, variables: Sequence[str] = ()
) -> JsonResponse:
    """Return {subject, html, text, person, note, problems} for the person at an address.

    With `variables` it is a template for the API, to which what campaigns need does not apply.
    """
    person = previewing.find_person(address)
    found = [] if variables else launching.content_problems(source, campaign)
    problems = [each.message for each in found]
    shown = {"subject": "", "html": "", "text": ""}
    try:
        mail = previewing.preview(source, person, campaign, variables)
    except TemplateProblem as problem:
        problems = problems or [str(problem)]
    else:
        shown = {"subject": mail.subject, "html": GUARD + mail.html, "text": mail.text}
    return JsonResponse({**shown, **_who(person, address), "problems": problems})


def refused(sentence: str) -> JsonResponse:
    """Return a preview of nothing, and why."""
    return JsonResponse({"subject": "", "html": "", "text": "", "problems": [sentence]})


def hint(sentence: str) -> JsonResponse:
    """Return a preview of nothing, and what to do first: nothing is wrong."""
    return JsonResponse({"subject": "", "html": "", "text": "", "problems": [], "hint": sentence})


def _who(person: Subscriber | None, address: str) -> dict[str, str]:
    """Return whose mail is shown, in words, and a note if it is not who was asked for."""
    shown = person or previewing.sample()
    name = f"{shown.full_name} ({shown.email})" if shown.full_name else shown.email
    if person:
        return {"person": name, "note": ""}
    is_asked = bool(address.strip())
    note = f"Nobody’s address begins with “{address.strip()}”. " if is_asked else ""
    return {"person": f"{name}, a sample", "note": note}
