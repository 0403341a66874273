"""People over HTTP: parse, call the domain, answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import django_filters
from django.db import transaction
from django.db.models import Q, QuerySet
from django.http import Http404
from django.shortcuts import get_object_or_404
from django.utils import timezone
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, extend_schema
from rest_framework import generics, mixins, serializers, status, viewsets
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from emailplatform.api import Audited
from emailplatform.errors import InvalidInput
from subscribers import consenting, counting, enrolling, segmenting
from subscribers.api import versions
from subscribers.api.inputs import (
    ListsInput,
    NewPersonInput,
    PersonInput,
    WholePersonInput,
    valid,
    whole,
)
from subscribers.consents import BY_API
from subscribers.enrolling import Manner
from subscribers.flagging import Kind
from subscribers.models import Engagement, Segment, Subscriber, Subscription
from subscribers.querysets import SubscriberQuerySet


class SubscriptionSerializer(serializers.ModelSerializer):
    list_name = serializers.CharField(source="list.name", read_only=True)

    class Meta:
        model = Subscription
        fields = ["list", "list_name", "status", "changed_at"]


class EngagementSerializer(serializers.ModelSerializer):
    """What somebody did with our mail; machines left out."""

    class Meta:
        model = Engagement
        fields = [
            *("score", "stage", "churn", "received", "opened", "clicked", "replied", "converted"),
            *("last_received_at", "last_opened_at", "last_clicked_at", "last_replied_at"),
            *("last_converted_at", "best_hour"),
        ]


class SubscriberSerializer(serializers.ModelSerializer):
    subscriptions = SubscriptionSerializer(many=True, read_only=True)
    engagement = EngagementSerializer(
        read_only=True, allow_null=True, default=None, help_text="null: nothing was sent yet."
    )

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
            "mailbox",
            "source",
            "created_at",
            "updated_at",
            "subscriptions",
            "engagement",
        ]


class SubscriberFilter(django_filters.FilterSet):
    email = django_filters.CharFilter(method="with_email", label="The whole address")
    q = django_filters.CharFilter(method="beginning", label="How the address begins")
    list = django_filters.NumberFilter(method="on_list", label="Subscribed to this list")
    segment = django_filters.CharFilter(method="in_segment", label="Id or name of a segment")
    tag = django_filters.CharFilter(method="with_tag")
    flag = django_filters.ChoiceFilter(choices=Kind.choices, method="with_flag")
    stage = django_filters.ChoiceFilter(choices=Engagement.Stage.choices, method="at_stage")
    score_min = django_filters.NumberFilter("engagement__score", "gte")
    score_max = django_filters.NumberFilter("engagement__score", "lte")
    created_since = django_filters.IsoDateTimeFilter("created_at", "gte")
    updated_since = django_filters.IsoDateTimeFilter("updated_at", "gte")

    class Meta:
        model = Subscriber
        fields = ["status", "language", "country", "mailbox"]

    def with_email(
        self, people: QuerySet[Subscriber], _name: str, value: str
    ) -> QuerySet[Subscriber]:
        return people.filter(email=enrolling.clean(value))

    def beginning(
        self, people: QuerySet[Subscriber], _name: str, value: str
    ) -> QuerySet[Subscriber]:
        return people.filter(email__startswith=value.strip().lower())

    def with_tag(
        self, people: QuerySet[Subscriber], _name: str, value: str
    ) -> QuerySet[Subscriber]:
        return people.filter(tags__contains=[value]).exclude(tags=[])  # the second for its index

    def with_flag(self, people: SubscriberQuerySet, _name: str, value: str) -> SubscriberQuerySet:
        return people.flagged([value])

    def on_list(self, people: SubscriberQuerySet, _name: str, value: int) -> SubscriberQuerySet:
        return people.on_lists([int(value)])

    def in_segment(
        self, people: SubscriberQuerySet, _name: str, value: str
    ) -> QuerySet[Subscriber]:
        segment = find_segment(value)
        if segment is None:
            raise InvalidInput(f"There is no segment “{value[:50]}”.", param="segment")
        return people & segmenting.people(segment.rules)

    def at_stage(
        self, people: QuerySet[Subscriber], _name: str, value: str
    ) -> QuerySet[Subscriber]:
        wanted = Q(engagement__stage=value)
        if value == Engagement.Stage.NEW:
            wanted |= Q(engagement=None)
        return people.filter(wanted)


def find_segment(named: str) -> Segment | None:
    """Return the segment with this id, or else of this name."""
    named = named.replace("\0", "")
    is_id = named.isascii() and named.isdigit() and len(named) < 18
    by_id = Segment.objects.filter(pk=int(named)).first() if is_id else None
    return by_id or Segment.objects.filter(name=named).first()


_EXAMPLE = {
    "email": "ann@example.com",
    "first_name": "Ann",
    "country": "PT",
    "attributes": {"plan": "pro", "visits": 3},
    "tags": ["early"],
    "lists": [7],
}
_IF_MATCH = OpenApiParameter(
    "If-Match",
    str,
    OpenApiParameter.HEADER,
    description="The ETag you know. If somebody changed the person since: 412, nothing is changed.",
)
_IF_UNMODIFIED = OpenApiParameter(
    "If-Unmodified-Since",
    str,
    OpenApiParameter.HEADER,
    description="The same by Last-Modified: to the second, so rather use the ETag.",
)
_PERSON = OpenApiParameter(
    "email",
    str,
    OpenApiParameter.PATH,
    description="The address, URL-encoded (`+` as `%2B`), or the id.",
)
_CONDITIONS = [_PERSON, _IF_MATCH, _IF_UNMODIFIED]


class SubscriberViewSet(
    Audited, mixins.ListModelMixin, mixins.RetrieveModelMixin, viewsets.GenericViewSet
):
    """People, by address or id."""

    queryset = Subscriber.objects.select_related("engagement").prefetch_related(
        "subscriptions__list"
    )
    serializer_class = SubscriberSerializer
    filterset_class = SubscriberFilter
    lookup_field = "email"
    lookup_value_regex = "[^@]+@[^/]+|[0-9]{1,18}"  # before the @ may be a slash

    def get_object(self) -> Subscriber:
        person: Subscriber = get_object_or_404(self.get_queryset(), **self._whom())
        self.check_object_permissions(self.request, person)
        return person

    def _whom(self) -> dict[str, Any]:
        named = self.kwargs["email"]
        return {"email": enrolling.clean(named)} if "@" in named else {"pk": int(named)}

    @extend_schema(parameters=[_PERSON], responses=SubscriberSerializer)
    def retrieve(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """One person. `ETag` names what you see: send it as `If-Match` with what you change."""
        return self._answer(self.get_object(), status.HTTP_200_OK)

    @extend_schema(
        request=NewPersonInput,
        responses={201: SubscriberSerializer, 200: SubscriberSerializer},
        examples=[OpenApiExample("Somebody new", _EXAMPLE, request_only=True)],
    )
    def create(self, request: Request) -> Response:
        """Make a person: 201. Somebody who is there is returned, nothing overwritten: 200.

        They are put on the lists; with `"known": "update"` what is given is set too.
        """
        data = valid(NewPersonInput, request)
        manner = Manner(data.pop("known"))
        person, is_new = enrolling.enrol(source="API", now=timezone.now(), manner=manner, **data)
        return self._answer(person, status.HTTP_201_CREATED if is_new else status.HTTP_200_OK)

    @extend_schema(
        request=WholePersonInput,
        responses={200: SubscriberSerializer, 201: SubscriberSerializer},
        parameters=_CONDITIONS,
    )
    def update(self, request: Request, **_: Any) -> Response:
        """Say everything of a person: what is left out is emptied. Unknown addresses are made: 201.

        Lists are added to, never left: that is what `unsubscribe` and `lists/{id}/remove` do.
        """
        data = whole(valid(WholePersonInput, request))
        address = self._address_for(data.pop("email", None))
        person, is_new = enrolling.enrol(
            address,
            source="API",
            now=timezone.now(),
            manner=Manner(replaces=True, check=self._condition()),
            **data,
        )
        return self._answer(person, status.HTTP_201_CREATED if is_new else status.HTTP_200_OK)

    @extend_schema(request=PersonInput, responses=SubscriberSerializer, parameters=_CONDITIONS)
    def partial_update(self, request: Request, **_: Any) -> Response:
        """Change what is named and nothing else, attributes one by one: two at once both count."""
        person = self.get_object()
        data = valid(PersonInput, request)
        manner = Manner(check=self._condition())
        enrolling.enrol(person.email, source="API", now=timezone.now(), manner=manner, **data)
        return self._answer(person, status.HTTP_200_OK)

    @extend_schema(parameters=_CONDITIONS, responses={204: None})
    def destroy(self, request: Request, **_: Any) -> Response:
        """Unsubscribe from everything. The person stays known, so they are not mailed again."""
        person = self.get_object()
        with transaction.atomic():
            locked = Subscriber.objects.select_for_update().get(pk=person.pk)
            if check := self._condition():
                check(locked)
            consenting.unsubscribe(locked, [], timezone.now(), "API", BY_API)
        response = Response(status=status.HTTP_204_NO_CONTENT)
        response.changed = person.pk  # type: ignore[attr-defined]  # for the audit
        return response

    @extend_schema(parameters=[_PERSON], request=ListsInput, responses=SubscriberSerializer)
    @action(detail=True, methods=["post"])
    def unsubscribe(self, request: Request, **_: Any) -> Response:
        """Unsubscribe from some lists."""
        person = self.get_object()
        lists = valid(ListsInput, request)["lists"]
        keys = [each.pk for each in lists]
        consenting.unsubscribe(person, keys, timezone.now(), "API", BY_API)
        return self._answer(person, status.HTTP_200_OK)

    def _address_for(self, given: str | None) -> str:
        """Return the address that a PUT is about. Raises Http404 for an id nobody has."""
        named = self.kwargs["email"]
        if "@" not in named:
            named = self.get_object().email
        elif "If-Match" in self.request.headers and not self._is_known():
            raise versions.Outdated("There is no such person (any more).")
        address = enrolling.clean(named)
        if given is not None and enrolling.clean(given) != address:
            raise InvalidInput("An address cannot be changed: make another person.", param="email")
        return address

    def _is_known(self) -> bool:
        try:
            return bool(self.get_object())
        except Http404:
            return False

    def _condition(self) -> Any:
        return versions.condition(self.request, self._tell)

    def _tell(self, person: Subscriber) -> Mapping[str, Any]:
        return dict(self.get_serializer(person).data)

    def _answer(self, person: Subscriber, code: int) -> Response:
        fresh = self.get_queryset().get(pk=person.pk)
        told = self._tell(fresh)
        return Response(told, status=code, headers=versions.headers_of(fresh, told))


class SegmentPeopleView(generics.ListAPIView):
    """The people of a segment, whatever their standing, by cursor; the filters of people apply."""

    queryset = SubscriberViewSet.queryset
    serializer_class = SubscriberSerializer
    filterset_class = SubscriberFilter

    def get_queryset(self) -> QuerySet[Subscriber]:
        people = super().get_queryset()
        segment = find_segment(self.kwargs.get("segment", ""))
        if segment is None:
            raise Http404
        return people & segmenting.people(segment.rules)

    @extend_schema(
        operation_id="subscribers_segment_list",
        parameters=[
            OpenApiParameter("segment", str, OpenApiParameter.PATH, description="Id or name")
        ],
    )
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        return super().get(request, *args, **kwargs)


class AudienceSerializer(serializers.Serializer):
    total = serializers.IntegerField()
    by_status = serializers.DictField(child=serializers.IntegerField())
    by_stage = serializers.DictField(child=serializers.IntegerField())
    added_30d = serializers.IntegerField()
    left_30d = serializers.IntegerField(help_text="Unsubscribed, complained, bounced or blocked.")
    lists = serializers.IntegerField()
    segments = serializers.IntegerField()
    suppressions = serializers.IntegerField()
    counted_at = serializers.DateTimeField()


class AudienceStatsView(APIView):
    """How many people there are, at most 30 seconds old."""

    queryset = Subscriber.objects.all()

    @extend_schema(operation_id="subscribers_stats", responses=AudienceSerializer)
    def get(self, request: Request) -> Response:
        return Response(AudienceSerializer(counting.audience(timezone.now())).data)
