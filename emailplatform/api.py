"""What every API endpoint shares: keys, scopes, pages, and one shape for errors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from django.core.exceptions import PermissionDenied
from django.http import Http404
from django.utils import timezone
from rest_framework import exceptions
from rest_framework.authentication import BaseAuthentication, get_authorization_header
from rest_framework.pagination import CursorPagination
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.throttling import SimpleRateThrottle

from emailplatform.errors import DomainError
from emailplatform.models import ApiKey

if TYPE_CHECKING:
    from rest_framework.views import APIView


class KeyUser:
    """Who a request with an API key is: no user of the admin."""

    is_authenticated = True
    is_active = True
    is_staff = False
    pk = None

    def __init__(self, key: ApiKey) -> None:
        self.key = key

    def __str__(self) -> str:
        return str(self.key)


class KeyAuthentication(BaseAuthentication):
    """`Authorization: Bearer ep_…`."""

    def authenticate(self, request: Request) -> tuple[Any, ApiKey] | None:
        scheme, _, plain = get_authorization_header(request).decode("latin-1").partition(" ")
        if scheme.lower() != "bearer":
            return None
        key = ApiKey.objects.find(plain.strip(), timezone.now())
        if key is None:
            raise exceptions.AuthenticationFailed("This API key is unknown, expired or revoked.")
        return KeyUser(key), key

    def authenticate_header(self, request: Request) -> str:
        return "Bearer"


class HasScope(BasePermission):
    """Keys need the scope of the action: `read` to look, `manage` to change, `send` to send.

    A view names others in `scopes = {"action": "send"}`. People signed in to the admin need the
    model permission that the admin would ask for.
    """

    verbs: ClassVar[dict[str, str]] = {"POST": "add", "PUT": "change", "PATCH": "change"}

    def has_permission(self, request: Request, view: APIView) -> bool:
        is_read = request.method in {"GET", "HEAD", "OPTIONS"}
        if isinstance(request.auth, ApiKey):
            action = getattr(view, "action", None) or ""
            usual = ApiKey.Scope.READ if is_read else ApiKey.Scope.MANAGE
            return getattr(view, "scopes", {}).get(action, usual) in request.auth.scopes
        return bool(request.user and request.user.is_staff) and self._may(request, view, is_read)

    def _may(self, request: Request, view: APIView, is_read: bool) -> bool:
        queryset = getattr(view, "queryset", None)
        if queryset is None:
            return is_read
        verb = "view" if is_read else self.verbs.get(request.method or "", "delete")
        if getattr(view, "detail", False) and verb == "add":
            verb = "change"
        options = queryset.model._meta
        return bool(request.user.has_perm(f"{options.app_label}.{verb}_{options.model_name}"))


class KeyThrottle(SimpleRateThrottle):
    """So many requests per key and minute (API_RATE)."""

    scope = "key"

    def get_cache_key(self, request: Request, view: APIView) -> str:
        who = request.auth.pk if isinstance(request.auth, ApiKey) else self.get_ident(request)
        return f"throttle:{who}"


class NewestFirst(CursorPagination):
    """Pages by cursor: no COUNT, no drift while rows are added."""

    ordering = "-id"
    page_size_query_param = "limit"
    max_page_size = 500


def error_response(error: Exception, context: dict[str, Any]) -> Response | None:
    """Answer every refusal as {"error": {"code", "message", "param"}}; leave bugs to Django."""
    # REST framework's views read the settings that name this module: too early at import.
    from rest_framework.views import exception_handler

    if isinstance(error, DomainError):
        return _answer(error.http_status, error.code, str(error), error.param)
    response = exception_handler(error, context)
    if response is None:
        return None
    if isinstance(error, exceptions.ValidationError):
        param, message = _first_problem(error.detail)
        body = _answer(400, "invalid", message, param)
    elif isinstance(error, Http404):
        body = _answer(404, "not_found", "There is nothing at this address.", "")
    elif isinstance(error, PermissionDenied | exceptions.PermissionDenied):
        body = _answer(403, "forbidden", "This key or user may not do that.", "")
    else:
        code = getattr(error, "default_code", "error")
        body = _answer(response.status_code, code, str(getattr(error, "detail", error)), "")
    for name, value in response.headers.items():
        if name in {"WWW-Authenticate", "Retry-After", "Allow"}:
            body[name] = value
    return body


def _answer(status: int, code: str, message: str, param: str) -> Response:
    error = {"code": code, "message": message, "param": param or None}
    return Response({"error": error}, status=status)


def _first_problem(detail: Any, path: str = "") -> tuple[str, str]:
    """Return (field, sentence) of the first problem in DRF's nested detail."""
    if isinstance(detail, dict):
        name, inner = next(iter(detail.items()))
        is_general = name == "non_field_errors"
        return _first_problem(inner, path if is_general else f"{path}.{name}".lstrip("."))
    if isinstance(detail, list):
        return _first_problem(next(item for item in detail if item), path)
    return path, str(detail)
