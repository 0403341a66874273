"""What became of campaigns, and how the system is doing, over HTTP."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from django.shortcuts import get_object_or_404
from django.utils import timezone
from drf_spectacular.utils import extend_schema, inline_serializer
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from campaigns.models import Campaign
from delivery import breaking, monitoring, overseeing, reports
from delivery.models import ProviderAccount, Worker
from emailplatform.api import Audited
from emailplatform.models import ApiKey

_StatsAnswer = inline_serializer(
    "CampaignStats",
    {
        "status": serializers.CharField(),
        "progress": serializers.DictField(),
        "totals": serializers.DictField(),
        "by_provider": serializers.DictField(),
        "by_mailbox": serializers.DictField(),
    },
)
_StatusAnswer = inline_serializer(
    "SystemStatus",
    {
        "status": serializers.ChoiceField(["ok", "degraded"]),
        "queued": serializers.IntegerField(),
        "in_doubt": serializers.IntegerField(),
        "oldest_due_s": serializers.FloatField(allow_null=True),
        "events_waiting": serializers.IntegerField(required=False),
        "redis_away": serializers.BooleanField(),
        "providers": serializers.ListField(child=serializers.DictField()),
    },
)
_QueuesAnswer = inline_serializer(
    "SystemQueues",
    {
        "queues": serializers.ListField(child=serializers.DictField()),
        "limits": serializers.ListField(child=serializers.DictField()),
        "workers": serializers.ListField(child=serializers.DictField()),
        "trouble": serializers.CharField(allow_blank=True),
    },
)

_ResetAnswer = inline_serializer(
    "BreakerReset",
    {
        "id": serializers.IntegerField(),
        "circuit": serializers.CharField(),
        "was_open": serializers.BooleanField(),
    },
)


class CampaignStatsView(APIView):
    """Progress and outcome of one campaign. People, not events; machines apart."""

    queryset = Campaign.objects.all()

    @extend_schema(responses=_StatsAnswer)
    def get(self, request: Request, pk: int) -> Response:
        campaign = get_object_or_404(Campaign, pk=pk)
        return Response(stats_of(campaign))


class SystemStatusView(APIView):
    """What is queued, in doubt or late, and how each provider is doing."""

    queryset = ProviderAccount.objects.all()

    @extend_schema(responses=_StatusAnswer)
    def get(self, request: Request) -> Response:
        return Response(monitoring.status(timezone.now()))


class QueuesView(APIView):
    """What is due per stream and mailbox provider, what holds it up, limits, and workers."""

    queryset = Worker.objects.all()

    @extend_schema(responses=_QueuesAnswer)
    def get(self, request: Request) -> Response:
        return Response(overseeing.as_data(overseeing.overview(timezone.now())))


class ResetView(Audited, APIView):
    """Give an account mail again at once, although its breaker is open."""

    basename = "provider"
    action = "reset"
    detail = True
    queryset = ProviderAccount.objects.defer("secrets")

    @extend_schema(request=None, responses=_ResetAnswer)
    def post(self, request: Request, pk: int) -> Response:
        account = get_object_or_404(self.queryset.all(), pk=pk)
        who = request.auth if isinstance(request.auth, ApiKey) else request.user
        was_open = breaking.close(account, f"Reset by {who}.", timezone.now())
        return Response({"id": account.pk, "circuit": "closed", "was_open": was_open})


def stats_of(campaign: Campaign) -> dict[str, Any]:
    """Return a campaign's numbers as plain data."""
    return {
        "status": campaign.status,
        "progress": asdict(reports.progress(campaign, timezone.now())),
        "totals": asdict(reports.totals(campaign)),
        "by_provider": _plain(reports.totals_by(campaign, "provider__name")),
        "by_mailbox": _plain(reports.totals_by(campaign, "mailbox")),
    }


def _plain(groups: dict[str, reports.Totals]) -> dict[str, Any]:
    return {name: asdict(totals) for name, totals in groups.items()}
