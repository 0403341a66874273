"""What providers call: the webhooks, and who watches them."""

from __future__ import annotations

from django.conf import settings
from django.core.exceptions import RequestDataTooBig
from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse, JsonResponse, UnreadablePostError
from django.utils import timezone
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods, require_safe

from delivery.providers import registry
from delivery.providers.base import Forged, Unavailable, WebhookRequest
from emailplatform.limiting import Ceiling, client_address, seconds_to_wait
from emailplatform.secrets import CannotDecrypt
from webhooks import ingesting, reporting
from webhooks.ingesting import Listener

COME_AGAIN_S = 30
FORGED_RATE = "1000/m"
"""Webhooks that prove nothing. What is proved passes whatever else came from its address: some
providers never repeat what gets a 4xx. The size of a body bounds what looking costs."""
proved = Ceiling("webhooks", settings.WEBHOOK_RATE)
"""Those that do: providers send bursts from few addresses, and some hardly repeat."""
HEALTH_RATE = "120/m"


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
        return _too_large()
    except UnreadablePostError:
        return HttpResponse("The body broke off.\n", status=400)
    if len(body) > listener.provider.max_webhook_bytes:
        return _too_large()
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


def _too_large() -> HttpResponse:
    return HttpResponse("The body is too large.\n", status=413)


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
