"""Tags over HTTP: what there is, and changes to many people."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from drf_spectacular.utils import OpenApiExample, extend_schema, inline_serializer
from rest_framework import serializers, viewsets
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from emailplatform.api import Audited, Strict
from subscribers import enrolling, tagging
from subscribers.api.inputs import valid
from subscribers.api.people import SubscriberFilter
from subscribers.converting import LONGEST_TAG
from subscribers.models import Subscriber
from subscribers.tagging import Changed

MOST_EMAILS = 1_000


class Tag(serializers.CharField):
    def __init__(self, **kwargs: Any) -> None:
        super().__init__(max_length=LONGEST_TAG, **kwargs)


_Filter = serializers.DictField(
    child=serializers.CharField(allow_blank=True),
    required=False,
    allow_empty=False,
    help_text="As people are listed: list, segment, tag, status, stage, q, …",
)


class ManyInput(Strict):
    """Whom: some addresses, a filter, or all."""

    emails = serializers.ListField(
        child=serializers.CharField(max_length=320),
        max_length=MOST_EMAILS,
        allow_empty=False,
        required=False,
    )
    filter = serializers.DictField(
        child=serializers.CharField(allow_blank=True),
        required=False,
        allow_empty=False,
        help_text="As people are listed: list, segment, tag, status, stage, q, …",
    )
    all = serializers.BooleanField(required=False)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if sum(bool(attrs.get(name)) for name in ("emails", "filter", "all")) != 1:
            raise serializers.ValidationError(
                {"filter": ["Say whom: one of emails, filter, and all (true)."]}
            )
        return attrs


class TagInput(ManyInput):
    tag = Tag()


class RenameInput(Strict):
    tags = serializers.ListField(child=Tag(), allow_empty=False, max_length=100)
    to = Tag()


class TagsInput(Strict):
    tags = serializers.ListField(child=Tag(), allow_empty=False, max_length=100)


def people_of(wish: dict[str, Any]) -> QuerySet[Subscriber]:
    """Return whom somebody means by emails, a filter, or all. Raises ValidationError."""
    people = Subscriber.objects.all()
    if emails := wish.get("emails"):
        return people.filter(email__in=[enrolling.clean(each) for each in emails])
    asked = wish.get("filter", {})
    unknown = [name for name in asked if name not in SubscriberFilter.base_filters]
    if unknown:
        raise serializers.ValidationError({"filter": [f"There is no “{unknown[0][:50]}”."]})
    found = SubscriberFilter(data=asked, queryset=people)
    if not found.is_valid():
        raise serializers.ValidationError({"filter": [str(found.errors.as_json())[:200]]})
    chosen: QuerySet[Subscriber] = found.qs
    return chosen


_Answer = inline_serializer(
    "TagsChanged",
    {
        "changed": serializers.IntegerField(help_text="People"),
        "more": serializers.BooleanField(help_text="Call again: some are left"),
    },
)
_List = inline_serializer(
    "Tags",
    {
        "results": inline_serializer(
            "TagCount",
            {"tag": serializers.CharField(), "count": serializers.IntegerField()},
            many=True,
        )
    },
)


class TagViewSet(Audited, viewsets.GenericViewSet):
    """Tags, and the people who have them."""

    queryset = Subscriber.objects.all()
    pagination_class = None
    filter_backends: list[Any] = []

    @extend_schema(operation_id="tags_list", responses=_List)
    def list(self, request: Request) -> Response:
        """Every tag with how many people have it, the most first (1,000 at most)."""
        rows = [{"tag": tag, "count": count} for tag, count in tagging.counts().items()]
        return Response({"results": rows})

    @extend_schema(
        request=RenameInput,
        responses=_Answer,
        examples=[
            OpenApiExample("Merge two", {"tags": ["VIP", "v.i.p."], "to": "vip"}, request_only=True)
        ],
    )
    @action(detail=False, methods=["post"])
    def rename(self, request: Request) -> Response:
        """Make one tag of one or several: renaming and merging alike."""
        wish = valid(RenameInput, request)
        old = [each for each in wish["tags"] if each != wish["to"]]
        return _told(tagging.rename(old, wish["to"]) if old else Changed(0, False))

    @extend_schema(request=TagsInput, responses=_Answer)
    @action(detail=False, methods=["post"])
    def delete(self, request: Request) -> Response:
        """Take tags away from everybody."""
        return _told(tagging.take(Subscriber.objects.all(), valid(TagsInput, request)["tags"]))

    @extend_schema(
        request=TagInput,
        responses=_Answer,
        examples=[
            OpenApiExample(
                "A segment", {"tag": "vip", "filter": {"segment": "Portugal"}}, request_only=True
            )
        ],
    )
    @action(detail=False, methods=["post"])
    def add(self, request: Request) -> Response:
        """Give many people a tag: some addresses, whom a filter gives, or all."""
        wish = valid(TagInput, request)
        return _told(tagging.give(people_of(wish), wish["tag"]))

    @extend_schema(request=TagInput, responses=_Answer)
    @action(detail=False, methods=["post"])
    def remove(self, request: Request) -> Response:
        """Take a tag away from many people."""
        wish = valid(TagInput, request)
        return _told(tagging.take(people_of(wish), [wish["tag"]]))


def _told(changed: Changed) -> Response:
    response = Response(changed._asdict())
    response.changed = changed.changed  # type: ignore[attr-defined]  # for the audit
    return response
