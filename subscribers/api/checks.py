"""Address checks over HTTP: one address at once, many as a job."""

from __future__ import annotations

from typing import Any

from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import mixins, serializers, status, viewsets
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from emailplatform.api import Audited, KeyThrottle, Strict
from emailplatform.celery import nudge
from subscribers import checking, rechecking
from subscribers.api.inputs import valid
from subscribers.flagging import Kind, Verdict
from subscribers.models import CheckRun, MailingList, Subscriber
from subscribers.tasks import check_domains


class CheckThrottle(KeyThrottle):
    """A limit of its own (CHECK_RATE): a check may ask DNS."""

    scope = "checks"

    def get_cache_key(self, request: Request, view: APIView) -> str:
        return f"{super().get_cache_key(request, view)}:checks"


class AddressInput(Strict):
    email = serializers.CharField(max_length=320, trim_whitespace=False)


class FlagSerializer(serializers.Serializer):
    """One thing that speaks against an address, with its reason as a sentence."""

    code = serializers.ChoiceField(Kind.choices, source="kind")
    reason = serializers.CharField()


class AddressCheckSerializer(serializers.Serializer):
    """What is known of an address. `email` is its normalised spelling."""

    email = serializers.CharField()
    verdict = serializers.ChoiceField(Verdict.choices)
    problem = serializers.CharField(help_text="Why it is no address; empty if it is one.")
    flags = FlagSerializer(many=True, help_text="The worst first.")
    suggestion = serializers.CharField(help_text="The address that was probably meant, or empty.")
    detail = serializers.CharField(help_text="What DNS said.")
    checked_at = serializers.DateTimeField(allow_null=True)


class CheckAddressView(APIView):
    """Check one address."""

    queryset = Subscriber.objects.none()
    throttle_classes = [KeyThrottle, CheckThrottle]
    scopes = {"check": "read"}
    action = "check"

    @extend_schema(
        operation_id="subscribers_check",
        request=AddressInput,
        responses=AddressCheckSerializer,
    )
    def post(self, request: Request) -> Response:
        """Say whether an address is any good. Nothing is stored of it but its domain.

        DNS is asked if nobody has of late, which takes as long as DNS_TIMEOUT_S at most.
        """
        found = checking.check(valid(AddressInput, request)["email"], timezone.now())
        return Response(AddressCheckSerializer(found).data)


class CheckRunSerializer(serializers.ModelSerializer):
    class Meta:
        model = CheckRun
        fields = [
            *("id", "status", "list", "older_than_days", "limit", "domain_count", "done_count"),
            *("unknown_count", "held_count", "released_count", "people", "created_at"),
            *("started_at", "finished_at"),
        ]


class CheckRunInput(Strict):
    list = serializers.PrimaryKeyRelatedField(queryset=MailingList.objects.all(), required=False)
    older_than_days = serializers.IntegerField(min_value=1, max_value=3650, required=False)
    limit = serializers.IntegerField(min_value=1, max_value=10_000_000, required=False)


class CheckRunViewSet(
    Audited, mixins.ListModelMixin, mixins.RetrieveModelMixin, viewsets.GenericViewSet
):
    """Re-checks of many addresses: start one, watch it, stop it."""

    queryset = CheckRun.objects.order_by("-id")
    serializer_class = CheckRunSerializer

    @extend_schema(request=CheckRunInput, responses={202: CheckRunSerializer})
    def create(self, request: Request) -> Response:
        """Start a re-check of a list's people, or of everybody's. One runs at a time."""
        data = valid(CheckRunInput, request)
        run = rechecking.start(
            data.get("list"), older_than_days=data.get("older_than_days"), limit=data.get("limit")
        )
        nudge(check_domains)
        return Response(self.get_serializer(run).data, status=status.HTTP_202_ACCEPTED)

    @extend_schema(request=None, responses=CheckRunSerializer)
    @action(detail=True, methods=["post"])
    def cancel(self, request: Request, pk: str) -> Response:
        """Stop it; what was found out stays."""
        run: Any = self.get_object()
        run.cancel(timezone.now())
        return Response(self.get_serializer(run).data)
