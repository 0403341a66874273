"""Own events over HTTP: from a program with a key, or from a page with a signed token."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django.conf import settings
from django.http import HttpResponseBase
from django.utils import timezone
from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework import serializers, status
from rest_framework.exceptions import (
    NotAuthenticated,
    Throttled,
    UnsupportedMediaType,
    ValidationError,
)
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from emailplatform.api import HasScope, KeyAuthentication, KeyThrottle, Strict, StrictJSONParser
from emailplatform.errors import InvalidInput
from emailplatform.limiting import Ceiling, client_address, sender_of
from webhooks import registering
from webhooks.models import Event, Tracked
from webhooks.registering import TYPES, Subject, Told

MOST_EVENTS = 500
"""In one request of a program; a page tells one."""
MOST_PROPERTIES = 2_048
"""Bytes of JSON."""
OLDEST = timedelta(days=400)
AHEAD = timedelta(minutes=5)
"""Clocks differ."""
OF_PAGE = ("click", "conversion", "custom", "open")

_of_token = Ceiling("track-token", 60)
_of_sender = Ceiling("track-sender", 600)


class TextParser(StrictJSONParser):
    """JSON under the name of text: a page sends that without asking first (sendBeacon)."""

    media_type = "text/plain"


class TrackThrottle(KeyThrottle):
    """A limit of its own (TRACK_RATE) for keys; pages are counted per token and sender."""

    scope = "track"

    def allow_request(self, request: Request, view: APIView) -> bool:
        return request.auth is None or super().allow_request(request, view)

    def get_cache_key(self, request: Request, view: APIView) -> str:
        return f"{super().get_cache_key(request, view)}:track"


class MayTrack(BasePermission):
    """A key needs the scope `track`; without a key the view looks at the token."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        return request.auth is None or HasScope().has_permission(request, view)


class EventInput(Strict):
    """One thing that somebody did."""

    id = serializers.CharField(
        max_length=100, help_text="Yours, unique: told again, it is not stored again."
    )
    type = serializers.ChoiceField(list(TYPES))
    occurred_at = serializers.DateTimeField(required=False, help_text="Left out: now.")
    url = serializers.CharField(max_length=2000, required=False)
    name = serializers.CharField(
        max_length=80, required=False, help_text="Which conversion or own event: “purchase”."
    )
    value = serializers.DecimalField(
        max_digits=14, decimal_places=4, required=False, help_text="Of a conversion, with currency"
    )
    currency = serializers.RegexField(
        r"^[A-Z]{3}\Z", required=False, help_text="ISO 4217: EUR, USD, JPY"
    )
    properties = serializers.DictField(required=False, help_text="Up to 2 KB of JSON")

    def validate_properties(self, given: dict[str, Any]) -> dict[str, Any]:
        if "\\u0000" in json.dumps(given):
            raise ValidationError("They have a NUL character in them.")
        try:
            size = len(json.dumps(given, ensure_ascii=False, allow_nan=False).encode())
        except ValueError as error:
            raise ValidationError("They have a number in them that JSON does not know.") from error
        if size > MOST_PROPERTIES:
            raise ValidationError(f"They are {size} bytes; {MOST_PROPERTIES} is the most.")
        return given

    def validate_occurred_at(self, at: datetime) -> datetime:
        now = timezone.now()
        if at > now + AHEAD:
            raise ValidationError("It lies in the future.")
        if at < now - OLDEST:
            raise ValidationError(f"It is more than {OLDEST.days} days ago.")
        return at

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        is_conversion = attrs["type"] == "conversion"
        if not is_conversion and ("value" in attrs or "currency" in attrs):
            raise ValidationError({"value": ["Only conversions have a value."]})
        if ("value" in attrs) != ("currency" in attrs):
            raise ValidationError({"currency": ["Give value and currency together."]})
        if attrs["type"] == "custom" and not attrs.get("name"):
            raise ValidationError({"name": ["Say what it is called."]})
        return attrs


_KEY: dict[str, Any] = {"min_value": 1, "max_value": 2**63 - 1, "required": False}


class KeyedEventInput(EventInput):
    """What a program tells: of a message, or of a person, if need be about a campaign."""

    message = serializers.CharField(max_length=50, required=False, help_text="The id of a mail")
    email = serializers.CharField(max_length=320, required=False)
    subscriber = serializers.IntegerField(**_KEY)
    campaign = serializers.IntegerField(help_text="Whose mail led to it", **_KEY)
    ip = serializers.IPAddressField(required=False, help_text="Of the person")
    user_agent = serializers.CharField(max_length=500, required=False)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        named = [name for name in ("message", "email", "subscriber") if name in attrs]
        if len(named) != 1:
            raise ValidationError({"email": ["Give one of message, email and subscriber."]})
        if "message" in attrs and "campaign" in attrs:
            raise ValidationError({"campaign": ["The message has one already."]})
        return super().validate(attrs)


class ManyInput(Strict):
    events = KeyedEventInput(many=True, allow_empty=False)

    def validate_events(self, events: list[Any]) -> list[Any]:
        if len(events) > MOST_EVENTS:
            raise ValidationError(f"Up to {MOST_EVENTS} at a time.")
        return events


class PageEventInput(EventInput):
    """What a page tells: of whom its token is."""

    token = serializers.CharField(max_length=200)
    type = serializers.ChoiceField(list(OF_PAGE))


class TrackedAnswer(serializers.Serializer):
    accepted = serializers.IntegerField(help_text="Events told, the known ones too")


_EXAMPLES = [
    OpenApiExample(
        "A purchase, from a server",
        {
            "id": "order-77",
            "type": "conversion",
            "email": "ann@example.com",
            "campaign": 12,
            "name": "purchase",
            "value": "49.90",
            "currency": "EUR",
            "properties": {"items": 2},
        },
        request_only=True,
    ),
    OpenApiExample(
        "From a page, without a key",
        {"token": "0.5f.…", "id": "5b1e…", "type": "custom", "name": "video_seen"},
        request_only=True,
    ),
]


class TrackView(APIView):
    """Tell what somebody did."""

    queryset = Event.objects.none()
    authentication_classes = [KeyAuthentication]
    permission_classes = [MayTrack]
    throttle_classes = [TrackThrottle]
    parser_classes = [StrictJSONParser, TextParser]
    scopes = {"track": "track"}
    action = "track"

    @extend_schema(
        operation_id="engagement_track",
        tags=["engagement"],
        request={"application/json": KeyedEventInput},
        examples=_EXAMPLES,
        responses={202: TrackedAnswer},
    )
    def post(self, request: Request) -> Response:
        """Store open, click, conversion, reply or an own event; known ids change nothing.

        With a key of the scope `track`: one event, or `{"events": […]}` with up to 500; one that
        cannot be used stops all of them. From a page of TRACK_ORIGINS: one event with a `token`.
        """
        is_page = request.auth is None
        told = [_told_by_page(request)] if is_page else _told_by_key(request.data)
        via = Tracked.Via.TOKEN if is_page else Tracked.Via.KEY
        registering.register(told, via, timezone.now())
        return Response({"accepted": len(told)}, status=status.HTTP_202_ACCEPTED)

    @extend_schema(exclude=True)
    def options(self, request: Request, *args: Any, **kwargs: Any) -> Response:  # type: ignore[override]
        """Answer what browsers ask before they post from another origin."""
        headers = {
            "Access-Control-Allow-Methods": "POST",
            "Access-Control-Allow-Headers": "Content-Type",
            "Access-Control-Max-Age": "86400",
        }
        is_known = _origin(request) in settings.TRACK_ORIGINS
        return Response(status=status.HTTP_204_NO_CONTENT, headers=headers if is_known else {})

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        answer: HttpResponseBase = super().finalize_response(request, response, *args, **kwargs)
        answer.headers["Vary"] = "Origin"
        if _origin(request) in settings.TRACK_ORIGINS:
            answer.headers["Access-Control-Allow-Origin"] = _origin(request)
        return answer


def _origin(request: Request) -> str:
    return str(request.headers.get("Origin", ""))


def _told_by_key(data: Any) -> list[Told]:
    is_many = isinstance(data, dict) and "events" in data
    given = ManyInput(data=data) if is_many else KeyedEventInput(data=data)
    given.is_valid(raise_exception=True)
    wishes = given.validated_data["events"] if is_many else [given.validated_data]
    told = []
    for number, wish in enumerate(wishes):
        try:
            told.append(_told(wish, registering.subject_named(wish)))
        except InvalidInput as error:
            if is_many:
                error.param = f"events.{number}.{error.param}"
            raise
    return told


def _told_by_page(request: Request) -> Told:
    """Return what a page tells. Who has no good token is nobody, and counted per sender."""
    if wait := _of_sender.seconds_to_wait(sender_of(request)):
        raise Throttled(wait)
    try:
        data = request.data
    except UnsupportedMediaType:  # whoever has no token is told that first
        data = None
    token = data.get("token") if isinstance(data, dict) else None
    subject = registering.subject_of_token(token) if isinstance(token, str) else None
    if subject is None or not isinstance(token, str):
        raise NotAuthenticated("Send a key with the scope “track”, or a token.")
    if _origin(request) and _origin(request) not in settings.TRACK_ORIGINS:
        raise NotAuthenticated("This page may not tell events: add it to TRACK_ORIGINS.")
    if wait := _of_token.seconds_to_wait(token):
        raise Throttled(wait)
    given = PageEventInput(data=data)
    given.is_valid(raise_exception=True)
    agent = request.headers.get("User-Agent", "").replace("\0", "")
    seen = {"ip": client_address(request), "user_agent": agent[:500]}
    return _told({**given.validated_data, **seen}, subject)


def _told(wish: dict[str, Any], subject: Subject) -> Told:
    value: Decimal | None = wish.get("value")
    return Told(
        id=wish["id"],
        type=wish["type"],
        subject=subject,
        occurred_at=wish.get("occurred_at") or timezone.now(),
        url=wish.get("url", ""),
        ip=wish.get("ip", ""),
        user_agent=wish.get("user_agent", ""),
        name=wish.get("name", ""),
        value=value,
        currency=wish.get("currency", ""),
        properties=wish.get("properties", {}),
    )
