"""Sending domains over HTTP."""

from __future__ import annotations

from typing import Any

from rest_framework import mixins, serializers, viewsets

from delivery import tracking
from delivery.models import SendingDomain
from delivery.models.domains import own_hosts
from emailplatform.api import Audited, Strict


class SendingDomainSerializer(Strict, serializers.ModelSerializer):
    """A domain mails come from. `tracking_host`: its counted links begin with it; null: none."""

    class Meta:
        model = SendingDomain
        fields = ["id", "domain", "tracking_host", "is_verified", "created_at", "updated_at"]
        read_only_fields = ["is_verified"]

    def validate_tracking_host(self, value: str | None) -> str | None:
        if value and value in own_hosts():
            words = "This is the address of the system itself: leave it empty."
            raise serializers.ValidationError(words)
        return value or None


class SendingDomainViewSet(
    Audited,
    mixins.ListModelMixin,
    mixins.CreateModelMixin,
    mixins.RetrieveModelMixin,
    mixins.UpdateModelMixin,
    viewsets.GenericViewSet,
):
    """The domains mails come from, and the hosts their counted links lead to."""

    queryset = SendingDomain.objects.all()
    serializer_class = SendingDomainSerializer
    http_method_names = ["get", "post", "patch", "head", "options"]

    def perform_create(self, serializer: Any) -> None:
        super().perform_create(serializer)
        tracking.forget()

    def perform_update(self, serializer: Any) -> None:
        super().perform_update(serializer)
        tracking.forget()
