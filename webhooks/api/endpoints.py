"""Endpoints over HTTP: made, changed over, tried, replayed, and the log of what they were told."""

from __future__ import annotations

from typing import Any

import django_filters
from django.utils import timezone
from drf_spectacular.utils import extend_schema, inline_serializer
from rest_framework import mixins, serializers, viewsets
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from campaigns.models import Campaign
from delivery.models import Stream
from delivery.providers.base import EventType
from emailplatform import posting
from emailplatform.api import Audited, Strict
from webhooks import delivering, managing, phrasing
from webhooks.api.hearing import THROTTLES
from webhooks.models import Delivery, DeliveryTry, Endpoint


class EndpointSerializer(Strict, serializers.ModelSerializer):
    """Where events are posted to, and which."""

    types = serializers.ListField(
        child=serializers.ChoiceField([(each.value, each.value) for each in EventType]),
        required=False,
        help_text="Empty: every type",
    )
    campaign = serializers.PrimaryKeyRelatedField(
        queryset=Campaign.objects.all(), required=False, allow_null=True
    )
    stream = serializers.ChoiceField(
        choices=Stream.choices, required=False, allow_blank=True, help_text="Empty: every stream"
    )
    secrets = serializers.SerializerMethodField(help_text="How many sign")

    class Meta:
        model = Endpoint
        fields = [
            *("id", "name", "url", "types", "campaign", "stream", "is_enabled", "disabled_at"),
            *("disabled_reason", "secrets", "failing_since", "last_success_at"),
            *("last_failure_at", "last_error", "held_until", "created_at"),
        ]
        read_only_fields = [
            *("is_enabled", "disabled_at", "disabled_reason", "failing_since"),
            *("last_success_at", "last_failure_at", "last_error", "held_until", "created_at"),
        ]

    def get_secrets(self, endpoint: Endpoint) -> int:
        return len(endpoint.secrets)

    def create(self, validated_data: dict[str, Any]) -> Endpoint:
        endpoint = Endpoint(**validated_data)
        managing.create(endpoint, timezone.now())
        return endpoint

    def update(self, endpoint: Endpoint, validated_data: dict[str, Any]) -> Endpoint:
        for name, value in validated_data.items():
            setattr(endpoint, name, value)
        managing.change(endpoint)
        return endpoint


_Secret = inline_serializer(
    "EndpointSecret",
    {
        "id": serializers.IntegerField(),
        "secret": serializers.CharField(help_text="It is shown only this once"),
    },
)
_Created = inline_serializer(
    "EndpointCreated",
    {
        "id": serializers.IntegerField(),
        "name": serializers.CharField(),
        "url": serializers.CharField(),
        "secret": serializers.CharField(help_text="It is shown only this once"),
    },
)
_Tested = inline_serializer(
    "EndpointTested",
    {
        "id": serializers.IntegerField(),
        "ok": serializers.BooleanField(),
        "status": serializers.IntegerField(help_text="0: no answer"),
        "took_ms": serializers.IntegerField(),
        "answer": serializers.CharField(),
        "error": serializers.CharField(),
    },
)
_Replayed = inline_serializer(
    "EndpointReplayed",
    {"id": serializers.IntegerField(), "queued": serializers.IntegerField()},
)


class ReplayInput(Strict):
    since = serializers.DateTimeField(
        help_text="What was taken in since then and not delivered is sent; at most 31 days back"
    )


class EndpointViewSet(Audited, viewsets.ModelViewSet):
    """Endpoints of yours that are told of events, signed as Standard Webhooks says."""

    queryset = Endpoint.objects.all()
    serializer_class = EndpointSerializer
    throttle_classes = THROTTLES
    http_method_names = ["get", "post", "patch", "delete", "head", "options"]

    @extend_schema(responses={201: _Created})
    def create(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Make an endpoint: it is told of what happens from now on. Keep its secret."""
        given = self.get_serializer(data=request.data)
        given.is_valid(raise_exception=True)
        endpoint = given.save()
        newest = endpoint.secrets[0]["secret"]
        return Response({**self.get_serializer(endpoint).data, "secret": newest}, status=201)

    def destroy(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Delete an endpoint with its log."""
        endpoint = self.get_object()
        answer = Response(status=204)
        answer.changed = endpoint.pk  # type: ignore[attr-defined]  # for the audit
        managing.delete(endpoint, timezone.now())
        return answer

    @extend_schema(request=None, responses=_Secret)
    @action(detail=True, methods=["post"])
    def rotate(self, request: Request, **_: Any) -> Response:
        """Add a secret; those before sign along until `drop-secrets`. At most three."""
        endpoint = self.get_object()
        return Response({"id": endpoint.pk, "secret": managing.rotate(endpoint, timezone.now())})

    @extend_schema(request=None, responses=EndpointSerializer)
    @action(detail=True, methods=["post"], url_path="drop-secrets")
    def drop_secrets(self, request: Request, **_: Any) -> Response:
        """Let the newest secret sign alone."""
        endpoint = self.get_object()
        managing.drop_older(endpoint)
        return Response(self.get_serializer(endpoint).data)

    @extend_schema(request=None, responses=EndpointSerializer)
    @action(detail=True, methods=["post"])
    def enable(self, request: Request, **_: Any) -> Response:
        """Post to it again: what still waits, and what happens from now on."""
        endpoint = self.get_object()
        managing.enable(endpoint, timezone.now())
        endpoint.refresh_from_db()
        return Response(self.get_serializer(endpoint).data)

    @extend_schema(request=None, responses=EndpointSerializer)
    @action(detail=True, methods=["post"])
    def disable(self, request: Request, **_: Any) -> Response:
        """Stop posting to it. Events are not kept for it meanwhile."""
        endpoint = self.get_object()
        managing.disable(endpoint, str(request.user), timezone.now())
        endpoint.refresh_from_db()
        return Response(self.get_serializer(endpoint).data)

    @extend_schema(request=None, responses=_Tested)
    @action(detail=True, methods=["post"])
    def test(self, request: Request, **_: Any) -> Response:
        """Post an `endpoint.test` now; answers with how that went."""
        endpoint = self.get_object()
        answer = delivering.try_out(endpoint, timezone.now())
        error = posting.refusal(answer)
        return Response(
            {
                "id": endpoint.pk,
                "ok": not error,
                "status": answer.status,
                "took_ms": answer.took_ms,
                "answer": answer.text,
                "error": error,
            }
        )

    @extend_schema(request=ReplayInput, responses={202: _Replayed})
    @action(detail=True, methods=["post"])
    def replay(self, request: Request, **_: Any) -> Response:
        """Send what was given up, or never queued, since a time."""
        endpoint = self.get_object()
        given = ReplayInput(data=request.data)
        given.is_valid(raise_exception=True)
        queued = managing.replay_since(endpoint, given.validated_data["since"], timezone.now())
        return Response({"id": endpoint.pk, "queued": queued}, status=202)


# --- The log -----------------------------------------------------------------------------


class DeliveryTrySerializer(serializers.ModelSerializer):
    class Meta:
        model = DeliveryTry
        fields = ["at", "status", "took_ms", "answer", "error"]


class DeliverySerializer(serializers.ModelSerializer):
    """One event for one endpoint."""

    webhook_id = serializers.CharField(source="uid")
    event = serializers.IntegerField(source="event_id", allow_null=True)
    type = serializers.SerializerMethodField()

    class Meta:
        model = Delivery
        fields = [
            *("id", "endpoint", "webhook_id", "event", "type", "status", "attempts", "due_at"),
            *("created_at", "ended_at", "last_status", "last_error"),
        ]

    def get_type(self, delivery: Delivery) -> str:
        return phrasing.type_of(delivery.type)


class DeliveryDetailSerializer(DeliverySerializer):
    tries = DeliveryTrySerializer(many=True)

    class Meta(DeliverySerializer.Meta):
        fields = [*DeliverySerializer.Meta.fields, "tries"]


class DeliveryFilter(django_filters.FilterSet):
    endpoint = django_filters.NumberFilter(field_name="endpoint_id")
    status = django_filters.ChoiceFilter(choices=Delivery.Status)
    event = django_filters.NumberFilter(field_name="event_id")


class DeliveryViewSet(
    Audited, mixins.ListModelMixin, mixins.RetrieveModelMixin, viewsets.GenericViewSet
):
    """The log of what endpoints were told, the newest first."""

    queryset = Delivery.objects.all()
    serializer_class = DeliverySerializer
    filterset_class = DeliveryFilter
    throttle_classes = THROTTLES

    def get_serializer_class(self) -> Any:
        return DeliveryDetailSerializer if self.detail else DeliverySerializer

    @extend_schema(request=None, responses={202: DeliveryDetailSerializer})
    @action(detail=True, methods=["post"])
    def replay(self, request: Request, **_: Any) -> Response:
        """Send it again, delivered or not, under the same `webhook-id`."""
        delivery = self.get_object()
        managing.replay_one(delivery, timezone.now())
        delivery.refresh_from_db()
        return Response(self.get_serializer(delivery).data, status=202)
