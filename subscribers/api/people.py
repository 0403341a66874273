"""People over HTTP: parse, call the domain, answer."""

from __future__ import annotations

from typing import Any

import django_filters
from django.db.models import QuerySet
from django.shortcuts import get_object_or_404
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import mixins, serializers, status, viewsets
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from emailplatform.api import Audited
from subscribers import consenting, enrolling
from subscribers.api.inputs import ListsInput, NewPersonInput, PersonInput, valid
from subscribers.consents import BY_API
from subscribers.flagging import Kind
from subscribers.models import Subscriber, Subscription
from subscribers.querysets import SubscriberQuerySet


class SubscriptionSerializer(serializers.ModelSerializer):
    list_name = serializers.CharField(source="list.name", read_only=True)

    class Meta:
        model = Subscription
        fields = ["list", "list_name", "status", "changed_at"]


class SubscriberSerializer(serializers.ModelSerializer):
    subscriptions = SubscriptionSerializer(many=True, read_only=True)

    class Meta:
        model = Subscriber
        fields = [
            "id",
            "email",
            "status",
            "status_changed_at",
            "first_name",
            "last_name",
            "language",
            "time_zone",
            "country",
            "attributes",
            "tags",
            "source",
            "created_at",
            "updated_at",
            "subscriptions",
        ]


class SubscriberFilter(django_filters.FilterSet):
    email = django_filters.CharFilter(method="with_email")
    list = django_filters.NumberFilter(method="on_list")
    flag = django_filters.ChoiceFilter(choices=Kind.choices, method="with_flag")

    class Meta:
        model = Subscriber
        fields = ["status", "language", "country", "mailbox"]

    def with_email(
        self, people: QuerySet[Subscriber], _name: str, value: str
    ) -> QuerySet[Subscriber]:
        return people.filter(email=enrolling.clean(value))

    def with_flag(self, people: SubscriberQuerySet, _name: str, value: str) -> SubscriberQuerySet:
        return people.flagged([value])

    def on_list(self, people: SubscriberQuerySet, _name: str, value: int) -> SubscriberQuerySet:
        return people.on_lists([int(value)])


class SubscriberViewSet(
    Audited, mixins.ListModelMixin, mixins.RetrieveModelMixin, viewsets.GenericViewSet
):
    """People, by address. Creating somebody who is there already updates them."""

    queryset = Subscriber.objects.prefetch_related("subscriptions__list")
    serializer_class = SubscriberSerializer
    filterset_class = SubscriberFilter
    lookup_field = "email"
    lookup_value_regex = "[^@]+@[^/]+"  # the part before the @ may have a slash in it

    def get_object(self) -> Subscriber:
        address = enrolling.clean(self.kwargs["email"])
        person: Subscriber = get_object_or_404(self.get_queryset(), email=address)
        self.check_object_permissions(self.request, person)
        return person

    @extend_schema(request=NewPersonInput, responses={201: SubscriberSerializer})
    def create(self, request: Request) -> Response:
        data = valid(NewPersonInput, request)
        person, is_new = enrolling.enrol(source="API", now=timezone.now(), **data)
        code = status.HTTP_201_CREATED if is_new else status.HTTP_200_OK
        return self._answer(person, code)

    @extend_schema(request=PersonInput, responses=SubscriberSerializer)
    def partial_update(self, request: Request, **_: Any) -> Response:
        person = self.get_object()
        data = valid(PersonInput, request)
        enrolling.enrol(email=person.email, source="API", now=timezone.now(), **data)
        return self._answer(person, status.HTTP_200_OK)

    def destroy(self, request: Request, **_: Any) -> Response:
        """Unsubscribe from everything. The person stays known, so they are not mailed again."""
        person = self.get_object()
        consenting.unsubscribe(person, [], timezone.now(), "API", BY_API)
        response = Response(status=status.HTTP_204_NO_CONTENT)
        response.changed = person.pk  # type: ignore[attr-defined]  # for the audit
        return response

    @extend_schema(request=ListsInput, responses=SubscriberSerializer)
    @action(detail=True, methods=["post"])
    def unsubscribe(self, request: Request, **_: Any) -> Response:
        """Unsubscribe from some lists."""
        person = self.get_object()
        lists = valid(ListsInput, request)["lists"]
        keys = [each.pk for each in lists]
        consenting.unsubscribe(person, keys, timezone.now(), "API", BY_API)
        return self._answer(person, status.HTTP_200_OK)

    def _answer(self, person: Subscriber, code: int) -> Response:
        fresh = self.get_queryset().get(pk=person.pk)
        return Response(self.get_serializer(fresh).data, status=code)
