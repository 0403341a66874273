"""Webhooks over HTTP: mail with its events, why somebody got one, and how hearing back is doing."""

from __future__ import annotations

from webhooks.api.analytics import (
    ConversionsView,
    HistoryView,
    PersonHistoryView,
    TrackTokenView,
    TrendsView,
)
from webhooks.api.endpoints import DeliveryViewSet, EndpointViewSet
from webhooks.api.hearing import (
    WebhookConfigView,
    WebhookEventViewSet,
    WebhookRequestViewSet,
    WebhookStatsView,
)
from webhooks.api.hygiene import HygieneRuleViewSet, HygieneRunViewSet
from webhooks.api.messages import CampaignWhyView, MessageViewSet
from webhooks.api.streaming import EventStreamView
from webhooks.api.tracking import TrackView

__all__ = [
    "CampaignWhyView",
    "ConversionsView",
    "DeliveryViewSet",
    "EndpointViewSet",
    "EventStreamView",
    "HistoryView",
    "HygieneRuleViewSet",
    "HygieneRunViewSet",
    "MessageViewSet",
    "PersonHistoryView",
    "TrackTokenView",
    "TrackView",
    "TrendsView",
    "WebhookConfigView",
    "WebhookEventViewSet",
    "WebhookRequestViewSet",
    "WebhookStatsView",
]
