"""What every answer tells the browser to refuse. Pages with stricter headers keep their own.

Django's SecurityMiddleware adds nosniff, Referrer-Policy: same-origin and HSTS.
"""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse

CONTENT = "; ".join(
    (
        "default-src 'self'",
        # Alpine and htmx, on which the admin is built, evaluate attributes. No script is inline.
        "script-src 'self' 'unsafe-eval'",
        "style-src 'self' 'unsafe-inline'",
        # A preview of a mail inherits this policy, and may show what the mail shows.
        "img-src 'self' data: https: http:",
        "font-src 'self' data: https: http:",
        "connect-src 'self'",
        "form-action 'self'",
        "object-src 'none'",
        "base-uri 'none'",
        "frame-ancestors 'self'",
    )
)
PERMISSIONS = ", ".join(
    f"{each}=()"
    for each in (
        "accelerometer",
        "camera",
        "display-capture",
        "geolocation",
        "gyroscope",
        "magnetometer",
        "microphone",
        "midi",
        "payment",
        "usb",
    )
)


class Headers:
    """Add the headers to whatever is answered."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        response.headers.setdefault("Content-Security-Policy", CONTENT)
        response.headers.setdefault("Permissions-Policy", PERMISSIONS)
        return response
