"""Sign-up forms, and the record of consent, over HTTP."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.shortcuts import get_object_or_404
from drf_spectacular.utils import extend_schema
from rest_framework import mixins, serializers, viewsets
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from emailplatform.api import Audited, Strict
from subscribers import enrolling
from subscribers.models import ConsentRecord, SignupForm, Subscriber
from subscribers.speaking import LANGUAGES

_PARTS = {"title", "intro", "button", "consent", "thanks"}


class FormSerializer(Strict, serializers.ModelSerializer):
    url = serializers.SerializerMethodField(help_text="The page people sign up on.")

    class Meta:
        model = SignupForm
        fields = [
            "id", "name", "slug", "url", "is_active", "lists", "language", "fields", "texts",
            "redirect_url", "origins", "proof_of_work", "hourly_limit", "from_name", "from_email",
            "created_at",
        ]  # fmt: skip
        extra_kwargs = {
            "lists": {"allow_empty": False},
            "fields": {"help_text": '{"first_name": true}: asked, and required or not.'},
            "texts": {"help_text": '{"de": {"title": "…", "consent": "…"}}'},
        }

    def get_url(self, form: SignupForm) -> str:
        return f"{settings.PUBLIC_URL}/f/{form.slug}/"

    def validate_language(self, language: str) -> str:
        if language not in LANGUAGES:
            raise serializers.ValidationError(f"Use one of {', '.join(LANGUAGES)}.")
        return language

    def validate_texts(self, texts: Any) -> Any:
        good = isinstance(texts, dict) and all(
            language in LANGUAGES
            and isinstance(said, dict)
            and set(said) <= _PARTS
            and all(isinstance(text, str) and len(text) <= 2_000 for text in said.values())
            for language, said in texts.items()
        )
        if not good:
            raise serializers.ValidationError(
                f"Give language -> {', '.join(sorted(_PARTS))} -> text, in {', '.join(LANGUAGES)}."
            )
        return texts


class FormViewSet(
    Audited,
    mixins.ListModelMixin,
    mixins.CreateModelMixin,
    mixins.RetrieveModelMixin,
    mixins.UpdateModelMixin,
    viewsets.GenericViewSet,
):
    """Forms people sign up on. One is closed with `is_active`, never deleted: its link is out."""

    queryset = SignupForm.objects.prefetch_related("lists").order_by("-id")
    serializer_class = FormSerializer
    http_method_names = ["get", "post", "patch", "head", "options"]


class ConsentSerializer(serializers.ModelSerializer):
    text = serializers.SerializerMethodField(help_text="What was agreed to, word for word.")
    text_version = serializers.SerializerMethodField()
    hash = serializers.SerializerMethodField()

    class Meta:
        model = ConsentRecord
        fields = [
            "id", "number", "action", "lists", "via", "source", "language", "text",
            "text_version", "at", "details", "erased_at", "hash",
        ]  # fmt: skip

    def get_text(self, row: ConsentRecord) -> str:
        return row.text.text if row.text else ""

    def get_text_version(self, row: ConsentRecord) -> str:
        return str(row.text) if row.text else ""

    def get_hash(self, row: ConsentRecord) -> str:
        return bytes(row.hash).hex()


class ConsentView(APIView):
    """What a person agreed to and took back, the newest first (200 at most)."""

    MOST = 200
    queryset = Subscriber.objects.all()

    @extend_schema(responses=ConsentSerializer(many=True), operation_id="subscribers_consent_list")
    def get(self, request: Request, email: str) -> Response:
        person = get_object_or_404(Subscriber, email=enrolling.clean(email))
        rows = ConsentRecord.objects.of(bytes(person.address_key), person.pk)[: self.MOST]
        return Response(ConsentSerializer(rows, many=True).data)
