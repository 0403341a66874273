"""`POST /api/v1/email/send`: accepted means stored; the queue is only nudged."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from django.conf import settings
from django.db import transaction
from django.utils import timezone
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema, inline_serializer
from rest_framework import serializers, viewsets
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from delivery import accepting, tasks
from delivery.accepting import Prepared
from delivery.api.inputs import MOST_PER_BATCH, MailInput, wish_of
from delivery.models import Message, Stream, message_of
from emailplatform.api import Audited
from emailplatform.celery import nudge
from emailplatform.errors import DomainError, InvalidInput
from emailplatform.models import ApiKey
from emailplatform.refusing import problem_of

_Accepted = inline_serializer(
    "AcceptedMail",
    {
        "id": serializers.CharField(),
        "status": serializers.CharField(),
        "status_url": serializers.URLField(),
    },
)
_BatchInput = inline_serializer("BatchInput", {"messages": MailInput(many=True)})
_BatchAnswer = inline_serializer(
    "BatchAnswer",
    {
        "accepted": serializers.IntegerField(),
        "refused": serializers.IntegerField(),
        "results": serializers.ListField(child=serializers.DictField()),
    },
)
KEY = OpenApiParameter(
    "Idempotency-Key",
    OpenApiTypes.STR,
    OpenApiParameter.HEADER,
    description="Up to 255 characters. The same key with the same payload gives the same answer.",
)


class SendViewSet(Audited, viewsets.GenericViewSet):
    """Sending single mails: order confirmations, passwords, invoices."""

    queryset = Message.objects.all()
    serializer_class = MailInput
    scopes = {"send": "send", "batch": "send"}

    @extend_schema(parameters=[KEY], request=MailInput, responses={202: _Accepted})
    def send(self, request: Request) -> Response:
        """Take one mail. 202: it is stored and will be sent, or say why not."""
        return once(request, "send", _send)

    @extend_schema(parameters=[KEY], request=_BatchInput, responses={202: _BatchAnswer})
    def batch(self, request: Request) -> Response:
        """Take up to 1,000 mails; each entry is accepted or refused by itself, in its order."""
        return once(request, "batch", _send_batch)


def once(request: Request, what: str, work: Callable[[Request], dict[str, Any]]) -> Response:
    """Do the work, once for each Idempotency-Key; whoever repeats it gets the same answer.

    `what` belongs to the payload: the same key for something else is a mistake.
    """
    key = request.headers.get("Idempotency-Key", "")
    if not key:
        return _answer(work(request))
    if len(key) > 255 or not key.isascii() or not key.isprintable():
        words = "Use up to 255 printable ASCII characters."
        raise InvalidInput(words, param="Idempotency-Key")
    with transaction.atomic():
        submission, is_new = accepting.claim_key(_owner(request), key, [what, request.data])
        if is_new:
            submission.answer = work(request)
            submission.save(update_fields=["answer"])
    return _answer(submission.answer, is_repeated=not is_new)


def _send(request: Request) -> dict[str, Any]:
    form = MailInput(data=request.data)
    form.is_valid(raise_exception=True)
    prepared = accepting.prepare(wish_of(form.validated_data), _key(request), timezone.now())
    [message] = _store([prepared])
    return _told(message)


def _send_batch(request: Request) -> dict[str, Any]:
    entries = request.data.get("messages") if isinstance(request.data, dict) else None
    if not isinstance(entries, list) or not entries or set(request.data) != {"messages"}:
        words = 'Send {"messages": […]} with one mail at least.'
        raise InvalidInput(words, param="messages")
    if len(entries) > MOST_PER_BATCH:
        raise InvalidInput(f"{MOST_PER_BATCH:,} mails at most.", param="messages")
    read = [_read(entry, request) for entry in entries]
    good = [each for each in read if isinstance(each, Prepared)]
    stored = iter(_store(good))
    results = [_told(next(stored)) if isinstance(each, Prepared) else each for each in read]
    return {"accepted": len(good), "refused": len(read) - len(good), "results": results}


def _read(entry: Any, request: Request) -> Prepared | dict[str, Any]:
    """Return one mail of a batch, or why it is refused."""
    try:
        form = MailInput(data=entry)
        form.is_valid(raise_exception=True)
        return accepting.prepare(wish_of(form.validated_data), _key(request), timezone.now())
    except (DomainError, ValidationError) as error:
        return {"status": "refused", **problem_of(error)}


def _store(prepared: Sequence[Prepared]) -> list[Message]:
    """Store the mails, and wake the senders of those that are due."""
    messages = accepting.accept(prepared)
    now = timezone.now()
    streams = {message.stream for message in messages if message.due_at <= now}
    if Stream.CRITICAL in streams:
        nudge(tasks.send_critical)
    if Stream.TRANSACTIONAL in streams:
        nudge(tasks.send_transactional)
    return messages


def _told(message: Message) -> dict[str, Any]:
    return {
        "id": message.token,
        "status": Message.Status.QUEUED.value,
        "status_url": f"{settings.PUBLIC_URL}/api/v1/email/messages/{message.token}/",
    }


def _answer(body: dict[str, Any], *, is_repeated: bool = False) -> Response:
    response = Response(body, status=202)
    tokens = [body["id"]] if "id" in body else [each.get("id", "") for each in body["results"]]
    response.changed = message_of(tokens[0]) or 0  # type: ignore[attr-defined]  # for the audit
    if is_repeated:
        response["Idempotent-Replayed"] = "true"
    return response


def _key(request: Request) -> ApiKey | None:
    return request.auth if isinstance(request.auth, ApiKey) else None


def _owner(request: Request) -> str:
    key = _key(request)
    return f"key {key.pk}" if key else f"user {request.user.pk}"
