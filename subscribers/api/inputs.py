"""What may be said of a person over HTTP."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers
from rest_framework.request import Request

from emailplatform.api import Strict
from subscribers import converting
from subscribers.models import Import, MailingList


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
    known = serializers.ChoiceField(
        Import.Known.choices,
        default=Import.Known.ADD,
        help_text="What becomes of somebody who is there: add (to the lists, nothing else), "
        "update, or skip.",
    )


class WholePersonInput(PersonInput):
    email = serializers.CharField(
        max_length=320, required=False, help_text="As in the address: it cannot be changed."
    )


class ListsInput(Strict):
    lists = serializers.PrimaryKeyRelatedField(
        queryset=MailingList.objects.all(), many=True, allow_empty=False
    )


def valid(serializer: type[serializers.Serializer], request: Request) -> dict[str, Any]:
    """Return what a request says, as a serializer reads it; ValidationError says what is wrong."""
    data = serializer(data=request.data)
    data.is_valid(raise_exception=True)
    return dict(data.validated_data)


def whole(data: dict[str, Any]) -> dict[str, Any]:
    """Return what a PUT says of a person, with everything that it leaves out emptied."""
    texts = dict.fromkeys(("first_name", "last_name", "language", "time_zone", "country"), "")
    return {**texts, "tags": [], "attributes": {}, **data}
