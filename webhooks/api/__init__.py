"""Webhooks over HTTP: mail with its events, why somebody got one, and how hearing back is doing."""

from __future__ import annotations

from webhooks.api.endpoints import DeliveryViewSet, EndpointViewSet
from webhooks.api.hearing import (
    WebhookConfigView,
    WebhookEventViewSet,
    WebhookRequestViewSet,
    WebhookStatsView,
)
from webhooks.api.messages import CampaignWhyView, MessageViewSet
from webhooks.api.streaming import EventStreamView

__all__ = [
    "CampaignWhyView",
    "DeliveryViewSet",
    "EndpointViewSet",
    "EventStreamView",
    "MessageViewSet",
    "WebhookConfigView",
    "WebhookEventViewSet",
    "WebhookRequestViewSet",
    "WebhookStatsView",
]
