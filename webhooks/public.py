"""What a mail calls of its own accord: its counted links, its pixel, and itself in a browser.

No cookie is set or read, nothing is cached, and no address of anybody is in any URL. A link leads
only where its mail says: to an address that was frozen at launch, or that is sealed into it.
"""

from __future__ import annotations

import base64
import re

from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.encoding import iri_to_uri
from django.views.decorators.http import require_safe

from campaigns.linking import TRAP
from campaigns.personalising import TEST_MESSAGE
from campaigns.rendering import TemplateProblem
from delivery import viewing
from emailplatform import secrets
from emailplatform.limiting import client_address, seconds_to_wait
from subscribers.drawing import draw
from subscribers.speaking import language_of
from webhooks import clicking
from webhooks.clicking import Look, Mail

LINKS = "/c/"
"""Below this are counted links and pixels, on every host."""
GUESSING_RATE = "60/m"
"""Links that were not made by us."""
COME_AGAIN_S = 30

_PATH = re.compile(
    r"/c/(?P<token>[^/]{1,80})/"
    r"(?:(?P<pixel>o\.gif)|(?P<number>[0-9]{1,4})(?:/(?P<sealed>[A-Za-z0-9_-]{1,12000}))?)/?"
)
_GIF = base64.b64decode("R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAICRAEAOw==")
"""One transparent point: 43 bytes."""
_SECRETIVE = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Robots-Tag": "noindex, nofollow",
}
_SANDBOX = (
    "sandbox allow-popups allow-popups-to-escape-sandbox; default-src 'none';"
    " img-src http: https: data:; media-src http: https:; style-src 'unsafe-inline' http: https:;"
    " font-src http: https: data:; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)
"""A mail may show pictures and styles. It runs nothing, asks for nothing, and reads no cookie."""


# --- Links and pixels --------------------------------------------------------------------


def follow(request: HttpRequest) -> HttpResponse:
    """Answer a counted link or a pixel: 302 to where it leads, or a picture of one point.

    HEAD gets the same answer, and counts as a machine's: no program that shows mail asks so.
    """
    if request.method not in ("GET", "HEAD"):
        return HttpResponse(status=405, headers={"Allow": "GET, HEAD", **_SECRETIVE})
    found = _PATH.fullmatch(request.path_info)
    if found is None:
        return _unknown(request)
    mail = clicking.mail_of(found["token"])
    if found["pixel"]:
        if mail:
            clicking.note_open(mail, found["token"], _look(request))
        return HttpResponse(_GIF, content_type="image/gif", headers=_SECRETIVE)
    if mail is None:
        return _unknown(request)
    return _lead(request, mail, found["token"], int(found["number"]), found["sealed"] or "")


def _lead(request: HttpRequest, mail: Mail, token: str, number: int, sealed: str) -> HttpResponse:
    try:
        target = clicking.target_of(mail, token, number, sealed)
    except (OperationalError, InterfaceError):
        busy = _page(request, "busy", status=503)
        busy["Retry-After"] = str(COME_AGAIN_S)
        return busy
    if target is None and number != TRAP:
        return _unknown(request)
    clicking.note_click(mail, token, _look(request), number, target if target and sealed else "")
    if target is None:
        return _page(request, "unknown", status=404)
    return HttpResponse(status=302, headers={"Location": iri_to_uri(target), **_SECRETIVE})


def _look(request: HttpRequest) -> Look:
    user_agent = request.META.get("HTTP_USER_AGENT", "")
    return Look(request.method or "", client_address(request), user_agent, timezone.now())


def _unknown(request: HttpRequest) -> HttpResponse:
    """Answer a link that we have not made: a page, and nothing that leads anywhere."""
    if wait := seconds_to_wait(request, "links", GUESSING_RATE):
        return HttpResponse(status=429, headers={"Retry-After": str(wait), **_SECRETIVE})
    return _page(request, "unknown", status=404)


def nothing_else(request: HttpRequest) -> HttpResponse:
    """Answer for all that a tracking host has not: everything but counted links."""
    return _page(request, "unknown", status=404)


# --- A mail in a browser -----------------------------------------------------------------


@require_safe
def view(request: HttpRequest, token: str) -> HttpResponse:
    """Show a mail as its person got it, without counting anything."""
    numbers = secrets.unsign("view", token)
    if not numbers or len(numbers) != 1:
        return _unknown(request)
    if numbers[0] == TEST_MESSAGE:
        return _page(request, "test")
    try:
        mail = viewing.seen(numbers[0])
    except TemplateProblem:
        mail = None
    if mail is None:
        return _page(request, "gone", status=410)
    headers = {**_SECRETIVE, "Content-Security-Policy": _SANDBOX}
    if mail.html:
        return HttpResponse(mail.html, headers=headers)
    return HttpResponse(mail.text, content_type="text/plain; charset=utf-8", headers=headers)


def _page(request: HttpRequest, state: str, *, status: int = 200) -> HttpResponse:
    return draw(request, "link.html", language_of(request), status=status, state=state)
