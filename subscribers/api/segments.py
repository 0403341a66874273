"""Segments over HTTP: rules, counts, people, and what can be asked."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import OpenApiParameter, extend_schema, inline_serializer
from rest_framework import serializers, viewsets
from rest_framework.decorators import action
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.response import Response

from emailplatform.api import Audited, Strict
from subscribers import comparing, segmenting
from subscribers.api.inputs import valid
from subscribers.api.people import SubscriberSerializer
from subscribers.models import Segment


class SegmentSerializer(Strict, serializers.ModelSerializer):
    sentence = serializers.SerializerMethodField(help_text="The rules in words.")

    class Meta:
        model = Segment
        fields = ["id", "name", "description", "rules", "sentence", "created_at"]

    def validate_rules(self, rules: object) -> segmenting.Rules:
        return segmenting.validate(rules, self.instance.pk if self.instance else None)

    def get_sentence(self, segment: Segment) -> str:
        return segmenting.told(segment.rules)


class RulesInput(Strict):
    rules = serializers.JSONField()


_CountAnswer = inline_serializer("Count", {"count": serializers.IntegerField()})
_OverlapAnswer = inline_serializer(
    "Overlap",
    {name: serializers.IntegerField() for name in ("only_this", "both", "only_other")},
)


_Op = inline_serializer(
    "SegmentOp",
    {
        "op": serializers.CharField(),
        "label": serializers.CharField(),
        "value": serializers.CharField(
            help_text="What it takes: none, text, texts, tag, tags, number, numbers (two), date,"
            " days, boolean, choice (one of the options), choice_days (an option and days)."
        ),
    },
    many=True,
)
_Option = inline_serializer(
    "SegmentOption",
    {"value": serializers.JSONField(), "label": serializers.CharField()},
    many=True,
)
_FieldAnswer = inline_serializer(
    "SegmentField",
    {
        **{name: serializers.CharField() for name in ("field", "label", "kind", "group")},
        "options": _Option,
        "ops": _Op,
    },
    many=True,
)


class SegmentViewSet(Audited, viewsets.ModelViewSet):
    """Segments: people described by rules."""

    queryset = Segment.objects.all()
    serializer_class = SegmentSerializer
    http_method_names = ["get", "post", "patch", "delete", "head", "options"]
    scopes = {"try_out": "read"}

    def destroy(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Delete a segment that no draft, no scheduled campaign and no other segment reads."""
        segment = self.get_object()
        pk = segment.pk
        comparing.delete(segment)
        response = Response(status=204)
        response.changed = pk  # type: ignore[attr-defined]  # for the audit
        return response

    @extend_schema(responses=_CountAnswer)
    @action(detail=True, methods=["get"])
    def count(self, request: Request, pk: str) -> Response:
        """How many people it has now who may be mailed."""
        return Response({"count": segmenting.count(self.get_object().rules)})

    @extend_schema(request=RulesInput, responses=_CountAnswer)
    @action(detail=False, methods=["post"], url_path="count", url_name="try-out")
    def try_out(self, request: Request) -> Response:
        """The same for rules that are not saved: nothing is changed."""
        return Response({"count": segmenting.count(valid(RulesInput, request)["rules"])})

    @extend_schema(
        parameters=[OpenApiParameter("with", int, required=True, description="Another segment")],
        responses=_OverlapAnswer,
    )
    @action(detail=True, methods=["get"])
    def overlap(self, request: Request, pk: str) -> Response:
        """How many who may be mailed are in it, in another one, in both."""
        segment, key = self.get_object(), request.query_params.get("with", "")
        other = Segment.objects.filter(pk=int(key)).first() if _is_key(key) else None
        if other is None:
            raise NotFound("Say in `with` which segment to compare with: there is no such one.")
        found = comparing.overlap(segment.rules, other.rules)
        return Response(
            {"only_this": found.only_first, "both": found.both, "only_other": found.only_second}
        )

    @extend_schema(responses=_FieldAnswer)
    @action(detail=False, methods=["get"], pagination_class=None, filter_backends=[])
    def fields(self, request: Request) -> Response:
        """What can be asked of people: fields, their questions, what each takes."""
        return Response(segmenting.choices())

    @extend_schema(responses=SubscriberSerializer(many=True))
    @action(detail=True, methods=["get"])
    def people(self, request: Request, pk: str) -> Response:
        """Who is in it, whatever their standing, the newest first, by cursor."""
        rows = segmenting.people(self.get_object().rules)
        rows = rows.select_related("engagement").prefetch_related("subscriptions__list")
        page = self.paginate_queryset(rows)
        context = self.get_serializer_context()
        return self.get_paginated_response(
            SubscriberSerializer(page, many=True, context=context).data
        )


def _is_key(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 19
