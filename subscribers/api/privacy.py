"""What is held on one person, told and erased, over HTTP."""

from __future__ import annotations

from typing import Any

from django.utils import timezone
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework import serializers, viewsets
from rest_framework.decorators import action
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.response import Response

from emailplatform.api import Audited, HasScope, Strict
from emailplatform.models import ApiKey
from subscribers import erasing
from subscribers.api.inputs import valid
from subscribers.consents import BY_API
from subscribers.models import Subscriber


class WhoInput(Strict):
    """Whose data: known to us or not."""

    email = serializers.CharField(max_length=320)


class EraseInput(WhoInput):
    confirm = serializers.CharField(
        max_length=320, help_text="The address once more: it cannot be taken back."
    )
    keep_out = serializers.BooleanField(
        default=True, help_text="Suppress the address, so that no import brings it back."
    )

    def validate(self, data: dict[str, Any]) -> dict[str, Any]:
        if data["confirm"] != data["email"]:
            raise serializers.ValidationError(
                {"confirm": ["This is not the address to be erased."]}
            )
        return data


class ErasedSerializer(serializers.Serializer):
    erased = serializers.DictField(
        child=serializers.IntegerField(), help_text="What there was, in words -> how many."
    )
    is_kept_out = serializers.BooleanField(help_text="Is the address suppressed?")


class MayErase(BasePermission):
    """People signed in to the admin need the right of their own for it."""

    message = "You may not export or erase what is held on people."

    def has_permission(self, request: Request, view: Any) -> bool:
        of_key = isinstance(request.auth, ApiKey)
        return of_key or bool(request.user.has_perm("subscribers.erase_subscriber"))


class PrivacyViewSet(Audited, viewsets.ViewSet):
    """Requests of people about their data (GDPR, articles 15 and 17). A key needs `manage`."""

    queryset = Subscriber.objects.none()
    permission_classes = [HasScope, MayErase]

    @extend_schema(request=WhoInput, responses=OpenApiTypes.OBJECT)
    @action(detail=False, methods=["post"], url_path="export", url_name="export")
    def tell(self, request: Request) -> Response:
        """Everything that is held on an address: table by table, for the person."""
        who = erasing.who_is(valid(WhoInput, request)["email"])
        return _answer(erasing.tell(who, timezone.now()), who)

    @extend_schema(request=EraseInput, responses=ErasedSerializer)
    @action(detail=False, methods=["post"])
    def erase(self, request: Request) -> Response:
        """Erase all of it but the keyed hash of a suppression. Figures of campaigns stay."""
        data = valid(EraseInput, request)
        who = erasing.who_is(data["email"])
        done = erasing.erase(who, timezone.now(), keep_out=data["keep_out"], proof=BY_API)
        return _answer({"erased": done.counts, "is_kept_out": done.is_kept_out}, who)


def _answer(said: dict[str, Any], who: erasing.Who) -> Response:
    answer = Response(said, headers={"Cache-Control": "no-store"})
    answer.changed = who.person or 0  # type: ignore[attr-defined]
    return answer
