"""Addresses that get no mail, over HTTP: told by their keys alone, since nobody keeps them."""

from __future__ import annotations

from typing import Any, ClassVar

import django_filters
from django.db.models import QuerySet
from django.http import StreamingHttpResponse
from django.utils import timezone
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, extend_schema
from rest_framework import mixins, serializers, status, viewsets
from rest_framework.decorators import action
from rest_framework.parsers import MultiPartParser
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response

from emailplatform.api import Audited, Strict
from emailplatform.secrets import address_key
from subscribers import consenting, enrolling, exchanging
from subscribers.api.exports import CsvRenderer, MayExport
from subscribers.api.inputs import valid
from subscribers.consents import BY_API
from subscribers.exchanging import Usual
from subscribers.models import MailingList, Suppression
from subscribers.querysets.suppressions import Reach

LIST_REASONS = [each for each in Suppression.Reason.choices if each[0] != "soft_bounced"]
"""Soft bounces stop mail for a time: no list of addresses says which."""


class SuppressionSerializer(serializers.ModelSerializer):
    address_key = serializers.SerializerMethodField(help_text="HMAC of the address, in hex")

    class Meta:
        model = Suppression
        fields = [
            *("id", "address_key", "reason", "stream", "list", "source", "expires_at"),
            "created_at",
        ]

    def get_address_key(self, row: Suppression) -> str:
        return bytes(row.address_key).hex()


class SuppressionInput(Strict):
    email = serializers.CharField(max_length=320)
    reason = serializers.ChoiceField(Suppression.Reason.choices, default=Suppression.Reason.BLOCKED)
    stream = serializers.ChoiceField(Suppression.Stream.choices, required=False)
    list = serializers.PrimaryKeyRelatedField(queryset=MailingList.objects.all(), required=False)
    expires_at = serializers.DateTimeField(required=False)
    source = serializers.CharField(max_length=150, default="API")  # type: ignore[assignment]  # the name is DRF’s own


class SuppressionFile(Strict):
    file = serializers.FileField(
        allow_empty_file=True,
        help_text="CSV with a column of addresses (or of our hashes), as SendGrid, Mailgun, "
        "Postmark and SES export it, or an address a line. Up to 20 MB.",
    )
    reason = serializers.ChoiceField(
        LIST_REASONS,
        default=Suppression.Reason.BLOCKED,
        help_text="Of rows that do not say one.",
    )
    stream = serializers.ChoiceField(Suppression.Stream.choices, required=False)
    list = serializers.PrimaryKeyRelatedField(queryset=MailingList.objects.all(), required=False)
    expires_at = serializers.DateTimeField(required=False)
    dry_run = serializers.BooleanField(default=False, help_text="Count; change nothing.")

    def validate_file(self, file: Any) -> Any:
        if file.size > exchanging.MOST_BYTES:
            raise serializers.ValidationError("At most 20 MB at once: split it into smaller files.")
        return file


class TakenSerializer(serializers.Serializer):
    """What the file came to: rows = new + known + refused."""

    rows = serializers.IntegerField()
    new = serializers.IntegerField()
    known = serializers.IntegerField()
    refused = serializers.IntegerField()
    reasons = serializers.DictField(child=serializers.IntegerField())
    problems = serializers.ListField(child=serializers.CharField())


class SuppressionFilter(django_filters.FilterSet):
    email = django_filters.CharFilter(method="of_address", label="The whole address")
    created_since = django_filters.IsoDateTimeFilter("created_at", "gte")

    class Meta:
        model = Suppression
        fields = ["reason", "stream", "list"]

    def of_address(
        self, rows: QuerySet[Suppression], _name: str, value: str
    ) -> QuerySet[Suppression]:
        return rows.filter(address_key=address_key(enrolling.clean(value)))


class SuppressionViewSet(
    Audited, mixins.ListModelMixin, mixins.RetrieveModelMixin, viewsets.GenericViewSet
):
    """Addresses that get no mail."""

    queryset = Suppression.objects.all()
    serializer_class = SuppressionSerializer
    filterset_class = SuppressionFilter
    scopes: ClassVar[dict[str, str]] = {"export": "export"}

    @extend_schema(
        request=SuppressionInput,
        responses={201: SuppressionSerializer, 200: SuppressionSerializer},
        examples=[
            OpenApiExample(
                "No marketing until spring",
                {
                    "email": "ann@example.com",
                    "stream": "marketing",
                    "expires_at": "2030-03-01T00:00:00Z",
                },
                request_only=True,
            )
        ],
    )
    def create(self, request: Request) -> Response:
        """Stop mail to an address: of a stream, to a list, for a time, or all of it for good.

        201, or 200 if it stood already.
        """
        wish = valid(SuppressionInput, request)
        of_list = wish.get("list")
        reach = Reach(
            wish.get("stream", ""), of_list.pk if of_list else None, wish.get("expires_at")
        )
        address = enrolling.clean(wish["email"])
        is_new = consenting.suppress(
            address, wish["reason"], wish["source"], timezone.now(), BY_API, reach
        )
        row = Suppression.objects.get(
            address_key=address_key(address),
            reason=wish["reason"],
            stream=reach.stream,
            list=reach.list,
        )
        code = status.HTTP_201_CREATED if is_new else status.HTTP_200_OK
        return Response(self.get_serializer(row).data, status=code)

    @extend_schema(
        request={"multipart/form-data": SuppressionFile}, responses=TakenSerializer, filters=False
    )
    @action(
        detail=False,
        methods=["post"],
        url_path="import",
        parser_classes=[MultiPartParser],
        pagination_class=None,
    )
    def read(self, request: Request) -> Response:
        """Suppress all whom a file names; with `dry_run` say only what that would come to."""
        wish = valid(SuppressionFile, request)
        of_list = wish.get("list")
        reach = Reach(
            wish.get("stream", ""), of_list.pk if of_list else None, wish.get("expires_at")
        )
        taken = exchanging.read(
            wish["file"].file,
            wish["file"].name,
            timezone.now(),
            Usual(wish["reason"], reach),
            is_rehearsal=wish["dry_run"],
            proof=BY_API,
        )
        self.action = "rehearse" if wish["dry_run"] else "import"  # as the audit calls it
        response = Response(TakenSerializer(taken).data)
        response.changed = 0  # type: ignore[attr-defined]  # for the audit: many
        return response

    @extend_schema(
        parameters=[
            OpenApiParameter("addresses", bool, description="With those of people we know")
        ],
        responses={(200, "text/csv"): OpenApiTypes.STR},
        filters=False,
    )
    @action(
        detail=False,
        methods=["get"],
        permission_classes=[MayExport],
        renderer_classes=[JSONRenderer, CsvRenderer],
        pagination_class=None,
    )
    def export(self, request: Request) -> StreamingHttpResponse:
        """Stream all suppressions as CSV, by their hashes. Scope `export`; who did so is kept."""
        with_addresses = request.query_params.get("addresses", "").lower() in ("1", "true")
        response = StreamingHttpResponse(
            exchanging.write(with_addresses), content_type="text/csv; charset=utf-8"
        )
        response["Content-Disposition"] = 'attachment; filename="suppressions.csv"'
        response["Cache-Control"] = "no-store"
        response.changed = 0  # type: ignore[attr-defined]  # for the audit: many
        return response

    def destroy(self, request: Request, **_: Any) -> Response:
        """Lift it. The person is open again unless another one stands; lists stay left."""
        row = self.get_object()
        consenting.lift(row, timezone.now(), BY_API, "API")
        response = Response(status=status.HTTP_204_NO_CONTENT)
        response.changed = int(self.kwargs["pk"])  # type: ignore[attr-defined]  # for the audit
        return response
