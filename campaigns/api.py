"""Campaigns over HTTP. Numbers of a campaign are delivery's: see `delivery.api`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.db import transaction
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import mixins, serializers, viewsets
from rest_framework.decorators import action
from rest_framework.generics import get_object_or_404
from rest_framework.request import Request
from rest_framework.response import Response

from campaigns import launching, personalising, rendering
from campaigns.models import Campaign, Template
from emailplatform.api import Audited, Strict


class CampaignSerializer(Strict, serializers.ModelSerializer):
    class Meta:
        model = Campaign
        fields = [
            "id",
            "name",
            "status",
            "template",
            "subject",
            "preheader",
            "from_name",
            "from_email",
            "reply_to",
            "lists",
            "segments",
            "excluded_lists",
            "excluded_segments",
            "cap_mails",
            "cap_days",
            "holdout_percent",
            "tracking",
            "track_opens",
            "track_clicks",
            "send_at",
            "problem",
            "launched_at",
            "finished_at",
            "created_at",
        ]
        read_only_fields = ["status", "send_at", "problem", "launched_at", "finished_at"]

    def validate(self, data: dict[str, Any]) -> dict[str, Any]:
        if self.instance is not None and not self.instance.is_editable:
            status = self.instance.get_status_display().lower()
            raise serializers.ValidationError(f"A campaign that is {status} cannot be changed.")
        return data


class TemplateSerializer(Strict, serializers.ModelSerializer):
    class Meta:
        model = Template
        fields = [
            "id",
            "name",
            "format",
            "subject",
            "preheader",
            "body",
            "text",
            "variables",
            "created_at",
            "updated_at",
        ]

    def validate(self, data: dict[str, Any]) -> dict[str, Any]:
        """Take a template only if every mail can be made of it."""
        parts = ("format", "subject", "preheader", "body", "text")
        known = {part: getattr(self.instance or Template(), part) for part in parts}
        source = rendering.Source(**{**known, **{p: data[p] for p in parts if p in data}})
        variables = data.get("variables", self.instance.variables if self.instance else [])
        names = [*personalising.known_names(), *variables]
        for problem in rendering.problems(source, names, personalising.constants_of(None)):
            raise serializers.ValidationError({problem.part: [str(problem)]})
        return data


class ScheduleInput(Strict):
    send_at = serializers.DateTimeField()


class TemplateViewSet(
    Audited,
    mixins.ListModelMixin,
    mixins.CreateModelMixin,
    mixins.RetrieveModelMixin,
    mixins.UpdateModelMixin,
    viewsets.GenericViewSet,
):
    """Templates: MJML or HTML with Jinja2."""

    queryset = Template.objects.all()
    serializer_class = TemplateSerializer
    http_method_names = ["get", "post", "patch", "head", "options"]


class CampaignViewSet(
    Audited,
    mixins.ListModelMixin,
    mixins.CreateModelMixin,
    mixins.RetrieveModelMixin,
    mixins.UpdateModelMixin,
    viewsets.GenericViewSet,
):
    """Campaigns. Verbs are sub-resources: `POST /api/v1/campaigns/7/send/`."""

    queryset = Campaign.objects.prefetch_related(
        "lists", "segments", "excluded_lists", "excluded_segments"
    )
    serializer_class = CampaignSerializer
    http_method_names = ["get", "post", "patch", "head", "options"]
    filterset_fields = ["status"]
    scopes = dict.fromkeys(
        ["send", "schedule", "unschedule", "pause", "resume", "cancel", "accept"], "send"
    )

    def partial_update(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Change a draft. Locked: a launch at the same moment comes before or after it."""
        with transaction.atomic():
            get_object_or_404(Campaign.objects.select_for_update(), pk=kwargs["pk"])
            return super().partial_update(request, *args, **kwargs)

    @extend_schema(request=None, responses=CampaignSerializer)
    @action(detail=True, methods=["post"])
    def send(self, request: Request, pk: str) -> Response:
        """Freeze content and audience, and start sending now."""
        campaign = self.get_object()
        launching.launch(campaign, timezone.now())
        return self._answer(campaign)

    @extend_schema(request=ScheduleInput, responses=CampaignSerializer)
    @action(detail=True, methods=["post"])
    def schedule(self, request: Request, pk: str) -> Response:
        """Start sending at `send_at`."""
        campaign = self.get_object()
        data = ScheduleInput(data=request.data)
        data.is_valid(raise_exception=True)
        launching.schedule(campaign, data.validated_data["send_at"], timezone.now())
        return self._answer(campaign)

    @extend_schema(request=None, responses=CampaignSerializer)
    @action(detail=True, methods=["post"])
    def unschedule(self, request: Request, pk: str) -> Response:
        """Make a scheduled campaign a draft again."""
        return self._moved(Campaign.unschedule)

    @extend_schema(request=None, responses=CampaignSerializer)
    @action(detail=True, methods=["post"])
    def pause(self, request: Request, pk: str) -> Response:
        """Hand nothing over any more until resumed."""
        return self._moved(Campaign.pause)

    @extend_schema(request=None, responses=CampaignSerializer)
    @action(detail=True, methods=["post"])
    def resume(self, request: Request, pk: str) -> Response:
        """Go on where it was paused."""
        return self._moved(Campaign.resume)

    @extend_schema(request=None, responses=CampaignSerializer)
    @action(detail=True, methods=["post"])
    def cancel(self, request: Request, pk: str) -> Response:
        """End it for good; what is not handed over yet never will be."""
        return self._moved(lambda campaign: campaign.cancel(timezone.now()))

    @extend_schema(request=None, responses=CampaignSerializer)
    @action(detail=True, methods=["post"])
    def accept(self, request: Request, pk: str) -> Response:
        """Take a campaign that finished with holds for sent: the rest is given up."""
        return self._moved(Campaign.accept)

    def _moved(self, move: Callable[[Campaign], None]) -> Response:
        campaign = self.get_object()
        move(campaign)
        return self._answer(campaign)

    def _answer(self, campaign: Campaign) -> Response:
        return Response(self.get_serializer(campaign).data)
