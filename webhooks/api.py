"""What became of a mail, told with the events that providers reported."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from delivery import api as delivery_api
from delivery.models import Mail
from webhooks.models import Event

MOST_EVENTS = 200


class EventSerializer(serializers.ModelSerializer):
    account = serializers.CharField(source="account.name", default=None)

    class Meta:
        model = Event
        fields = [
            *("type", "occurred_at", "account", "recipient", "url", "ip", "user_agent"),
            *("is_machine", "bounce_class", "reason"),
        ]


class MessageViewSet(delivery_api.MessageViewSet):
    """Mail sent by API, with its events."""

    def told(self, mail: Mail) -> dict[str, Any]:
        events = Event.objects.filter(message_id=mail.pk).select_related("account")
        rows = events.order_by("occurred_at", "pk")[:MOST_EVENTS]
        return {**super().told(mail), "events": EventSerializer(rows, many=True).data}
