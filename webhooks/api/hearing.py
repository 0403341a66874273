"""Hearing back over HTTP: events, stored requests, counts, and what is listened to."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import django_filters
from django.db.models import Q, QuerySet
from django.shortcuts import get_object_or_404
from django.utils import timezone
from drf_spectacular.utils import extend_schema, inline_serializer
from rest_framework import mixins, serializers, viewsets
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from delivery.models import Message, ProviderAccount, message_of
from delivery.providers.base import EventType
from emailplatform.api import Audited, KeyThrottle, Strict
from emailplatform.secrets import address_key
from subscribers.models import Subscriber
from subscribers.validating import InvalidAddress, clean_address
from webhooks import configuring, reporting
from webhooks.classifying import LOOKS
from webhooks.models import Event, RawRequest

MOST_MAILS = 1000
"""Of one address, the newest, whose events are looked for."""
MOST_HOURS = 24 * 31


class WebhookThrottle(KeyThrottle):
    """A limit of its own (WEBHOOK_API_RATE), beside that of the whole API."""

    scope = "webhooks"

    def get_cache_key(self, request: Request, view: APIView) -> str:
        return f"{super().get_cache_key(request, view)}:webhooks"


THROTTLES = [KeyThrottle, WebhookThrottle]


# --- Events ------------------------------------------------------------------------------


class WebhookEventSerializer(serializers.ModelSerializer):
    """One event. `standing`: what it is to the mail it names; "" is its own."""

    account = serializers.CharField(source="account.name", default=None)
    message = serializers.CharField(source="message_token", default=None)
    campaign = serializers.IntegerField(source="campaign_id")
    subscriber = serializers.IntegerField(source="subscriber_id")
    request = serializers.IntegerField(source="request_id")
    verdict = serializers.CharField(
        allow_null=True, help_text="Of opens and clicks: person, machine or unsure"
    )
    verdict_reason = serializers.CharField(source="machine_reason", help_text="What told it")

    class Meta:
        model = Event
        fields = [
            *("id", "type", "occurred_at", "received_at", "account", "message", "campaign"),
            *("subscriber", "recipient", "provider_message_id", "standing", "bounce_class"),
            *("reason", "complaint_type", "url", "ip", "country", "user_agent", "device"),
            *("client", "browser", "os", "is_machine", "verdict", "verdict_reason", "request"),
        ]


_VERDICTS = {"person": False, "machine": True, "unsure": None}


class WebhookEventFilter(django_filters.FilterSet):
    account = django_filters.CharFilter(field_name="account__name")
    type = django_filters.ChoiceFilter(choices=[(each, each) for each in EventType])
    message = django_filters.CharFilter(method="of_message")
    campaign = django_filters.NumberFilter(field_name="campaign_id")
    recipient = django_filters.CharFilter(method="of_recipient")
    standing = django_filters.ChoiceFilter(
        choices=[each for each in Event.Standing.choices if each[0]]
    )
    verdict = django_filters.ChoiceFilter(
        choices=[(each, each) for each in _VERDICTS], method="of_verdict"
    )
    since = django_filters.IsoDateTimeFilter("received_at", "gte")
    until = django_filters.IsoDateTimeFilter("received_at", "lt")

    def of_verdict(self, rows: QuerySet[Event], _name: str, value: str) -> QuerySet[Event]:
        return rows.filter(type__in=LOOKS, is_machine=_VERDICTS[value])

    def of_message(self, rows: QuerySet[Event], _name: str, value: str) -> QuerySet[Event]:
        return rows.filter(message_id=message_of(value) or 0)

    def of_recipient(self, rows: QuerySet[Event], _name: str, value: str) -> QuerySet[Event]:
        """Events of a person, and of mail sent by API to the address; both have an index."""
        try:
            key = address_key(clean_address(value))
        except InvalidAddress:
            return rows.none()
        mails = Message.objects.filter(address_key=key, campaign=None).order_by("-pk")
        ids = list(mails.values_list("pk", flat=True)[:MOST_MAILS])
        people = Subscriber.objects.filter(address_key=key)
        of_person = Q(subscriber_id__in=list(people.values_list("pk", flat=True)))
        return rows.filter(of_person | Q(message_id__in=ids))


class WebhookEventViewSet(
    mixins.ListModelMixin, mixins.RetrieveModelMixin, viewsets.GenericViewSet
):
    """What providers told, the newest first."""

    queryset = Event.objects.select_related("account").defer("account__secrets", "account__config")
    serializer_class = WebhookEventSerializer
    filterset_class = WebhookEventFilter
    throttle_classes = THROTTLES


# --- Stored requests ---------------------------------------------------------------------


class WebhookRequestSerializer(serializers.ModelSerializer):
    account = serializers.CharField(source="account.name")

    class Meta:
        model = RawRequest
        fields = [
            *("id", "account", "status", "is_late", "received_at", "applied_at", "due_at"),
            *("attempts", "error"),
        ]


class WebhookDetailSerializer(WebhookRequestSerializer):
    """With where our code failed, for whoever mends it."""

    class Meta(WebhookRequestSerializer.Meta):
        fields = [*WebhookRequestSerializer.Meta.fields, "traceback"]


class WebhookRequestFilter(django_filters.FilterSet):
    status = django_filters.ChoiceFilter(choices=RawRequest.Status)
    account = django_filters.CharFilter(field_name="account__name")


class WebhookRequestViewSet(
    Audited, mixins.ListModelMixin, mixins.RetrieveModelMixin, viewsets.GenericViewSet
):
    """Stored webhooks: `?status=failed` are the dead letters."""

    queryset = RawRequest.objects.select_related("account").defer(
        "body", "headers", "account__secrets", "account__config"
    )
    serializer_class = WebhookRequestSerializer
    filterset_class = WebhookRequestFilter
    throttle_classes = THROTTLES

    def get_serializer_class(self) -> Any:
        return WebhookDetailSerializer if self.detail else WebhookRequestSerializer

    @extend_schema(request=None, responses={202: WebhookDetailSerializer})
    def retry(self, request: Request, **_: Any) -> Response:
        """Put it back in line; 409 while it is there. What is known is not applied twice."""
        row = self.get_object()
        row.replay(timezone.now())
        return Response(self.get_serializer(row).data, status=202)


# --- Counts ------------------------------------------------------------------------------

_StatsAnswer = inline_serializer(
    "WebhookStats",
    {
        "hours": serializers.IntegerField(),
        "waiting": serializers.IntegerField(),
        "accounts": serializers.ListField(child=serializers.DictField()),
        "silent": serializers.ListField(child=serializers.DictField()),
    },
)


class WebhookStatsView(APIView):
    """Requests and events per account in the last `?hours=` (24), and how late they were."""

    queryset = RawRequest.objects.all()
    throttle_classes = THROTTLES

    @extend_schema(responses=_StatsAnswer)
    def get(self, request: Request) -> Response:
        hours = _hours(request)
        return Response({"hours": hours, **reporting.stats(timezone.now(), timedelta(hours=hours))})


def _hours(request: Request) -> int:
    given = request.query_params.get("hours", "24")
    # Python refuses to read numbers of thousands of digits: the length comes first.
    if len(given) > 5 or not given.isdecimal() or not 0 < int(given) <= MOST_HOURS:
        raise ValidationError({"hours": [f"Give hours, 1 to {MOST_HOURS}."]})
    return int(given)


# --- What is listened to -----------------------------------------------------------------

_Secret = serializers.CharField(max_length=5000, trim_whitespace=True)


class WebhookConfigInput(Strict):
    """Only what is given is changed. Secrets go in and never come out."""

    account = serializers.CharField()
    types = serializers.ListField(
        child=serializers.CharField(), required=False, help_text="Empty: all of them"
    )
    window_min = serializers.IntegerField(
        required=False, allow_null=True, min_value=1, help_text="null: as the server is set"
    )
    add_secret = serializers.CharField(max_length=5000, required=False)
    secrets = serializers.ListField(child=_Secret, required=False, min_length=1, max_length=10)


_ConfigAnswer = inline_serializer(
    "WebhookConfig",
    {
        "id": serializers.IntegerField(),
        "account": serializers.CharField(),
        "kind": serializers.CharField(),
        "types": serializers.ListField(child=serializers.CharField()),
        "window_min": serializers.IntegerField(),
        "secrets": serializers.IntegerField(help_text="How many there are"),
    },
)


class WebhookConfigView(Audited, APIView):
    """What each account is listened to for: types of event, window, secrets."""

    queryset = ProviderAccount.objects.all()
    throttle_classes = THROTTLES
    basename, action = "webhooks", "config"

    @extend_schema(responses=_ConfigAnswer)
    def get(self, request: Request) -> Response:
        accounts = ProviderAccount.objects.order_by("pk")
        return Response({"accounts": [configuring.told(each) for each in accounts]})

    @extend_schema(request=WebhookConfigInput, responses=_ConfigAnswer)
    def put(self, request: Request) -> Response:
        given = WebhookConfigInput(data=request.data)
        given.is_valid(raise_exception=True)
        wish = dict(given.validated_data)
        account = get_object_or_404(ProviderAccount, name=wish.pop("account"))
        configuring.configure(account, wish)
        return Response(configuring.told(account))
