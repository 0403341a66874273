"""People, lists and imports over HTTP: parse, call the domain, answer."""

from __future__ import annotations

from typing import Any

import django_filters
from django.db.models import QuerySet
from django.http import StreamingHttpResponse
from django.shortcuts import get_object_or_404
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import mixins, serializers, status, viewsets
from rest_framework.decorators import action
from rest_framework.parsers import JSONParser, MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response

from emailplatform.celery import nudge
from subscribers import consenting, enrolling, importing
from subscribers.models import Import, MailingList, Subscriber, Subscription
from subscribers.tasks import run_imports


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


class PersonInput(serializers.Serializer):
    """What may be said of a person. Left out: unchanged."""

    first_name = serializers.CharField(max_length=100, allow_blank=True, required=False)
    last_name = serializers.CharField(max_length=100, allow_blank=True, required=False)
    language = serializers.CharField(max_length=16, allow_blank=True, required=False)
    time_zone = serializers.CharField(max_length=64, allow_blank=True, required=False)
    country = serializers.CharField(max_length=2, allow_blank=True, required=False)
    attributes = serializers.DictField(required=False)
    tags = serializers.ListField(
        child=serializers.CharField(max_length=50), max_length=100, required=False
    )
    lists = serializers.PrimaryKeyRelatedField(
        queryset=MailingList.objects.all(), many=True, required=False
    )


class NewPersonInput(PersonInput):
    email = serializers.CharField(max_length=320)


class SubscriberFilter(django_filters.FilterSet):
    email = django_filters.CharFilter(method="with_email")
    list = django_filters.NumberFilter(method="on_list")

    class Meta:
        model = Subscriber
        fields = ["status", "language", "country", "mailbox"]

    def with_email(
        self, people: QuerySet[Subscriber], _name: str, value: str
    ) -> QuerySet[Subscriber]:
        return people.filter(email=enrolling.clean(value))

    def on_list(self, people: Any, _name: str, value: int) -> QuerySet[Subscriber]:
        return people.on_lists([int(value)])


class SubscriberViewSet(mixins.ListModelMixin, mixins.RetrieveModelMixin, viewsets.GenericViewSet):
    """People, by address. Creating somebody who is there already updates them."""

    queryset = Subscriber.objects.prefetch_related("subscriptions__list")
    serializer_class = SubscriberSerializer
    filterset_class = SubscriberFilter
    lookup_field = "email"
    lookup_value_regex = "[^/]+"

    def get_object(self) -> Subscriber:
        person = get_object_or_404(self.get_queryset(), email=enrolling.clean(self.kwargs["email"]))
        self.check_object_permissions(self.request, person)
        return person

    @extend_schema(request=NewPersonInput, responses={201: SubscriberSerializer})
    def create(self, request: Request) -> Response:
        data = _valid(NewPersonInput, request)
        person, is_new = enrolling.enrol(source="API", now=timezone.now(), **data)
        code = status.HTTP_201_CREATED if is_new else status.HTTP_200_OK
        return self._answer(person, code)

    @extend_schema(request=PersonInput, responses=SubscriberSerializer)
    def partial_update(self, request: Request, **_: Any) -> Response:
        person = self.get_object()
        data = _valid(PersonInput, request)
        enrolling.enrol(email=person.email, source="API", now=timezone.now(), **data)
        return self._answer(person, status.HTTP_200_OK)

    def destroy(self, request: Request, **_: Any) -> Response:
        """Unsubscribe from everything. The person stays known, so they are not mailed again."""
        consenting.unsubscribe(self.get_object(), [], timezone.now())
        return Response(status=status.HTTP_204_NO_CONTENT)

    def _answer(self, person: Subscriber, code: int) -> Response:
        fresh = self.get_queryset().get(pk=person.pk)
        return Response(self.get_serializer(fresh).data, status=code)


class ListSerializer(serializers.ModelSerializer):
    class Meta:
        model = MailingList
        fields = ["id", "name", "description", "created_at"]


class ListViewSet(
    mixins.ListModelMixin,
    mixins.CreateModelMixin,
    mixins.RetrieveModelMixin,
    mixins.UpdateModelMixin,
    viewsets.GenericViewSet,
):
    """Lists people subscribe to."""

    queryset = MailingList.objects.all()
    serializer_class = ListSerializer
    http_method_names = ["get", "post", "patch", "head", "options"]


class ImportSerializer(serializers.ModelSerializer):
    class Meta:
        model = Import
        fields = [
            "id",
            "status",
            "filename",
            "list",
            "mapping",
            "known",
            "size",
            "offset",
            "rows",
            "created_count",
            "updated_count",
            "duplicate_count",
            "refused_count",
            "reasons",
            "error",
            "created_at",
            "started_at",
            "finished_at",
        ]


class ImportInput(serializers.Serializer):
    file = serializers.FileField()
    list = serializers.PrimaryKeyRelatedField(queryset=MailingList.objects.all(), required=False)
    mapping = serializers.JSONField(required=False)
    known = serializers.ChoiceField(Import.Known.choices, default=Import.Known.UPDATE)


class ImportViewSet(mixins.ListModelMixin, mixins.RetrieveModelMixin, viewsets.GenericViewSet):
    """CSV imports: upload a file, watch it, fetch the rows that were refused."""

    queryset = Import.objects.order_by("-id")
    serializer_class = ImportSerializer
    parser_classes = [MultiPartParser, JSONParser]

    @extend_schema(request={"multipart/form-data": ImportInput}, responses={202: ImportSerializer})
    def create(self, request: Request) -> Response:
        """Upload a file and start. Without `mapping` the columns are guessed from the header."""
        data = _valid(ImportInput, request)
        work = importing.start(data["file"], data["file"].name, data.get("list"))
        importing.confirm(work, data.get("mapping") or work.mapping, data["known"])
        nudge(run_imports)
        return Response(self.get_serializer(work).data, status=status.HTTP_202_ACCEPTED)

    @action(detail=True, methods=["get"])
    def errors(self, request: Request, pk: str) -> StreamingHttpResponse:
        """The refused rows as CSV: line, reason, row."""
        lines = importing.refused_csv(self.get_object())
        return StreamingHttpResponse(lines, content_type="text/csv; charset=utf-8")


def _valid(serializer: type[serializers.Serializer], request: Request) -> dict[str, Any]:
    data = serializer(data=request.data)
    data.is_valid(raise_exception=True)
    return dict(data.validated_data)
