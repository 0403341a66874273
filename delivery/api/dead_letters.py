"""What failed for good, and another try for it, over HTTP."""

from __future__ import annotations

from typing import Any

import django_filters
from django.db.models import QuerySet
from django.http import Http404
from django.utils import timezone
from drf_spectacular.utils import extend_schema, inline_serializer
from rest_framework import mixins, serializers, viewsets
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from delivery import reviving, tasks
from delivery.api.inputs import NamedField
from delivery.models import DeadLetter, Message, MessageType, ProviderAccount, Stream, message_of
from delivery.reviving import CLASSES, Choice
from emailplatform.api import Audited, Strict
from emailplatform.celery import nudge
from emailplatform.errors import DomainError, InvalidInput

MOST_IDS = 1000
_CLASSES = list(CLASSES.items())


class NotDead(DomainError):
    """It is no dead letter any more, or its campaign was stopped for good."""

    code = "not_dead"


class DeadLetterSerializer(serializers.ModelSerializer):
    """One message that failed for good, with the class and the words of its error."""

    id = serializers.CharField(source="token")
    fault = serializers.SerializerMethodField()
    to = serializers.CharField(source="email")
    type = serializers.CharField(source="type.name", default=None)
    provider = serializers.CharField(source="provider.name", default=None)
    failed_at = serializers.SerializerMethodField()

    class Meta:
        model = DeadLetter
        fields = [
            *("id", "status", "fault", "error", "to", "campaign", "type", "stream", "provider"),
            *("attempts", "created_at", "failed_at"),
        ]

    def get_fault(self, letter: DeadLetter) -> str:
        return reviving.class_of(letter)

    def get_failed_at(self, letter: DeadLetter) -> str | None:
        moment = reviving.died_at(letter)
        return moment.isoformat() if moment else None


class DeadLetterFilter(django_filters.FilterSet):
    fault = django_filters.ChoiceFilter(choices=_CLASSES, method="of_class")
    provider = django_filters.CharFilter(field_name="provider__name")
    campaign = django_filters.NumberFilter(field_name="campaign")
    stream = django_filters.ChoiceFilter(choices=Stream)
    type = django_filters.CharFilter(field_name="type__name")

    def of_class(self, rows: QuerySet[DeadLetter], _name: str, value: str) -> Any:
        return Choice(fault=value).narrow(rows)  # type: ignore[arg-type]  # a proxy of Message


class RetryInput(Strict):
    """Which to try again: `ids`, or a filter, or `all`."""

    ids = serializers.ListField(
        child=serializers.CharField(), required=False, min_length=1, max_length=MOST_IDS
    )
    fault = serializers.ChoiceField(_CLASSES, required=False)
    provider = NamedField(
        slug_field="name", queryset=ProviderAccount.objects.defer("secrets"), required=False
    )
    campaign = serializers.IntegerField(required=False, min_value=1)
    stream = serializers.ChoiceField(Stream.choices, required=False)
    type = NamedField(slug_field="name", queryset=MessageType.objects.all(), required=False)
    all = serializers.BooleanField(required=False)

    def choice(self) -> Choice:
        """Return what is asked for. Raises InvalidInput for nothing in particular."""
        data: dict[str, Any] = dict(self.validated_data)
        is_all = data.pop("all", False)
        if bool(data) == is_all:
            raise InvalidInput("Give ids, a filter, or all: true, not both.", param="ids")
        provider, kind = data.pop("provider", None), data.pop("type", None)
        ids = [number for each in data.pop("ids", []) if (number := message_of(each))]
        if "ids" in self.validated_data and not ids:
            raise InvalidInput("These are no ids of messages.", param="ids")
        return Choice(
            ids=ids,
            provider=provider and provider.pk,
            type=kind.name if kind else "",
            **data,
        )


_Retried = inline_serializer(
    "Retried", {"retried": serializers.IntegerField(), "more": serializers.BooleanField()}
)


class DeadLetterViewSet(Audited, mixins.ListModelMixin, viewsets.GenericViewSet):
    """Mail that failed for good or was too late, newest first."""

    queryset = DeadLetter.objects.dead().select_related("type", "provider", "handoff")
    serializer_class = DeadLetterSerializer
    filterset_class = DeadLetterFilter
    scopes = {"retry": "send", "retry_many": "send"}

    def get_queryset(self) -> Any:
        return super().get_queryset().defer("provider__secrets", "provider__config")

    @extend_schema(request=None, responses=DeadLetterSerializer)
    @action(detail=True, methods=["post"])
    def retry(self, request: Request, pk: str) -> Response:
        """Try one message again; 409 if it is none that failed, or its campaign was stopped."""
        number = message_of(pk)
        letter = Message.objects.filter(pk=number or 0).first()
        if letter is None:
            raise Http404
        if not reviving.revive(Choice(ids=[letter.pk]), timezone.now()).queued:
            raise NotDead("It did not fail for good, or its campaign was stopped for good.")
        letter.refresh_from_db()
        _wake()
        return _changed(DeadLetterSerializer(letter).data, letter.pk)

    @extend_schema(
        operation_id="email_dead_letters_retry_many", request=RetryInput, responses=_Retried
    )
    @action(detail=False, methods=["post"], url_path="retry")
    def retry_many(self, request: Request) -> Response:
        """Try all of a filter again, or these; `more`: call again for the rest."""
        form = RetryInput(data=request.data)
        form.is_valid(raise_exception=True)
        choice = form.choice()
        revived = reviving.revive(choice, timezone.now())
        _wake()
        body = {"retried": revived.queued, "more": revived.is_rest}
        return _changed(body, choice.ids[0] if len(choice.ids) == 1 else 0)


def _wake() -> None:
    for task in (tasks.send_critical, tasks.send_transactional, tasks.send_marketing):
        nudge(task)


def _changed(body: Any, number: int) -> Response:
    response = Response(body)
    response.changed = number  # type: ignore[attr-defined]  # for the audit
    return response
