"""What became of mail sent by API: list, look, cancel, send again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import django_filters
from django.db.models import QuerySet
from django.http import Http404
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import mixins, serializers, viewsets
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from delivery import accepting, tasks, tracing
from delivery.api.sending import KEY, once
from delivery.models import Handoff, Mail, Message, Stream, message_of
from emailplatform.api import Audited, NewestFirst
from emailplatform.celery import nudge
from emailplatform.secrets import address_key
from subscribers.validating import InvalidAddress, clean_address


class MailSerializer(serializers.ModelSerializer):
    """One mail and how far it has got. Times are null until it happened."""

    id = serializers.CharField(source="message.token")
    status = serializers.CharField(source="message.status")
    stream = serializers.CharField(source="message.stream")
    type = serializers.CharField(source="message.type.name", default=None)
    to = serializers.SerializerMethodField()
    cc = serializers.SerializerMethodField()
    bcc = serializers.SerializerMethodField()
    subject = serializers.SerializerMethodField()
    template = serializers.IntegerField(source="version.template_id", default=None)
    provider = serializers.CharField(source="message.provider.name", default=None)
    provider_message_id = serializers.CharField(source="message.provider_message_id")
    attempts = serializers.IntegerField(source="message.attempts")
    error = serializers.CharField(source="message.error")
    fault = serializers.CharField(source="message.fault")
    resend_of = serializers.CharField(source="resend_of.token", default=None)
    created_at = serializers.DateTimeField(source="message.created_at")
    due_at = serializers.DateTimeField(source="message.due_at")
    expires_at = serializers.DateTimeField(source="message.expires_at")
    sent_at = serializers.DateTimeField(source="message.sent_at")
    delivered_at = serializers.DateTimeField(source="message.delivered_at")
    opened_at = serializers.DateTimeField(source="message.opened_at")
    clicked_at = serializers.DateTimeField(source="message.clicked_at")
    bounced_at = serializers.DateTimeField(source="message.bounced_at")
    complained_at = serializers.DateTimeField(source="message.complained_at")

    class Meta:
        model = Mail
        fields = [
            *("id", "status", "stream", "type", "to", "subject", "template", "locale", "tags"),
            *("metadata", "provider", "provider_message_id", "attempts", "error", "fault"),
            *(
                "cc",
                "bcc",
                "refused_copies",
                "resend_of",
                "created_at",
                "due_at",
                "expires_at",
                "sent_at",
                "delivered_at",
            ),
            *("opened_at", "clicked_at", "bounced_at", "complained_at"),
        ]

    def get_to(self, mail: Mail) -> list[dict[str, str]]:
        return _people([(mail.message.email, mail.to_name), *mail.people("to")])

    def get_cc(self, mail: Mail) -> list[dict[str, str]]:
        return _people(mail.people("cc"))

    def get_bcc(self, mail: Mail) -> list[dict[str, str]]:
        return _people(mail.people("bcc"))

    def get_subject(self, mail: Mail) -> str:
        """Of a template as it is written: with its variables."""
        return mail.version.subject if mail.version else mail.subject


def _people(pairs: Sequence[tuple[str, str]]) -> list[dict[str, str]]:
    return [{"email": email, "name": name} for email, name in pairs]


class AttemptSerializer(serializers.ModelSerializer):
    """One call to a provider that carried the mail, and why it was this one."""

    provider = serializers.CharField(source="provider.name")

    class Meta:
        model = Handoff
        fields = ["id", "provider", "status", "in_flight_at", "finished_at", "error", "reason"]


class MailFilter(django_filters.FilterSet):
    status = django_filters.ChoiceFilter(field_name="message__status", choices=Message.Status)
    stream = django_filters.ChoiceFilter(field_name="message__stream", choices=Stream)
    type = django_filters.CharFilter(field_name="message__type__name")
    provider = django_filters.CharFilter(field_name="message__provider__name")
    to = django_filters.CharFilter(method="of_address")
    tag = django_filters.CharFilter(field_name="tags", lookup_expr="contains", method="of_tag")
    created_after = django_filters.IsoDateTimeFilter("message__created_at", "gte")
    created_before = django_filters.IsoDateTimeFilter("message__created_at", "lt")

    def of_address(self, rows: QuerySet[Mail], _name: str, value: str) -> QuerySet[Mail]:
        try:
            return rows.filter(message__address_key=address_key(clean_address(value)))
        except InvalidAddress:
            return rows.none()

    def of_tag(self, rows: QuerySet[Mail], _name: str, value: str) -> QuerySet[Mail]:
        return rows.filter(tags__contains=[value])


class NewestMailFirst(NewestFirst):
    ordering = "-message_id"


class MessageViewSet(
    Audited, mixins.ListModelMixin, mixins.RetrieveModelMixin, viewsets.GenericViewSet
):
    """Mail sent by API. Its id is what travels with it and what providers report on."""

    queryset = Mail.objects.select_related(
        "message__type", "message__provider", "message__handoff__provider", "version", "resend_of"
    )
    serializer_class = MailSerializer
    pagination_class = NewestMailFirst
    filterset_class = MailFilter
    lookup_url_kwarg = "id"
    scopes = {"cancel": "send", "resend": "send"}

    def get_object(self) -> Mail:
        number = message_of(self.kwargs["id"])
        mail: Mail | None = self.get_queryset().filter(pk=number or 0).first()
        if mail is None:
            raise Http404
        return mail

    def retrieve(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """One mail with the calls that carried it and what was reported about it."""
        return Response(self.told(self.get_object()))

    def told(self, mail: Mail) -> dict[str, Any]:
        """Return everything about one mail."""
        tries = tracing.trace(mail.message).tries
        calls = [each.handoff for each in tries if each.handoff]
        return {
            **self.get_serializer(mail).data,
            "calls": AttemptSerializer(calls, many=True).data,
        }

    @extend_schema(request=None, responses=MailSerializer)
    @action(detail=True, methods=["post"])
    def cancel(self, request: Request, **_: str) -> Response:
        """Keep a queued mail from being sent; 409 once it is being handed over."""
        mail = self.get_object()
        accepting.cancel(mail.message)
        return self._answer(mail)

    @extend_schema(parameters=[KEY], request=None, responses={202: MailSerializer})
    @action(detail=True, methods=["post"])
    def resend(self, request: Request, **_: str) -> Response:
        """Send it once more, as a mail of its own with an id of its own."""
        mail = self.get_object()
        return once(request, f"resend {mail.pk}", lambda _request: self._resent(mail))

    def _resent(self, mail: Mail) -> dict[str, Any]:
        copy = accepting.resend(mail.message, timezone.now())
        nudge(tasks.send_critical if copy.stream == Stream.CRITICAL else tasks.send_transactional)
        return dict(self.get_serializer(self.get_queryset().get(pk=copy.pk)).data)

    def _answer(self, mail: Mail) -> Response:
        response = Response(self.get_serializer(mail).data)
        response.changed = mail.pk  # type: ignore[attr-defined]  # for the audit
        return response
