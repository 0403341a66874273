"""What every API endpoint shares: keys, scopes, throttling, pages, the audit, strict input."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from django.core.cache import cache
from django.utils import timezone
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from redis.exceptions import RedisError
from rest_framework import exceptions, serializers
from rest_framework.authentication import BaseAuthentication, get_authorization_header
from rest_framework.pagination import CursorPagination
from rest_framework.parsers import JSONParser
from rest_framework.permissions import SAFE_METHODS, BasePermission
from rest_framework.request import Request
from rest_framework.throttling import SimpleRateThrottle

from emailplatform.models import ApiKey, AuditEntry

if TYPE_CHECKING:
    from rest_framework.views import APIView

logger = logging.getLogger(__name__)


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


class KeyScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]  # its metaclass
    """How the OpenAPI page describes keys."""

    target_class = "emailplatform.api.KeyAuthentication"
    name = "key"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {"type": "http", "scheme": "bearer", "description": "An API key: `ep_…`"}


def scope_of(request: Request, view: Any) -> str:
    """Return the scope an action asks for: the view's `scopes`, else by the method."""
    is_read = request.method in SAFE_METHODS
    usual = ApiKey.Scope.READ if is_read else ApiKey.Scope.MANAGE
    named: Mapping[str, str] = getattr(view, "scopes", {})
    return str(named.get(getattr(view, "action", None) or "", usual))


class HasScope(BasePermission):
    """Keys need the scope of the action: `read` to look, `manage` to change, `send` to send.

    A view names others in `scopes = {"action": "send"}`. People signed in to the admin need the
    model permission that the admin would ask for.
    """

    verbs: ClassVar[dict[str, str]] = {"POST": "add", "PUT": "change", "PATCH": "change"}
    message = "You may not do that."

    def has_permission(self, request: Request, view: APIView) -> bool:
        scope = scope_of(request, view)
        if isinstance(request.auth, ApiKey):
            self.message = f"This key may not do that: it lacks the scope “{scope}”."
            return scope in request.auth.scopes
        return request.user.is_staff and self._may(request, view, scope == ApiKey.Scope.READ)

    def _may(self, request: Request, view: APIView, is_read: bool) -> bool:
        queryset = getattr(view, "queryset", None)
        if queryset is None:  # nothing says what right it takes
            return False
        verb = "view" if is_read else self.verbs.get(request.method or "", "delete")
        if getattr(view, "detail", False) and verb == "add":
            verb = "change"
        options = queryset.model._meta
        return bool(request.user.has_perm(f"{options.app_label}.{verb}_{options.model_name}"))


class KeyThrottle(SimpleRateThrottle):
    """So many requests per key and minute (API_RATE), counted in windows.

    Without Redis nobody is held back: a limit is worth less than an API that answers.
    """

    scope = "key"
    num_requests: int | None
    duration: int | None
    left_s = 0.0

    def allow_request(self, request: Request, view: APIView) -> bool:
        if self.num_requests is None or self.duration is None:
            return True
        now = self.timer()
        window = int(now // self.duration)
        self.left_s = self.duration - now % self.duration
        try:
            used = self._count(f"{self.get_cache_key(request, view)}:{window}")
        except RedisError:
            logger.warning("throttle_without_redis")
            return True
        return used <= self.num_requests

    def _count(self, key: str) -> int:
        cache.add(key, 0, 2 * (self.duration or 1))
        return int(cache.incr(key))

    def wait(self) -> float:
        return self.left_s

    def get_cache_key(self, request: Request, view: APIView) -> str:
        if isinstance(request.auth, ApiKey):
            return f"throttle:key:{request.auth.pk}"
        return f"throttle:user:{request.user.pk}"


class NewestFirst(CursorPagination):
    """Pages by cursor: no COUNT, no drift while rows are added."""

    ordering = "-id"
    page_size_query_param = "limit"
    max_page_size = 500

    def decode_cursor(self, request: Request) -> Any:
        """Return where to go on; what is no number of a row is refused as any broken cursor."""
        cursor = super().decode_cursor(request)
        position = getattr(cursor, "position", None)
        if position is not None and not (position.isascii() and position.isdecimal()):
            raise exceptions.NotFound(self.invalid_cursor_message)
        return cursor


class StrictJSONParser(JSONParser):
    """JSON; what is nested without end, or is no text, is a mistake of the sender's, not ours."""

    def parse(self, stream: Any, media_type: Any = None, parser_context: Any = None) -> Any:
        try:
            data = super().parse(stream, media_type, parser_context)
            # What cannot be encoded could be neither stored nor named in an answer.
            json.dumps(data, ensure_ascii=False).encode()
        except RecursionError as error:
            raise exceptions.ParseError("The JSON is nested too deeply.") from error
        except UnicodeEncodeError as error:
            raise exceptions.ParseError("The JSON has half of a surrogate pair in it.") from error
        return data


class Strict(serializers.Serializer):
    """Refuses fields it does not know: a misspelt one must not pass in silence."""

    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, Mapping):
            for name in data:
                self._check(str(name))
        return super().to_internal_value(data)

    def _check(self, name: str) -> None:
        field = self.fields.get(name)
        if field is None:
            raise serializers.ValidationError({name: ["There is no such field."]})
        if field.read_only:
            raise serializers.ValidationError({name: ["This field cannot be set."]})


class Audited:
    """Views that write down who changed what, once it is done."""

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        answer = super().finalize_response(request, response, *args, **kwargs)  # type: ignore[misc]
        if response.status_code < 400 and scope_of(request, self) != ApiKey.Scope.READ:
            changed = getattr(response, "changed", None)
            AuditEntry.objects.create(
                key=request.auth if isinstance(request.auth, ApiKey) else None,
                user_id=request.user.pk,
                action=f"{getattr(self, 'basename', '')}.{getattr(self, 'action', '')}",
                object_id=response.data["id"] if changed is None else changed,
            )
        return answer
