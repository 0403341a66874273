"""Providers' POSTs and people's clicks go straight to their view.

The rest of the middleware does nothing for them: no session, user, cookie, zone or file.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.http.request import split_domain_port, validate_host

from webhooks import public
from webhooks.clicking import is_tracking_host
from webhooks.urls import EMAIL_WEBHOOKS, HEALTH
from webhooks.views import email_webhook

_PATHS = [re.compile(each) for each in EMAIL_WEBHOOKS]


class StraightToWebhooks:
    """Answer requests for the providers' URLs here: no session, user, cookie, zone or file.

    Stands behind SecurityMiddleware, so https is still demanded. What it leaves out,
    together with the look at the connection that `store` leaves out, was about 40 % of the CPU.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        path = request.path_info.removeprefix("/")
        found = next((match for each in _PATHS if (match := each.search(path))), None)
        if found is None or path.rstrip("/") == HEALTH:
            return self.get_response(request)
        response = email_webhook(request, **found.groupdict())
        response.headers["Content-Length"] = str(len(response.content))
        return response


class LinksOfMails:
    """Answer counted links here, on our own hosts and on those of sending domains.

    A tracking host (`SendingDomain`) is none of ALLOWED_HOSTS: it answers for links and nothing
    else. Stands before whatever asks Django for the host.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        named = request.META.get("HTTP_HOST") or request.META.get("SERVER_NAME", "")
        host = split_domain_port(named)[0]
        is_own = validate_host(host, settings.ALLOWED_HOSTS)
        is_link = request.path_info.startswith(public.LINKS)
        if is_own and not is_link:
            return self.get_response(request)
        if not is_own and not is_tracking_host(host):
            return self.get_response(request)  # which refuses it
        if settings.SECURE_SSL_REDIRECT and not request.is_secure():
            there = f"https://{host}{request.get_full_path()}"
            return HttpResponse(status=301, headers={"Location": there})
        response = public.follow(request) if is_link else public.nothing_else(request)
        response.headers["Content-Length"] = str(len(response.content))
        return response
