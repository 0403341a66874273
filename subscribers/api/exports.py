"""People as a file over HTTP."""

from __future__ import annotations

from typing import Any, ClassVar

from django.http import StreamingHttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import generics
from rest_framework.permissions import BasePermission
from rest_framework.renderers import BaseRenderer, JSONRenderer
from rest_framework.request import Request
from rest_framework.views import APIView

from emailplatform.api import Audited
from emailplatform.models import ApiKey
from subscribers import exporting
from subscribers.api.people import SubscriberFilter
from subscribers.models import Subscriber

RIGHT = "subscribers.export_subscriber"


class MayExport(BasePermission):
    """Keys need the scope `export`, people the right of the same name."""

    message = "This key may not do that: it lacks the scope “export”."

    def has_permission(self, request: Request, view: APIView) -> bool:
        if isinstance(request.auth, ApiKey):
            return ApiKey.Scope.EXPORT in request.auth.scopes
        return request.user.is_staff and request.user.has_perm(RIGHT)


class CsvRenderer(BaseRenderer):
    """Lets a client ask for text/csv; the view streams it."""

    media_type = "text/csv"
    format = "csv"

    def render(self, data: Any, *args: Any, **kwargs: Any) -> bytes:
        return JSONRenderer().render(data)  # a refusal


class ExportView(Audited, generics.GenericAPIView):
    """People as CSV."""

    queryset = Subscriber.objects.all()
    filterset_class = SubscriberFilter
    permission_classes = [MayExport]
    renderer_classes = [JSONRenderer, CsvRenderer]
    pagination_class = None
    basename, action = "subscriber", "export"
    scopes: ClassVar[dict[str, str]] = {"export": "export"}

    @extend_schema(
        operation_id="subscribers_export",
        parameters=[
            OpenApiParameter(
                "columns",
                str,
                description="With commas: "
                f"{', '.join(exporting.COLUMNS)}, attributes.<name>. Usual: all that people said",
            )
        ],
        responses={(200, "text/csv"): OpenApiTypes.STR},
    )
    def get(self, request: Request) -> StreamingHttpResponse:
        """Stream a list (`?list=`), a segment (`?segment=`) or whatever the filters of people give.

        Scope `export`; who took out what is kept.
        """
        wanted = request.query_params.get("columns", "")
        columns = exporting.columns_of([each for each in wanted.split(",") if each])
        people = self.filter_queryset(self.get_queryset())
        response = StreamingHttpResponse(
            exporting.lines(people, columns), content_type="text/csv; charset=utf-8"
        )
        response["Content-Disposition"] = 'attachment; filename="people.csv"'
        response["Cache-Control"] = "no-store"
        response.changed = 0  # type: ignore[attr-defined]  # for the audit: many
        return response
