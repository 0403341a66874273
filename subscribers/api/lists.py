"""Lists and segments over HTTP."""

from __future__ import annotations

from drf_spectacular.utils import extend_schema, inline_serializer
from rest_framework import mixins, serializers, viewsets
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from emailplatform.api import Audited, Strict
from subscribers import segmenting
from subscribers.api.inputs import valid
from subscribers.flagging import Kind, Policy
from subscribers.models import MailingList, Segment


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
        return segmenting.validate(rules, self.instance.pk if self.instance else None)


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
        return Response({"count": segmenting.count(valid(RulesInput, request)["rules"])})
