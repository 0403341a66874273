"""What became of a mail, told with the events that providers reported; and why somebody got one."""

from __future__ import annotations

from typing import Any

from django.shortcuts import get_object_or_404
from django.utils import timezone
from drf_spectacular.utils import OpenApiParameter, extend_schema, inline_serializer
from rest_framework import serializers
from rest_framework.exceptions import PermissionDenied
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from campaigns.models import Campaign
from delivery import api as delivery_api
from delivery.models import Mail
from emailplatform.errors import InvalidInput
from emailplatform.models import ApiKey
from webhooks import describing, explaining
from webhooks.models import Event

MOST_EVENTS = 200
_Answer = inline_serializer(
    "CampaignWhy",
    {
        "campaign": serializers.IntegerField(),
        "email": serializers.CharField(),
        "got_it": serializers.BooleanField(allow_null=True, help_text="null: it is open"),
        "verdict": serializers.CharField(help_text="One plain sentence"),
        "person": serializers.DictField(allow_null=True),
        "suppression": serializers.DictField(allow_null=True),
        "audience": serializers.DictField(allow_null=True),
        "message": serializers.DictField(allow_null=True),
        "attempts": serializers.ListField(child=serializers.DictField()),
        "earlier_attempts": serializers.IntegerField(help_text="Tries that left no record"),
        "events": serializers.ListField(child=serializers.DictField()),
    },
)
_Email = OpenApiParameter("email", str, required=True, description="The whole address")


class EventSerializer(serializers.ModelSerializer):
    account = serializers.CharField(source="account.name", default=None)
    verdict = serializers.CharField(
        allow_null=True, help_text="Of opens and clicks: person, machine or unsure"
    )
    verdict_reason = serializers.CharField(source="machine_reason", help_text="What told it")

    class Meta:
        model = Event
        fields = [
            *("type", "occurred_at", "account", "recipient", "url", "ip", "user_agent"),
            *(
                "is_machine",
                "verdict",
                "verdict_reason",
                "bounce_class",
                "reason",
                "complaint_type",
                "standing",
            ),
            *("country", "device", "client", "browser", "os"),
        ]


class MessageViewSet(delivery_api.MessageViewSet):
    """Mail sent by API, with its events."""

    def told(self, mail: Mail) -> dict[str, Any]:
        events = Event.objects.filter(message_id=mail.pk).select_related("account")
        rows = events.order_by("occurred_at", "pk")[:MOST_EVENTS]
        return {**super().told(mail), "events": EventSerializer(rows, many=True).data}


class CampaignWhyView(APIView):
    """Why somebody did or did not get a campaign: the verdict, and the facts it rests on."""

    queryset = Campaign.objects.all()

    @extend_schema(parameters=[_Email], responses=_Answer)
    def get(self, request: Request, pk: int) -> Response:
        is_key = isinstance(request.auth, ApiKey)
        if not is_key and not request.user.has_perm("subscribers.view_subscriber"):
            raise PermissionDenied("You may not see people.")
        campaign = get_object_or_404(Campaign, pk=pk)
        email = request.query_params.get("email", "")
        if not email:
            raise InvalidInput("Say whom you ask for: ?email=ana@example.com", param="email")
        return Response(describing.plain(explaining.explain(campaign, email, timezone.now())))
