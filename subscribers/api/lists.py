"""Lists and segments over HTTP."""

from __future__ import annotations

from typing import Any

import django_filters
from django.shortcuts import get_object_or_404
from django.utils import timezone
from drf_spectacular.utils import OpenApiParameter, extend_schema, inline_serializer
from rest_framework import generics, mixins, serializers, status, viewsets
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from emailplatform.api import Audited, NewestFirst, Strict
from emailplatform.errors import DomainError
from subscribers import enlisting
from subscribers.api.inputs import valid
from subscribers.flagging import Kind, Policy
from subscribers.models import MailingList, Subscription


class ListSerializer(Strict, serializers.ModelSerializer):
    address_policy = serializers.DictField(
        child=serializers.ChoiceField(Policy.choices),
        required=False,
        help_text="Flag of an address -> accept, hold or refuse; flags left out: as usual.",
    )

    class Meta:
        model = MailingList
        fields = [
            "id",
            "name",
            "description",
            "double_opt_in",
            "is_open",
            "address_policy",
            "created_at",
        ]

    def validate_address_policy(self, policy: dict[str, str]) -> dict[str, str]:
        unknown = [kind for kind in policy if kind not in Kind]
        if unknown:
            known = ", ".join(Kind)
            raise serializers.ValidationError(f"“{unknown[0][:50]}” is no flag; use {known}.")
        return policy


class ListInUse(DomainError):
    """The list has people or is named by something."""

    code = "in_use"


class EmailsInput(Strict):
    emails = serializers.ListField(
        child=serializers.CharField(max_length=320), allow_empty=False, max_length=500
    )


class ListFilter(django_filters.FilterSet):
    q = django_filters.CharFilter("name", "icontains", label="In the name")
    created_since = django_filters.IsoDateTimeFilter("created_at", "gte")

    class Meta:
        model = MailingList
        fields = ["name", "is_open", "double_opt_in"]


class ListViewSet(
    Audited,
    mixins.ListModelMixin,
    mixins.CreateModelMixin,
    mixins.RetrieveModelMixin,
    mixins.UpdateModelMixin,
    viewsets.GenericViewSet,
):
    """Lists people subscribe to."""

    queryset = MailingList.objects.all()
    serializer_class = ListSerializer
    filterset_class = ListFilter
    http_method_names = ["get", "post", "patch", "delete", "head", "options"]

    def destroy(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Delete a list that nobody is or was on, and that nothing goes to; else 409."""
        source = self.get_object()
        used = any(
            each.related_model._base_manager.filter(**{each.field.name: source}).exists()
            for each in source._meta.related_objects
        )
        if used:
            raise ListInUse("People are or were on this list, or something goes to it: it stays.")
        response = Response(status=status.HTTP_204_NO_CONTENT)
        response.changed = source.pk  # type: ignore[attr-defined]  # for the audit
        source.delete()
        return response

    @extend_schema(
        request=EmailsInput,
        responses=inline_serializer(
            "Enlisted",
            {
                "accepted": serializers.IntegerField(),
                "refused": inline_serializer(
                    "RefusedAddress",
                    {"email": serializers.CharField(), "message": serializers.CharField()},
                    many=True,
                ),
            },
        ),
    )
    @action(detail=True, methods=["post"])
    def add(self, request: Request, pk: str) -> Response:
        """Put people on it by address, up to 500, new ones too; nobody comes back who left."""
        source = self.get_object()
        done = enlisting.add(source, valid(EmailsInput, request)["emails"], timezone.now())
        told = {"accepted": done.accepted, "refused": [each._asdict() for each in done.refused]}
        return _answer(source, told)

    @extend_schema(
        request=EmailsInput,
        responses=inline_serializer("Delisted", {"changed": serializers.IntegerField()}),
    )
    @action(detail=True, methods=["post"])
    def remove(self, request: Request, pk: str) -> Response:
        """Unsubscribe people from it by address, up to 500; it is on their record."""
        source = self.get_object()
        emails = valid(EmailsInput, request)["emails"]
        return _answer(source, {"changed": enlisting.remove(source, emails, timezone.now())})


def _answer(source: MailingList, told: dict[str, Any]) -> Response:
    response = Response(told)
    response.changed = source.pk  # type: ignore[attr-defined]  # for the audit
    return response


class MemberSerializer(serializers.ModelSerializer):
    email = serializers.CharField(source="subscriber.email")
    held_for = serializers.CharField(help_text="The flag it is held back for, or empty")

    class Meta:
        model = Subscription
        fields = ["subscriber", "email", "status", "held_for", "source", "created_at", "changed_at"]


class MemberFilter(django_filters.FilterSet):
    changed_since = django_filters.IsoDateTimeFilter("changed_at", "gte")

    class Meta:
        model = Subscription
        fields = ["status"]


class ByPerson(NewestFirst):
    """In the order of the index of a list."""

    ordering = "-subscriber_id"


class MembersView(generics.ListAPIView):
    """Who is or was on a list, those first who came last, by cursor."""

    queryset = Subscription.objects.select_related("subscriber")
    serializer_class = MemberSerializer
    filterset_class = MemberFilter
    pagination_class = ByPerson

    def get_queryset(self) -> Any:
        source = get_object_or_404(MailingList, pk=self.kwargs.get("pk", 0))
        return super().get_queryset().filter(list=source)

    @extend_schema(
        operation_id="lists_members",
        parameters=[OpenApiParameter("pk", int, OpenApiParameter.PATH)],
    )
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        return super().get(request, *args, **kwargs)
