"""What happened over HTTP: with one person, over time, and what campaigns led to."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from django.shortcuts import get_object_or_404
from django.utils import timezone
from drf_spectacular.utils import (
    OpenApiExample,
    OpenApiParameter,
    OpenApiResponse,
    extend_schema,
    inline_serializer,
)
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from campaigns.models import Campaign
from delivery.reports import COUNTERS
from emailplatform.api import Strict
from subscribers import converting, enrolling
from subscribers.mailboxes import Mailbox
from subscribers.models import Subscriber
from webhooks import registering, remembering, trending
from webhooks.models import Tracked
from webhooks.trending import Wish

_KEY: dict[str, Any] = {"min_value": 1, "max_value": 2**63 - 1, "required": False}
_WHOM = OpenApiParameter(
    "email", str, OpenApiParameter.PATH, description="The address, URL-encoded, or the id"
)


def find_person(named: str) -> Subscriber:
    """Return the person with this address or id. Raises Http404."""
    if "@" in named:
        return get_object_or_404(Subscriber, email=enrolling.clean(named))
    return get_object_or_404(Subscriber, pk=int(named))


# --- One person --------------------------------------------------------------------------


class HistoryInput(Strict):
    limit = serializers.IntegerField(min_value=1, max_value=500, default=50)
    cursor = serializers.CharField(max_length=200, required=False)
    kind = serializers.MultipleChoiceField(choices=list(remembering.SOURCES), required=False)


class MomentSerializer(serializers.Serializer):
    kind = serializers.ChoiceField(list(remembering.SOURCES), source="place.kind")
    id = serializers.IntegerField(source="place.pk", help_text="Among those of its kind")
    at = serializers.DateTimeField(source="place.at")
    type = serializers.CharField(help_text="Of a mail its status; else what happened")
    campaign = serializers.IntegerField(allow_null=True)
    details = serializers.DictField()


_HistoryAnswer = inline_serializer(
    "History",
    {
        "next": serializers.CharField(allow_null=True, help_text="Address of the next page"),
        "results": MomentSerializer(many=True),
    },
)
_HISTORY = [
    OpenApiParameter("limit", int),
    OpenApiParameter("cursor", str, description="From `next`"),
    OpenApiParameter("kind", str, many=True, enum=list(remembering.SOURCES)),
]


class HistoryView(APIView):
    """Mails, events, consent and lists of one person, the newest first, in one line."""

    queryset = Subscriber.objects.all()

    @extend_schema(
        operation_id="subscribers_history",
        parameters=[_WHOM, *_HISTORY],
        responses=OpenApiResponse(
            _HistoryAnswer,
            examples=[
                OpenApiExample(
                    "A click, and the mail it was in",
                    {
                        "next": None,
                        "results": [
                            {
                                "kind": "event",
                                "id": 48213,
                                "at": "2026-11-24T08:12:03Z",
                                "type": "clicked",
                                "campaign": 12,
                                "details": {
                                    "url": "https://shop.example.com/",
                                    "verdict": "person",
                                },
                            },
                            {
                                "kind": "message",
                                "id": 7013,
                                "at": "2026-11-24T08:00:00Z",
                                "type": "sent",
                                "campaign": 12,
                                "details": {"message": "…", "sent_at": "2026-11-24T08:00:02Z"},
                            },
                        ],
                    },
                )
            ],
        ),
    )
    def get(self, request: Request, email: str) -> Response:
        person = find_person(email)
        query = request.query_params
        given = HistoryInput(data={**query.dict(), **_kinds(query)})
        given.is_valid(raise_exception=True)
        asked = given.validated_data
        before = remembering.place_of(asked["cursor"]) if "cursor" in asked else None
        kinds = sorted(asked.get("kind", []))
        moments, rest = remembering.history(person, before, asked["limit"], kinds)
        return Response(
            {"next": _next(request, rest), "results": MomentSerializer(moments, many=True).data}
        )


def _kinds(query: Any) -> dict[str, list[str]]:
    return {"kind": query.getlist("kind")} if "kind" in query else {}


def _next(request: Request, place: remembering.Place | None) -> str | None:
    if place is None:
        return None
    query = request.query_params.copy()
    query["cursor"] = remembering.cursor_of(place)
    return request.build_absolute_uri(f"{request.path}?{query.urlencode()}")


class PersonHistoryView(HistoryView):
    """The same under analytics."""

    @extend_schema(
        operation_id="analytics_subscriber_history",
        parameters=[_WHOM, *_HISTORY],
        responses=_HistoryAnswer,
    )
    def get(self, request: Request, email: str) -> Response:
        return super().get(request, email)


class TokenInput(Strict):
    campaign = serializers.IntegerField(**_KEY)


class TrackTokenView(APIView):
    """What lets a page tell events of one person."""

    queryset = Subscriber.objects.all()

    @extend_schema(
        operation_id="subscribers_track_token",
        parameters=[_WHOM, OpenApiParameter("campaign", int, description="Of this mail of theirs")],
        responses=inline_serializer("TrackToken", {"token": serializers.CharField()}),
    )
    def get(self, request: Request, email: str) -> Response:
        """Return a signed token for `engagement/track`. It tells nothing, and reads nothing."""
        given = TokenInput(data=request.query_params)
        given.is_valid(raise_exception=True)
        token = registering.token_for(find_person(email), given.validated_data.get("campaign"))
        return Response({"token": token})


# --- Over time ---------------------------------------------------------------------------


class ZoneField(serializers.CharField):
    def to_internal_value(self, data: Any) -> ZoneInfo:  # type: ignore[override]
        name = converting.time_zone(super().to_internal_value(data))
        if not name:
            raise serializers.ValidationError("This is no time zone, like Europe/Lisbon.")
        return ZoneInfo(name)


class TrendsInput(Strict):
    period = serializers.ChoiceField(list(trending.PERIODS), default="day")
    since = serializers.DateTimeField(required=False)
    until = serializers.DateTimeField(required=False)
    time_zone = ZoneField(required=False)
    campaign = serializers.IntegerField(**_KEY)
    list = serializers.IntegerField(**_KEY)
    mailbox = serializers.ChoiceField(Mailbox.choices, required=False)


_USUAL = {"hour": timedelta(days=2), "day": timedelta(days=30), "week": timedelta(weeks=26)}


def wish_of(asked: dict[str, Any], now: datetime) -> Wish:
    """Return what is asked for, with what is left out filled in."""
    until = asked.get("until") or now
    period = asked["period"]
    return Wish(
        asked.get("since") or until - _USUAL[period],
        until,
        period,
        asked.get("time_zone") or ZoneInfo(timezone.get_default_timezone_name()),
        asked.get("campaign"),
        asked.get("list"),
        asked.get("mailbox", ""),
    )


_Point = inline_serializer(
    "TrendPoint",
    {
        "start": serializers.DateTimeField(help_text="With the offset of the time zone"),
        **{name: serializers.IntegerField() for name in COUNTERS},
        "converted": serializers.IntegerField(),
        "added": serializers.IntegerField(allow_null=True),
        "left": serializers.IntegerField(allow_null=True),
    },
    many=True,
)


class TrendsView(APIView):
    """Mail and audience per hour, day or week."""

    queryset = Campaign.objects.all()

    @extend_schema(
        operation_id="analytics_trends",
        parameters=[
            OpenApiParameter("period", str, enum=list(trending.PERIODS), description="Usual: day"),
            OpenApiParameter("since", datetime, description="Usual: 30 days before `until`"),
            OpenApiParameter("until", datetime, description="Usual: now. Not included"),
            OpenApiParameter("time_zone", str, description="Where days begin. Usual: the server's"),
            OpenApiParameter("campaign", int),
            OpenApiParameter("list", int),
            OpenApiParameter("mailbox", str, enum=list(Mailbox.values)),
        ],
        responses=inline_serializer(
            "Trends",
            {
                "period": serializers.CharField(),
                "time_zone": serializers.CharField(),
                "points": _Point,
            },
        ),
    )
    def get(self, request: Request) -> Response:
        """Return a point per period, in order, none left out; messages count by when it happened.

        `opened` are all not known to be machines, `person_opened` certain people, `machine_opened`
        machines; likewise clicks. `added` and `left` are people, null with a campaign.
        """
        given = TrendsInput(data=request.query_params)
        given.is_valid(raise_exception=True)
        wish = wish_of(given.validated_data, timezone.now())
        points = [{**point, "start": point["start"].isoformat()} for point in trending.trends(wish)]
        return Response({"period": wish.period, "time_zone": wish.zone.key, "points": points})


class ConversionsView(APIView):
    """What a campaign led to."""

    queryset = Campaign.objects.all()

    @extend_schema(
        operation_id="campaigns_conversions",
        responses=inline_serializer(
            "Conversions",
            {
                "count": serializers.IntegerField(),
                "conversions": inline_serializer(
                    "ConversionSum",
                    {
                        "name": serializers.CharField(),
                        "currency": serializers.CharField(),
                        "count": serializers.IntegerField(),
                        "value": serializers.DecimalField(18, 4, allow_null=True),
                    },
                    many=True,
                ),
            },
        ),
    )
    def get(self, request: Request, pk: str) -> Response:
        """Return conversions by name and currency, with their number and sum."""
        campaign = get_object_or_404(Campaign, pk=pk)
        rows = Tracked.objects.conversions(campaign.pk)
        told = [
            {**row, "value": None if row["value"] is None else str(row["value"])} for row in rows
        ]
        return Response({"count": sum(row["count"] for row in rows), "conversions": told})
