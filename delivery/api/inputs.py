"""What the API takes for a mail, field by field."""

from __future__ import annotations

import re
from collections.abc import Mapping
from email.utils import parseaddr
from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from campaigns.models import Template, TrackedBy
from campaigns.rendering import header_text
from delivery.accepting import Wish
from delivery.attaching import File
from delivery.models import MessageType, Stream
from emailplatform.api import Strict
from subscribers.validating import InvalidAddress, clean_address

MOST_PER_BATCH = 1000
_USUAL_HEADERS = """
auto-submitted comments importance in-reply-to keywords organization precedence priority references
sensitivity x-priority x-msmail-priority x-entity-ref-id x-auto-response-suppress
"""
ALLOWED_HEADERS = frozenset(_USUAL_HEADERS.split())
"""Besides these, any X- header that no provider takes for an order of its own."""
_ORDERS = re.compile(
    r"x-(mailgun|mg|ses|smtpapi|pm|postmark|sg|sendgrid|amz|mc|mailer|metadata)\b", re.IGNORECASE
)
_HEADER = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,75}")
_TAG = re.compile(r"^[A-Za-z0-9_-]{1,64}\Z")
_TAG_WORDS = "A tag has up to 64 letters, digits, _ and -."
_KEY = re.compile(r"[A-Za-z0-9_-]{1,20}")
_NUL = "It has a NUL character in it."
_LOCALE = re.compile(r"^[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8}){0,2}\Z")


_ADDRESS = {
    "oneOf": [
        {"type": "string", "example": "Ana Gil <ana@example.com>"},
        {
            "type": "object",
            "properties": {"email": {"type": "string"}, "name": {"type": "string"}},
            "required": ["email"],
        },
    ]
}


@extend_schema_field(_ADDRESS)
class AddressField(serializers.Field):
    """`"ana@example.com"`, `"Ana Gil <ana@example.com>"` or `{"email": …, "name": …}`."""

    default_error_messages = {
        "shape": "Write an address, or an object with email and name.",
        "unknown": "An address has email and name only.",
    }

    def to_internal_value(self, data: Any) -> tuple[str, str]:
        name, email = self._parts(data)
        try:
            return clean_address(email), header_text(name).strip()[:200]
        except InvalidAddress as error:
            raise serializers.ValidationError(f"{email[:100]}: {error}") from error

    def _parts(self, data: Any) -> tuple[str, str]:
        if isinstance(data, str):
            return parseaddr(data) if "<" in data else ("", data)
        if not isinstance(data, Mapping):
            self.fail("shape")
        if set(data) - {"email", "name"}:
            self.fail("unknown")
        email, name = data.get("email"), data.get("name") or ""
        if not isinstance(email, str) or not isinstance(name, str):
            self.fail("shape")
        return name, email

    def to_representation(self, value: tuple[str, str]) -> dict[str, str]:
        return {"email": value[0], "name": value[1]}


@extend_schema_field({"oneOf": [*_ADDRESS["oneOf"], {"type": "array", "items": _ADDRESS}]})
class AddressesField(serializers.ListField):
    """One address or a list of them."""

    child = AddressField()

    def to_internal_value(self, data: Any) -> Any:
        return super().to_internal_value(data if isinstance(data, list) else [data])


@extend_schema_field({"oneOf": [{"type": "integer"}, {"type": "string"}]})
class TemplateField(serializers.Field):
    """A template by id or by name."""

    def to_internal_value(self, data: Any) -> int | str:
        if isinstance(data, bool) or not isinstance(data, (int, str)) or data == "":
            raise serializers.ValidationError("Give the id or the name of a template.")
        if has_nul(data):
            raise serializers.ValidationError(_NUL)
        return data


class NamedField(serializers.SlugRelatedField):
    """A row by its name."""

    def to_internal_value(self, data: Any) -> Any:
        if not isinstance(data, str) or has_nul(data):
            raise serializers.ValidationError("Give a name.")
        return super().to_internal_value(data)


class TextsField(serializers.DictField):
    """Names and texts."""

    child = serializers.CharField(allow_blank=True, max_length=1000, trim_whitespace=False)


class AttachmentInput(Strict):
    filename = serializers.CharField(max_length=255)
    content = serializers.CharField(trim_whitespace=False)
    content_type = serializers.CharField(max_length=150, required=False, default="")
    content_id = serializers.CharField(max_length=100, required=False, default="")


class MailInput(Strict):
    """One mail: own text, or a template with its context."""

    to = AddressesField(allow_empty=False)
    cc = AddressesField(required=False, default=list)
    bcc = AddressesField(required=False, default=list)
    reply_to = AddressField(required=False, default=None)
    subject = serializers.CharField(required=False, default="", max_length=998)
    html = serializers.CharField(required=False, default="", trim_whitespace=False)
    text = serializers.CharField(required=False, default="", trim_whitespace=False)
    template = TemplateField(required=False, default=None)
    locale = serializers.RegexField(_LOCALE, required=False, default="", max_length=16)
    attachments = AttachmentInput(many=True, required=False, default=list)
    headers = TextsField(required=False, default=dict)
    tags = serializers.ListField(
        child=serializers.RegexField(_TAG, error_messages={"invalid": _TAG_WORDS}),
        required=False,
        default=list,
        max_length=10,
    )
    metadata = TextsField(required=False, default=dict)
    type = NamedField(
        slug_field="name", queryset=MessageType.objects.all(), required=False, default=None
    )
    stream = serializers.ChoiceField(Stream.choices, required=False, default="")
    send_at = serializers.DateTimeField(required=False, default=None)
    expires_at = serializers.DateTimeField(required=False, default=None)
    tracking = serializers.ChoiceField(
        [TrackedBy.FULL, TrackedBy.PROVIDER, TrackedBy.NONE],
        required=False,
        default=TrackedBy.FULL,
        help_text="Who counts, if `track_opens` or `track_clicks` is on: we, or the provider.",
    )
    track_opens = serializers.BooleanField(required=False, default=False)
    track_clicks = serializers.BooleanField(required=False, default=False)

    def get_fields(self) -> dict[str, Any]:
        return {
            **super().get_fields(),
            "from": AddressField(),  # a keyword of Python, so not above
            "context": serializers.JSONField(required=False, default=dict),  # nor a name of DRF's
        }

    def validate_context(self, value: Any) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise serializers.ValidationError("Give an object of variables.")
        if has_nul(value):
            raise serializers.ValidationError(_NUL)
        return value

    def validate_headers(self, value: dict[str, str]) -> dict[str, str]:
        if len({name.lower() for name in value}) < len(value):
            raise serializers.ValidationError("A header is given twice.")
        for name, text in value.items():
            if not is_allowed(name):
                raise serializers.ValidationError(f"The header {name[:80]} cannot be set here.")
            if header_text(text) != text:
                raise serializers.ValidationError(f"The header {name} has a line break in it.")
        return value

    def validate_metadata(self, value: dict[str, str]) -> dict[str, str]:
        if len(value) > 10:
            raise serializers.ValidationError("Ten entries at most.")
        for name, text in value.items():
            if not _KEY.fullmatch(name):
                words = f"{name[:30]}: a name has up to 20 letters, digits, _ and -."
                raise serializers.ValidationError(words)
            if name.lower() == "message_id" or len(text) > 80 or header_text(text) != text:
                words = f"{name}: taken, longer than 80 characters, or with a line break."
                raise serializers.ValidationError(words)
        return value

    def validate(self, data: dict[str, Any]) -> dict[str, Any]:
        if data["template"] is not None:
            data["template"] = template_named(data["template"], data["locale"])
        return data


def is_allowed(name: str) -> bool:
    """Say whether a mail may bring this header itself.

    >>> [is_allowed(name) for name in ("X-Order", "In-Reply-To", "Bcc", "X-SMTPAPI")]
    [True, True, False, False]
    """
    if not _HEADER.fullmatch(name):
        return False
    is_extension = name.lower().startswith("x-") and not _ORDERS.match(name)
    return name.lower() in ALLOWED_HEADERS or is_extension


def has_nul(value: Any) -> bool:
    """Say whether a text anywhere in this value has a NUL, which PostgreSQL does not keep.

    >>> [has_nul(value) for value in ("a", {"a": ["b", 1]}, {"a": ["b\\0"]})]
    [False, False, True]
    """
    if isinstance(value, Mapping):
        return any(map(has_nul, value)) or any(map(has_nul, value.values()))
    if isinstance(value, list):
        return any(map(has_nul, value))
    return isinstance(value, str) and "\0" in value


def template_named(wanted: int | str, locale: str) -> Template:
    """Return a template by id, or by name: welcome.de-at, else welcome.de, else welcome.

    Raises ValidationError.
    """
    rows = Template.objects.all()
    if isinstance(wanted, int):
        found = rows.filter(pk=wanted).first()
    else:
        language = locale.lower().partition("-")[0]
        names = [f"{wanted}.{locale.lower()}", f"{wanted}.{language}", wanted]
        known = {each.name: each for each in rows.filter(name__in=names)}
        found = next((known[name] for name in names if name in known), None)
    if found is None:
        raise serializers.ValidationError({"template": ["There is no such template."]})
    return found


def wish_of(data: Mapping[str, Any]) -> Wish:
    """Return what `MailInput` has validated."""
    given = {name: value for name, value in data.items() if name not in {"from", "attachments"}}
    given["reply_to"] = data["reply_to"][0] if data["reply_to"] else ""
    files = [File(**each) for each in data["attachments"]]
    return Wish(sender=data["from"], files=files, **given)
