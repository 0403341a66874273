"""What the outside calls: the providers' webhooks and the page to unsubscribe."""

from __future__ import annotations

from collections.abc import Mapping

from django.conf import settings
from django.core.exceptions import RequestDataTooBig, TooManyFieldsSent
from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse, JsonResponse, UnreadablePostError
from django.http.multipartparser import MultiPartParserError
from django.template.loader import render_to_string
from django.utils import timezone
from django.utils.crypto import get_random_string
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods, require_safe

from campaigns.personalising import TEST_MESSAGE
from delivery.models import Message
from delivery.providers import registry
from delivery.providers.base import Forged, Unavailable, WebhookRequest
from emailplatform.limiting import Ceiling, client_address, seconds_to_wait
from emailplatform.secrets import CannotDecrypt
from subscribers.proving import proof_of
from webhooks import ingesting, reporting, unsubscribing, wording
from webhooks.ingesting import Listener
from webhooks.leaving import Left

COME_AGAIN_S = 30
FORGED_RATE = "1000/m"
"""Webhooks that prove nothing."""
proved = Ceiling("webhooks", settings.WEBHOOK_RATE)
"""Those that do: providers send bursts from few addresses, and some hardly repeat."""
HEALTH_RATE = "120/m"
GUESSING_RATE = "60/m"
"""Public links that were not made by us."""


# --- Providers ---------------------------------------------------------------------------


@csrf_exempt
@require_http_methods(["GET", "HEAD", "POST"])
def email_webhook(request: HttpRequest, kind: str, account: str = "") -> HttpResponse:
    """Take a provider's events. 200: they are stored. 5xx: please send them again.

    An address with a name answers a stranger the same whether there is such an account or not:
    names can be guessed, tokens cannot.
    """
    kinds = registry.heard_as(kind)
    is_guessable = ingesting.is_guessable(account)
    try:
        listener = ingesting.find_listener(kind, account) if kinds else None
        if request.method != "POST" and kinds and (listener or is_guessable):
            return HttpResponse(f"{registry.KINDS[kinds[0]].label} may post its events here.\n")
        if listener is None and kinds and is_guessable:
            return _too_often(request) or _refusal()
        if listener is None:
            return _too_often(request) or HttpResponse("Nobody listens here.\n", status=404)
        return _hear(request, listener)
    except (OperationalError, InterfaceError):
        return _come_again("The database is away.")
    except CannotDecrypt:
        return _come_again("The secrets of this account cannot be read.")


def _hear(request: HttpRequest, listener: Listener) -> HttpResponse:
    try:
        body = request.body
    except RequestDataTooBig:
        return HttpResponse("The body is too large.\n", status=413)
    except UnreadablePostError:
        return HttpResponse("The body broke off.\n", status=400)
    headers = {name.lower(): value for name, value in request.headers.items()}
    now = timezone.now()
    try:
        heard = WebhookRequest(headers, body, now)
        is_late = ingesting.is_late(listener, heard)
        if wait := proved.seconds_to_wait(client_address(request)):
            return _limited(wait)
        ingesting.ingest(listener, heard, is_late=is_late)
    except Unavailable as error:
        return _come_again(str(error))
    except Forged as error:
        if answer := _too_often(request):
            return answer
        ingesting.refuse(listener, error, now)
        return _refusal()
    return HttpResponse()


def _refusal() -> HttpResponse:
    return HttpResponse("The request does not prove where it comes from.\n", status=400)


def _too_often(request: HttpRequest) -> HttpResponse | None:
    wait = seconds_to_wait(request, "webhooks", FORGED_RATE)
    return _limited(wait) if wait else None


def _limited(wait: int) -> HttpResponse:
    return HttpResponse("Too many.\n", status=429, headers={"Retry-After": str(wait)})


def _come_again(reason: str) -> HttpResponse:
    headers = {"Retry-After": str(COME_AGAIN_S)}
    return HttpResponse(f"{reason}\n", status=503, headers=headers)


@require_safe
def health(request: HttpRequest) -> HttpResponse:
    """Say how hearing back is doing: for whoever watches. 503 while the database is away.

    It needs no key, like /health: numbers of a queue, nobody's name, counted once in a few
    seconds whoever asks.
    """
    if wait := seconds_to_wait(request, "webhook-health", HEALTH_RATE):
        return _limited(wait)
    try:
        return JsonResponse(reporting.health(timezone.now()))
    except (OperationalError, InterfaceError):
        return JsonResponse({"status": "database unavailable"}, status=503)


# --- People ------------------------------------------------------------------------------


@csrf_exempt
@require_http_methods(["GET", "HEAD", "POST"])
def unsubscribe(request: HttpRequest, token: str) -> HttpResponse:
    """Ask (GET, changes nothing) or unsubscribe (POST, RFC 8058 or our own form).

    The signed token is the authority: no login, cookie or CSRF token. A message that is gone gets
    the answers of one that is there.
    """
    number = unsubscribing.number_of(token)
    if number is None:
        if wait := seconds_to_wait(request, "unsubscribe", GUESSING_RATE):
            return HttpResponse(status=429, headers={"Retry-After": str(wait)})
        return _page(request, "unknown", status=404)
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
    one_click = fields.get("List-Unsubscribe") == "One-Click"
    proof = proof_of(request, "one_click" if one_click else "unsubscribe")
    if "undo" in fields:
        if message and not unsubscribing.undo(message, fields["undo"], now, proof):
            return _page(request, "ask", message)
        return _page(request, "back", message)
    left = Left(everything=True)
    if message:
        wants_everything = "everything" in fields
        left = unsubscribing.unsubscribe(message, everything=wants_everything, now=now, proof=proof)
    undo = unsubscribing.undo_token(message, left, now) if message else ""
    return _page(request, "left", message, undo=undo, everything=left.everything)


def _page(
    request: HttpRequest,
    state: str,
    message: Message | None = None,
    *,
    status: int = 200,
    **more: object,
) -> HttpResponse:
    own = message.subscriber.language if message and message.subscriber else ""
    language = wording.choose(own, request.headers.get("Accept-Language", ""))
    nonce = get_random_string(22)
    context = {
        "state": state,
        "language": language,
        "say": wording.texts_in(language),
        "nonce": nonce,
        "sender": message.campaign.from_name if message and message.campaign else "",
        "address": masked(message.email) if message else "",
        "lists": unsubscribing.lists_of(message) if message else [],
        **more,
    }
    page = render_to_string("public/unsubscribe.html", context)
    return HttpResponse(page, status=status, headers=_headers(language, nonce))


def _headers(language: str, nonce: str) -> dict[str, str]:
    return {
        "Cache-Control": "no-store",
        "Content-Language": language,
        "Content-Security-Policy": (
            f"default-src 'none'; style-src 'nonce-{nonce}'; form-action 'self';"
            " base-uri 'none'; frame-ancestors 'none'"
        ),
        "Referrer-Policy": "no-referrer",
        "X-Robots-Tag": "noindex, nofollow",
    }


def masked(email: str) -> str:
    """Return an address so that its owner knows it and nobody else learns it.

    >>> masked("ana@mail.example.org")
    'a•••@m•••.org'
    """
    local, _, domain = email.rpartition("@")
    return f"{local[:1]}•••@{domain[:1]}•••.{domain.rpartition('.')[2]}"
