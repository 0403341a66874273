"""Pages for people that a mail leads to: leaving, and choosing what to get."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.core.exceptions import RequestDataTooBig, TooManyFieldsSent
from django.http import HttpRequest, HttpResponse, UnreadablePostError
from django.http.multipartparser import MultiPartParserError
from django.utils import timezone
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods

from campaigns.personalising import TEST_MESSAGE
from delivery.models import Message
from emailplatform import secrets
from subscribers import preferring
from subscribers.drawing import draw, masked
from subscribers.models import Subscriber
from subscribers.proving import proof_of
from subscribers.speaking import language_of
from subscribers.views import preferences_of, stranger
from webhooks import unsubscribing
from webhooks.leaving import Left


@csrf_exempt
@require_http_methods(["GET", "HEAD", "POST"])
def unsubscribe(request: HttpRequest, token: str) -> HttpResponse:
    """Ask (GET, changes nothing) or unsubscribe (POST, RFC 8058 or our own form).

    The signed token is the authority: no login, cookie or CSRF token. A message that is gone gets
    the answers of one that is there.
    """
    number = unsubscribing.number_of(token)
    if number is None:
        return stranger(request)
    if number == TEST_MESSAGE:
        return _page(request, "test")
    message = unsubscribing.find_message(number)
    if request.method != "POST":
        return _page(request, "ask", message)
    return _answer(request, message, _fields(request))


def _fields(request: HttpRequest) -> Mapping[str, str]:
    """Return the fields of a form; none for a broken body: the POST itself says enough."""
    try:
        return request.POST.dict()
    except (MultiPartParserError, RequestDataTooBig, TooManyFieldsSent, UnreadablePostError):
        return {}


def _answer(
    request: HttpRequest, message: Message | None, fields: Mapping[str, str]
) -> HttpResponse:
    now = timezone.now()
    is_one_click = fields.get("List-Unsubscribe") == "One-Click"
    proof = proof_of(
        request,
        "one_click" if is_one_click else "unsubscribe",
        evidence={"message": message.pk} if message else {},
    )
    if "undo" in fields:
        if message and not unsubscribing.undo(message, fields["undo"], now, proof):
            return _page(request, "ask", message)
        return _page(request, "back", message)
    left = Left(everything=True)
    if message:
        everything = "everything" in fields
        left = unsubscribing.unsubscribe(message, everything=everything, now=now, proof=proof)
    undo = unsubscribing.undo_token(message, left, now) if message else ""
    return _page(request, "left", message, undo=undo, everything=left.everything)


def _page(
    request: HttpRequest, state: str, message: Message | None = None, **more: object
) -> HttpResponse:
    person = message.subscriber if message else None
    context: dict[str, Any] = {
        "state": state,
        "sender": message.campaign.from_name if message and message.campaign else "",
        "address": masked(message.email) if message else "",
        "lists": unsubscribing.lists_of(message) if message else [],
        "preferences": f"/p/{preferring.token_of(person)}/" if person else "",
        **more,
    }
    language = language_of(request, person.language if person else "")
    return draw(request, "unsubscribe.html", language, **context)


@csrf_exempt
@require_http_methods(["GET", "HEAD", "POST"])
def preferences(request: HttpRequest, token: str) -> HttpResponse:
    """Show what a person gets, or save what they chose.

    The token names a message, as mails carry it, or the person, as our own pages do.
    """
    numbers = secrets.unsign("preferences", token)
    if numbers and len(numbers) == 1:
        if numbers[0] == TEST_MESSAGE:
            return draw(request, "preferences.html", language_of(request), state="test")
        message = unsubscribing.find_message(numbers[0])
        person = message.subscriber if message else None
        return preferences_of(request, person, {"message": numbers[0]})
    key = preferring.person_of(token)
    if key is None:
        return stranger(request)
    return preferences_of(request, Subscriber.objects.filter(pk=key).first(), {})
