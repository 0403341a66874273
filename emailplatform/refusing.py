"""One shape for every refusal of the API: {"error": {"code", "message", "param"}}."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import PermissionDenied, RequestDataTooBig
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.views import defaults
from django.views.decorators.csrf import csrf_exempt
from rest_framework import exceptions
from rest_framework.response import Response

from emailplatform.errors import DomainError

_HEADERS = {"WWW-Authenticate", "Retry-After", "Allow"}


def error_response(error: Exception, context: dict[str, Any]) -> Response | None:
    """Answer a refusal; None for a bug, which is Django's to log (`server_error` answers it)."""
    # REST framework's views read the settings that name this module: too early at import.
    from rest_framework.views import exception_handler

    if isinstance(error, DomainError):
        return Response(problem_of(error), status=error.http_status)
    if isinstance(error, RequestDataTooBig):
        return Response(_body("too_large", "The body is too large: send it in parts."), status=413)
    response = exception_handler(error, context)
    if response is None:
        return None
    headers = {name: value for name, value in response.headers.items() if name in _HEADERS}
    return Response(_refusal(error), status=response.status_code, headers=headers)


def problem_of(error: Exception) -> dict[str, Any]:
    """Return the body that answers a DomainError or a ValidationError: one entry of many."""
    if isinstance(error, DomainError):
        return _body(error.code, str(error), error.param)
    return _refusal(error)


def _refusal(error: Exception) -> dict[str, Any]:
    if isinstance(error, exceptions.ValidationError):
        param, message = _first_problem(error.detail)
        return _body("invalid", message, param)
    if isinstance(error, Http404):
        return _body("not_found", "There is nothing at this address.")
    if isinstance(error, PermissionDenied):
        return _body("permission_denied", "You may not do that.")
    code = getattr(error, "default_code", "error")
    return _body(code, str(getattr(error, "detail", error)))


def _body(code: str, message: str, param: str = "") -> dict[str, Any]:
    return {"error": {"code": code, "message": message, "param": param or None}}


def _first_problem(detail: Any, path: str = "") -> tuple[str, str]:
    """Return (field, sentence) of the first problem in REST framework's nested detail."""
    if isinstance(detail, dict):
        name, inner = next(iter(detail.items()))
        is_general = name == "non_field_errors"
        return _first_problem(inner, path if is_general else f"{path}.{name}".lstrip("."))
    if isinstance(detail, list):
        return _first_problem(next(item for item in detail if item), path)
    return path, str(detail)


# --- What happens outside REST framework's views -----------------------------------------


@csrf_exempt  # It changes nothing; a program that posts here is to read why, as JSON.
def nothing_here(request: HttpRequest) -> HttpResponse:
    """Answer for every address under /api/ that is none."""
    return JsonResponse(_body("not_found", "There is nothing at this address."), status=404)


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer what Django itself refuses: a Host that is not ours, too many form fields."""
    if not _is_api(request):
        return defaults.bad_request(request, exception)
    return JsonResponse(_body("bad_request", "This request cannot be read."), status=400)


def server_error(request: HttpRequest) -> HttpResponse:
    """Answer a bug of ours; it is in the log."""
    if not _is_api(request):
        return defaults.server_error(request)
    message = "Something went wrong here. Try again; if it stays, tell the operator."
    return JsonResponse(_body("server_error", message), status=500)


def _is_api(request: HttpRequest) -> bool:
    return request.path.startswith("/api/")
