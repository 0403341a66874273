"""The feed of events: ask again and again with the last number, and none is missed."""

from __future__ import annotations

from drf_spectacular.utils import OpenApiParameter, extend_schema, inline_serializer
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from delivery.providers.base import EventType
from emailplatform.api import Strict
from webhooks import streaming
from webhooks.api.hearing import THROTTLES, WebhookEventSerializer
from webhooks.models import Event
from webhooks.streaming import Wish


class StreamInput(Strict):
    after = serializers.IntegerField(
        required=False,
        min_value=0,
        max_value=2**63 - 1,
        help_text="`next` of the last answer; 0: from the very first. Left out: the newest",
    )
    type = serializers.ChoiceField(
        choices=[(each.value, each.value) for each in EventType], required=False
    )
    campaign = serializers.IntegerField(required=False, min_value=1, max_value=2**63 - 1)
    limit = serializers.IntegerField(
        required=False, min_value=1, max_value=streaming.MOST, default=100
    )


_Answer = inline_serializer(
    "EventStream",
    {
        "events": WebhookEventSerializer(many=True),
        "next": serializers.IntegerField(help_text="Ask with `after=` this"),
        "more": serializers.BooleanField(help_text="Ask at once; else wait a few seconds"),
    },
)


class EventStreamView(APIView):
    """Events about our mail in the order of their ids, the oldest first."""

    queryset = Event.objects.all()
    throttle_classes = THROTTLES

    @extend_schema(
        operation_id="email_events_stream",
        parameters=[
            OpenApiParameter("after", int),
            OpenApiParameter("type", str, enum=[each.value for each in EventType]),
            OpenApiParameter("campaign", int),
            OpenApiParameter("limit", int),
        ],
        responses=_Answer,
    )
    def get(self, request: Request) -> Response:
        """Return events after a number: each once, none passed by, however they are committed."""
        given = StreamInput(data=request.query_params)
        given.is_valid(raise_exception=True)
        asked = given.validated_data
        wish = Wish(asked.get("type", ""), asked.get("campaign", 0))
        found = streaming.after(asked.get("after"), wish, asked["limit"])
        events = WebhookEventSerializer(found.events, many=True).data
        return Response({"events": events, "next": found.next, "more": found.is_more})
