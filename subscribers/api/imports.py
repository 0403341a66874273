"""Imports over HTTP: upload a file, watch it, fetch the rows that were refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.http import StreamingHttpResponse
from django.utils import timezone
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
from subscribers import estimating, importing, undoing
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
            "tags",
            "sheet",
            "sheets",
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
            "undo_asked_at",
            "undone_at",
            "undone_count",
        ]


class ReportSerializer(serializers.Serializer):
    """What a dry run says; the fields are those of an import."""

    rows = serializers.IntegerField()
    created_count = serializers.IntegerField(source="created")
    updated_count = serializers.IntegerField(source="updated")
    unchanged_count = serializers.IntegerField(source="unchanged")
    duplicate_count = serializers.IntegerField(source="duplicate")
    refused_count = serializers.IntegerField(source="refused")
    subscribed_count = serializers.IntegerField(source="subscribed")
    unmailable_count = serializers.IntegerField(source="unmailable")
    reasons = serializers.DictField(child=serializers.IntegerField())
    warnings = serializers.DictField(child=serializers.IntegerField())


class ImportOptions(Strict):
    list = serializers.PrimaryKeyRelatedField(queryset=MailingList.objects.all(), required=False)
    mapping = serializers.JSONField(
        required=False,
        help_text='Column -> field: {"Mail": "email", "Plan": "attributes.plan"}',
    )
    known = serializers.ChoiceField(Import.Known.choices, default=Import.Known.UPDATE)
    tags = serializers.CharField(
        required=False, max_length=500, help_text="For everybody in the file; with commas between."
    )
    sheet = serializers.CharField(
        required=False, max_length=100, help_text="Of an Excel workbook; else the first with rows."
    )

    def validate_mapping(self, mapping: Any) -> dict[str, str]:
        if not isinstance(mapping, dict) or not all(isinstance(f, str) for f in mapping.values()):
            raise serializers.ValidationError("Give an object: column -> field.")
        return mapping


class ImportInput(ImportOptions):
    file = serializers.FileField(allow_empty_file=True)  # refused by the domain, in its words


class ImportViewSet(
    Audited, mixins.ListModelMixin, mixins.RetrieveModelMixin, viewsets.GenericViewSet
):
    """Imports of CSV and Excel files: upload, watch, pause, take back, fetch refused rows."""

    queryset = Import.objects.order_by("-id")
    serializer_class = ImportSerializer
    parser_classes = [MultiPartParser]
    scopes = {"dry_run": "read"}

    @extend_schema(request={"multipart/form-data": ImportInput}, responses={202: ImportSerializer})
    def create(self, request: Request) -> Response:
        """Upload a file and start. Without `mapping` the columns are guessed from the header."""
        data = valid(ImportInput, request)
        work = _start(data)
        mapping = data.get("mapping") or work.mapping
        try:
            importing.confirm(work, mapping, data["known"], tags=[data.get("tags", "")])
        except DomainError:
            work.discard()
            raise
        nudge(run_imports)
        return Response(self.get_serializer(work).data, status=status.HTTP_202_ACCEPTED)

    @extend_schema(request={"multipart/form-data": ImportInput}, responses=ReportSerializer)
    @action(detail=False, methods=["post"], url_path="dry-run", url_name="dry-run")
    def dry_run(self, request: Request) -> Response:
        """Say what importing a file would do, having read all of it; nothing is changed."""
        data = valid(ImportInput, request)
        work = _start(data)
        try:
            report = estimating.dry_run(work, data.get("mapping") or work.mapping, data["known"])
        finally:
            work.discard()
        return Response(ReportSerializer(report).data)

    @extend_schema(request=None, responses=ImportSerializer)
    @action(detail=True, methods=["post"])
    def pause(self, request: Request, pk: str) -> Response:
        """Stop after what is written; `resume` goes on from there."""
        return self._done(Import.pause)

    @extend_schema(request=None, responses=ImportSerializer)
    @action(detail=True, methods=["post"])
    def resume(self, request: Request, pk: str) -> Response:
        """Go on where it stopped."""
        return self._done(Import.resume)

    @extend_schema(request=None, responses=ImportSerializer)
    @action(detail=True, methods=["post"])
    def cancel(self, request: Request, pk: str) -> Response:
        """Stop for good. People taken so far stay."""
        return self._done(Import.cancel)

    @extend_schema(request=None, responses={202: ImportSerializer})
    @action(detail=True, methods=["post"])
    def undo(self, request: Request, pk: str) -> Response:
        """Take everybody it newly put on its list off again. The people themselves stay."""
        return self._done(lambda work: undoing.ask(work, timezone.now()), status.HTTP_202_ACCEPTED)

    def _done(self, deed: Callable[[Import], None], code: int = status.HTTP_200_OK) -> Response:
        work = self.get_object()
        deed(work)
        nudge(run_imports)
        return Response(self.get_serializer(work).data, status=code)

    @extend_schema(responses={(200, "text/csv"): OpenApiTypes.STR})
    @action(detail=True, methods=["get"])
    def errors(self, request: Request, pk: str) -> StreamingHttpResponse:
        """The refused rows as CSV: line, reason, row."""
        lines = importing.refused_csv(self.get_object())
        return StreamingHttpResponse(lines, content_type="text/csv; charset=utf-8")


def _start(data: dict[str, Any]) -> Import:
    file = data["file"]
    return importing.start(file, file.name, data.get("list"), sheet=data.get("sheet", ""))
