"""Imports over HTTP: upload a file, watch it, fetch the rows that were refused."""

from __future__ import annotations

from typing import Any

from django.http import StreamingHttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework import mixins, serializers, status, viewsets
from rest_framework.decorators import action
from rest_framework.parsers import MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response

from emailplatform.api import Audited, Strict
from emailplatform.celery import nudge
from emailplatform.errors import DomainError
from subscribers import importing
from subscribers.api.inputs import valid
from subscribers.models import Import, MailingList
from subscribers.tasks import run_imports


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
            "held_count",
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
        data = valid(ImportInput, request)
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
