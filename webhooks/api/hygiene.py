"""List hygiene over HTTP: rules, runs, who and why, doing it, taking it back."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ValidationError as DjangoError
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import mixins, serializers, status, viewsets
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from emailplatform.api import Audited
from emailplatform.errors import InvalidInput
from subscribers.models import HygieneAct, HygieneRule, HygieneRun
from webhooks import cleaning

BY_API = "API"


class HygieneRuleSerializer(serializers.ModelSerializer):
    class Meta:
        model = HygieneRule
        fields = ["id", "name", "kind", "days", "count", "action", "tag", "is_active"]

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """By the same rules as the admin's form."""
        names = ("kind", "action", "tag")
        usual = {"action": HygieneRule.Action.TAG, "tag": ""}
        known = {name: getattr(self.instance, name) for name in names} if self.instance else usual
        whole = {**known, **{name: attrs[name] for name in names if name in attrs}}
        try:
            HygieneRule(**whole).clean()
        except DjangoError as error:
            raise serializers.ValidationError(error.message_dict) from error
        return attrs


class HygieneRuleViewSet(Audited, viewsets.ModelViewSet):
    """Whom a night looks for, and what becomes of them."""

    queryset = HygieneRule.objects.order_by("-pk")
    serializer_class = HygieneRuleSerializer


class HygieneRunSerializer(serializers.ModelSerializer):
    class Meta:
        model = HygieneRun
        fields = ["id", "at", "status", "found", "active_people", "by"]


class HygieneActSerializer(serializers.ModelSerializer):
    email = serializers.CharField(source="subscriber.email", read_only=True)
    rule_name = serializers.CharField(source="rule.name", read_only=True)

    class Meta:
        model = HygieneAct
        fields = ["id", "subscriber", "email", "rule", "rule_name", "reason", "done_at", "ended_at"]


class HygieneRunViewSet(
    Audited, mixins.ListModelMixin, mixins.RetrieveModelMixin, viewsets.GenericViewSet
):
    """Runs. POST looks by all rules and changes nobody: a dry run."""

    queryset = HygieneRun.objects.order_by("-pk")
    serializer_class = HygieneRunSerializer

    @extend_schema(request=None, responses={201: HygieneRunSerializer})
    def create(self, request: Request) -> Response:
        rules = list(HygieneRule.objects.all())
        if not rules:
            raise InvalidInput("There are no rules yet: make one first.")
        run = cleaning.look(timezone.now(), BY_API, rules)
        return Response(self.get_serializer(run).data, status.HTTP_201_CREATED)

    @extend_schema(responses=HygieneActSerializer(many=True))
    @action(detail=True)
    def people(self, request: Request, pk: str) -> Response:
        """Return whom the run found, why, and what was done."""
        run = self.get_object()
        page = self.paginate_queryset(run.acts.select_related("subscriber", "rule").order_by("-pk"))
        return self.get_paginated_response(HygieneActSerializer(page, many=True).data)

    @extend_schema(request=None)
    @action(detail=True, methods=["post"])
    def act(self, request: Request, pk: str) -> Response:
        """Do what the rules say with everybody the run found."""
        run = cleaning.act(self.get_object(), timezone.now(), BY_API)
        return Response(self.get_serializer(run).data)

    @extend_schema(request=None)
    @action(detail=True, methods=["post"])
    def undo(self, request: Request, pk: str) -> Response:
        """Take a run back."""
        run = self.get_object()
        cleaning.undo(run, timezone.now(), BY_API)
        return Response(self.get_serializer(run).data)
