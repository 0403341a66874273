"""GET /health: is this process able to serve?"""

from __future__ import annotations

from django.db import OperationalError
from django.http import HttpRequest, JsonResponse

from delivery import monitoring


def health(request: HttpRequest) -> JsonResponse:
    """200 while the database answers, else 503. Tells nothing to strangers but that."""
    try:
        monitoring.is_ready()
    except OperationalError:
        return JsonResponse({"status": "database unavailable"}, status=503)
    return JsonResponse({"status": "ok"})
