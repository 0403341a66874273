"""Delivery over HTTP: sending mail, what became of it, reports, and how the system is doing."""

from __future__ import annotations

from delivery.api.dead_letters import DeadLetterViewSet
from delivery.api.domains import SendingDomainViewSet
from delivery.api.messages import MessageViewSet
from delivery.api.reporting import CampaignStatsView, QueuesView, ResetView, SystemStatusView
from delivery.api.sending import SendViewSet

__all__ = [
    "CampaignStatsView",
    "DeadLetterViewSet",
    "MessageViewSet",
    "QueuesView",
    "ResetView",
    "SendViewSet",
    "SendingDomainViewSet",
    "SystemStatusView",
]
