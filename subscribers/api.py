"""People, lists, segments and imports over HTTP: parse, call the domain, answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import django_filters
from django.db.models import QuerySet
from django.http import StreamingHttpResponse
from django.shortcuts import get_object_or_404
from django.utils import timezone
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema, extend_schema_field, inline_serializer
from rest_framework import mixins, serializers, status, viewsets
from rest_framework.decorators import action
from rest_framework.parsers import MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response

from emailplatform.api import Audited, Strict
from emailplatform.celery import nudge
from emailplatform.errors import DomainError
from subscribers import consenting, converting, enrolling, importing, segmenting
from subscribers.models import Import, MailingList, Segment, Subscriber, Subscription
from subscribers.querysets import SubscriberQuerySet
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


@extend_schema_field(OpenApiTypes.STR)
class Code(serializers.CharField):
    """Text in one of the spellings `convert` knows; stored in the canonical one."""

    def __init__(self, convert: Callable[[str], str | None], what: str, **kwargs: Any) -> None:
        super().__init__(allow_blank=True, required=False, **kwargs)
        self.convert, self.what = convert, what

    def to_internal_value(self, data: Any) -> str:
        text: str = super().to_internal_value(data)
        found = self.convert(text) if text else ""
        if found is None:
            raise serializers.ValidationError(f"“{text[:50]}” is no {self.what}.")
        return found


class Name(serializers.CharField):
    """A person's name, on one line: it may end up in a header."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(max_length=100, allow_blank=True, required=False, **kwargs)

    def to_internal_value(self, data: Any) -> str:
        return " ".join(super().to_internal_value(data).split())


class PersonInput(Strict):
    """What may be said of a person. Left out: unchanged."""

    first_name = Name()
    last_name = Name()
    language = Code(converting.language, "language tag, like de or pt-BR")
    time_zone = Code(converting.time_zone, "time zone, like Europe/Lisbon")
    country = Code(converting.country, "country of ISO 3166, like PT")
    attributes = serializers.DictField(
        required=False, help_text="Merged by name; null takes one away."
    )
    tags = serializers.ListField(
        child=serializers.CharField(max_length=50),
        max_length=100,
        required=False,
        help_text="Replaces the tags there are.",
    )
    lists = serializers.PrimaryKeyRelatedField(
        queryset=MailingList.objects.all(),
        many=True,
        required=False,
        help_text="Added to these. Nobody comes back on a list they have left.",
    )


class NewPersonInput(PersonInput):
    email = serializers.CharField(max_length=320)


class ListsInput(Strict):
    lists = serializers.PrimaryKeyRelatedField(
        queryset=MailingList.objects.all(), many=True, allow_empty=False
    )


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
        person = self.get_object()
        consenting.unsubscribe(person, [], timezone.now(), source="API")
        response = Response(status=status.HTTP_204_NO_CONTENT)
        response.changed = person.pk  # type: ignore[attr-defined]  # for the audit
        return response

    @extend_schema(request=ListsInput, responses=SubscriberSerializer)
    @action(detail=True, methods=["post"])
    def unsubscribe(self, request: Request, **_: Any) -> Response:
        """Unsubscribe from some lists."""
        person = self.get_object()
        lists = _valid(ListsInput, request)["lists"]
        consenting.unsubscribe(person, [each.pk for each in lists], timezone.now(), source="API")
        return self._answer(person, status.HTTP_200_OK)

    def _answer(self, person: Subscriber, code: int) -> Response:
        fresh = self.get_queryset().get(pk=person.pk)
        return Response(self.get_serializer(fresh).data, status=code)


class ListSerializer(Strict, serializers.ModelSerializer):
    class Meta:
        model = MailingList
        fields = ["id", "name", "description", "created_at"]


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
    http_method_names = ["get", "post", "patch", "head", "options"]


class SegmentSerializer(Strict, serializers.ModelSerializer):
    class Meta:
        model = Segment
        fields = ["id", "name", "description", "rules", "created_at"]

    def validate_rules(self, rules: object) -> segmenting.Rules:
        return segmenting.validate(rules)


class RulesInput(Strict):
    rules = serializers.JSONField()


_CountAnswer = inline_serializer("Count", {"count": serializers.IntegerField()})


class SegmentViewSet(
    Audited,
    mixins.ListModelMixin,
    mixins.CreateModelMixin,
    mixins.RetrieveModelMixin,
    mixins.UpdateModelMixin,
    viewsets.GenericViewSet,
):
    """Segments: people described by rules."""

    queryset = Segment.objects.all()
    serializer_class = SegmentSerializer
    http_method_names = ["get", "post", "patch", "head", "options"]
    scopes = {"try_out": "read"}

    @extend_schema(responses=_CountAnswer)
    @action(detail=True, methods=["get"])
    def count(self, request: Request, pk: str) -> Response:
        """How many people it has now who may be mailed."""
        return Response({"count": segmenting.count(self.get_object().rules)})

    @extend_schema(request=RulesInput, responses=_CountAnswer)
    @action(detail=False, methods=["post"], url_path="count", url_name="try-out")
    def try_out(self, request: Request) -> Response:
        """The same for rules that are not saved: nothing is changed."""
        return Response({"count": segmenting.count(_valid(RulesInput, request)["rules"])})


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
            "unchanged_count",
            "duplicate_count",
            "refused_count",
            "subscribed_count",
            "unmailable_count",
            "reasons",
            "warnings",
            "error",
            "created_at",
            "started_at",
            "finished_at",
        ]


class ImportInput(Strict):
    file = serializers.FileField(allow_empty_file=True)  # refused by the domain, in its words
    list = serializers.PrimaryKeyRelatedField(queryset=MailingList.objects.all(), required=False)
    mapping = serializers.JSONField(
        required=False,
        help_text='Column -> field: {"Mail": "email", "Plan": "attributes.plan"}',
    )
    known = serializers.ChoiceField(Import.Known.choices, default=Import.Known.UPDATE)

    def validate_mapping(self, mapping: Any) -> dict[str, str]:
        if not isinstance(mapping, dict) or not all(isinstance(f, str) for f in mapping.values()):
            raise serializers.ValidationError("Give an object: column -> field.")
        return mapping


class ImportViewSet(
    Audited, mixins.ListModelMixin, mixins.RetrieveModelMixin, viewsets.GenericViewSet
):
    """CSV imports: upload a file, watch it, fetch the rows that were refused."""

    queryset = Import.objects.order_by("-id")
    serializer_class = ImportSerializer
    parser_classes = [MultiPartParser]

    @extend_schema(request={"multipart/form-data": ImportInput}, responses={202: ImportSerializer})
    def create(self, request: Request) -> Response:
        """Upload a file and start. Without `mapping` the columns are guessed from the header."""
        data = _valid(ImportInput, request)
        work = importing.start(data["file"], data["file"].name, data.get("list"))
        try:
            importing.confirm(work, data.get("mapping") or work.mapping, data["known"])
        except DomainError:
            work.discard()
            raise
        nudge(run_imports)
        return Response(self.get_serializer(work).data, status=status.HTTP_202_ACCEPTED)

    @extend_schema(responses={(200, "text/csv"): OpenApiTypes.STR})
    @action(detail=True, methods=["get"])
    def errors(self, request: Request, pk: str) -> StreamingHttpResponse:
        """The refused rows as CSV: line, reason, row."""
        lines = importing.refused_csv(self.get_object())
        return StreamingHttpResponse(lines, content_type="text/csv; charset=utf-8")


def _valid(serializer: type[serializers.Serializer], request: Request) -> dict[str, Any]:
    data = serializer(data=request.data)
    data.is_valid(raise_exception=True)
    return dict(data.validated_data)
