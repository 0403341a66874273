"""Many people in one request: JSON, a line of it for each, or a file. The importer does it."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable, Iterable
from typing import IO, Any, BinaryIO

from django.conf import settings
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import (
    OpenApiExample,
    OpenApiParameter,
    OpenApiRequest,
    extend_schema,
)
from rest_framework import serializers, status
from rest_framework.parsers import BaseParser, MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from emailplatform.api import Audited, Strict, StrictJSONParser
from emailplatform.celery import nudge
from emailplatform.errors import DomainError, InvalidInput
from subscribers import flattening, importing
from subscribers.api.imports import ImportOptions, ImportSerializer
from subscribers.models import Import
from subscribers.tasks import run_imports

NDJSON = ("application/x-ndjson", "application/jsonl")


class RawParser(BaseParser):
    """Hands over the body as it comes."""

    media_type = "application/x-ndjson"

    def parse(self, stream: Any, media_type: Any = None, parser_context: Any = None) -> Any:
        return stream


class JsonlParser(RawParser):
    media_type = "application/jsonl"


class CsvParser(RawParser):
    media_type = "text/csv"


class PersonOfMany(Strict):
    """One of many; only `email` is needed. Left out or null: unchanged."""

    email = serializers.CharField()
    first_name = serializers.CharField(required=False, allow_null=True)
    last_name = serializers.CharField(required=False, allow_null=True)
    language = serializers.CharField(required=False, allow_null=True)
    time_zone = serializers.CharField(required=False, allow_null=True)
    country = serializers.CharField(required=False, allow_null=True)
    tags = serializers.ListField(child=serializers.CharField(), required=False)
    attributes = serializers.DictField(required=False)


class BulkInput(ImportOptions):
    people = PersonOfMany(many=True)


class BulkFile(ImportOptions):
    file = serializers.FileField(help_text="CSV, Excel, or NDJSON (.ndjson, .jsonl)")


class BulkImportView(Audited, APIView):
    """Bring many people at once."""

    queryset = Import.objects.order_by("-id")
    parser_classes = [StrictJSONParser, MultiPartParser, RawParser, JsonlParser, CsvParser]
    basename, action = "subscriber", "bulk_import"

    @extend_schema(
        operation_id="subscribers_bulk_import",
        tags=["subscribers"],
        request={
            "application/json": OpenApiRequest(
                BulkInput,
                examples=[
                    OpenApiExample(
                        "Two people onto a list",
                        {
                            "list": 7,
                            "known": "update",
                            "people": [
                                {"email": "ann@example.com", "first_name": "Ann"},
                                {"email": "bo@example.com", "attributes": {"plan": "pro"}},
                            ],
                        },
                    )
                ],
            ),
            "application/x-ndjson": OpenApiTypes.STR,
            "text/csv": OpenApiTypes.STR,
            "multipart/form-data": BulkFile,
        },
        parameters=[
            OpenApiParameter("list", int, description="For bodies that have no room for it"),
            OpenApiParameter("known", str, enum=list(Import.Known.values)),
            OpenApiParameter("tags", str),
        ],
        responses={202: ImportSerializer},
    )
    def post(self, request: Request) -> Response:
        """Start an import: `{"people": […]}` or an array, NDJSON, CSV, or a file in a form.

        Answers with the import; watch it under `/imports/{id}/`. Nobody who left comes back.
        """
        asked = request.query_params.dict()
        data: Any = request.data
        kind = (request.content_type or "").partition(";")[0].strip().lower()
        if kind == "multipart/form-data":
            form = BulkFile(data={**asked, **data.dict()})
            form.is_valid(raise_exception=True)
            work = _from_form(form.validated_data)
        elif kind == "text/csv":
            work = _from_csv(data, "people.csv", _options(asked))
        elif kind in NDJSON:
            work = _from_lines(data, _options(asked))
        else:
            work = _from_json(data, asked)
        nudge(run_imports)
        answer = Response(ImportSerializer(work).data, status=status.HTTP_202_ACCEPTED)
        answer["Location"] = f"/api/v1/imports/{work.pk}/"
        return answer


def _options(given: dict[str, Any]) -> dict[str, Any]:
    options = ImportOptions(data=given)
    options.is_valid(raise_exception=True)
    return dict(options.validated_data)


def _from_form(data: dict[str, Any]) -> Import:
    file = data["file"]
    if file.name.lower().endswith((".ndjson", ".jsonl")):
        return _from_lines(file, data)
    return _from_csv(file, file.name, data)


def _from_csv(file: BinaryIO, name: str, options: dict[str, Any]) -> Import:
    work = importing.start(file, name, options.get("list"), sheet=options.get("sheet", ""))
    return _confirmed(work, options.get("mapping") or work.mapping, options, {})


def _from_json(data: Any, asked: dict[str, Any]) -> Import:
    """Take an array, or an object with `people` and options."""
    if isinstance(data, dict):
        options = _options({**asked, **{k: v for k, v in data.items() if k != "people"}})
        people = data.get("people")
    else:
        options, people = _options(asked), data
    if not isinstance(people, list) or not people:
        raise InvalidInput("Give people as a list with somebody in it.", param="people")
    return _flat(lambda: people, "people.json", options)


def _from_lines(stream: BinaryIO, options: dict[str, Any]) -> Import:
    with tempfile.TemporaryFile(dir=settings.FILE_UPLOAD_TEMP_DIR) as kept:
        _copy(stream, kept)

        def read() -> Iterable[Any]:
            kept.seek(0)
            return flattening.lines(kept)

        return _flat(read, "people.ndjson", options)


def _copy(stream: BinaryIO, kept: IO[bytes]) -> None:
    most = settings.MAX_UPLOAD_BYTES
    while block := stream.read(1 << 18):
        kept.write(block)
        if kept.tell() > most:
            raise InvalidInput(f"The file is larger than {most >> 20} MB: split it.", param="file")


def _flat(read: Callable[[], Iterable[Any]], name: str, options: dict[str, Any]) -> Import:
    with tempfile.TemporaryFile(dir=settings.FILE_UPLOAD_TEMP_DIR) as file:
        text = io.TextIOWrapper(file, "utf-8", newline="", write_through=True)
        types = flattening.write(read, text)
        file.seek(0)
        work = importing.start(file, name, options.get("list"))
        text.detach()
    return _confirmed(work, {header: header for header in work.headers}, options, types)


def _confirmed(
    work: Import, mapping: dict[str, str], options: dict[str, Any], types: dict[str, str]
) -> Import:
    try:
        tags = [options.get("tags", "")]
        importing.confirm(work, mapping, options["known"], types, tags)
    except DomainError:
        work.discard()
        raise
    return work
