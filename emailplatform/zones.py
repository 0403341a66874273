"""The reader's time zone: the browser tells it in a cookie, pages of the admin are shown in it."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import unquote
from zoneinfo import ZoneInfo, available_timezones

from django.http import HttpRequest, HttpResponse
from django.utils import timezone

COOKIE = "zone"


class ReaderZone:
    """Middleware: shows times in the zone of the cookie for one request."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response
        self.known = available_timezones()

    def __call__(self, request: HttpRequest) -> HttpResponse:
        name = unquote(request.COOKIES.get(COOKIE, ""))
        zone = ZoneInfo(name) if name in self.known else None
        with timezone.override(zone or timezone.get_default_timezone()):
            return self.get_response(request)
