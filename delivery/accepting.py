"""Mail asked for by API: checked as a whole, stored, and only then promised.

Nothing is sent here. What `accept` has committed is sent by `delivery.sending`, whatever becomes
of the process that took it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.utils import timezone

from campaigns.models import Template, TrackedBy
from campaigns.rendering import TemplateProblem, header_text
from campaigns.versioning import version_of
from delivery import attaching, mailing, ruling
from delivery.attaching import File
from delivery.models import Attachment, Mail, Message, MessageType, Stream, Submission
from emailplatform.errors import DomainError, InvalidInput
from emailplatform.models import ApiKey
from emailplatform.secrets import address_key
from subscribers.mailboxes import mailbox_of
from subscribers.models import Subscriber

MOST_COPIES = 50
"""Addresses of one mail: what the strictest provider takes (SES and Postmark: 50)."""
FARTHEST = timedelta(days=366)
"""How far ahead `send_at` may be."""
KEYS_KEPT = timedelta(hours=72)
"""How long an Idempotency-Key is remembered."""
USUAL_LIFE = timedelta(hours=24)
"""After that, mail of no type is not sent any more."""


class KeyReused(DomainError):
    """The Idempotency-Key was used for another payload."""

    code = "idempotency_key_reused"
    http_status = 409


@dataclass(frozen=True, slots=True)
class Wish:
    """One mail as it was asked for; addresses are clean. Pairs are (address, name)."""

    sender: tuple[str, str]
    to: Sequence[tuple[str, str]]
    cc: Sequence[tuple[str, str]] = ()
    bcc: Sequence[tuple[str, str]] = ()
    reply_to: str = ""
    subject: str = ""
    html: str = ""
    text: str = ""
    template: Template | None = None
    context: Mapping[str, Any] = field(default_factory=dict)
    locale: str = ""
    files: Sequence[File] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    tags: Sequence[str] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)
    type: MessageType | None = None
    stream: str = ""
    send_at: datetime | None = None
    expires_at: datetime | None = None
    tracking: str = TrackedBy.FULL
    track_opens: bool = False
    track_clicks: bool = False


@dataclass(frozen=True, slots=True)
class Prepared:
    """Rows of one mail, complete and checked, not saved yet."""

    message: Message
    mail: Mail
    attachments: list[Attachment]


def prepare(wish: Wish, api_key: ApiKey | None, now: datetime) -> Prepared:
    """Return the rows of a mail. Raises InvalidInput with the field that is at fault."""
    _check_people(wish)
    _check_content(wish)
    message = _message(wish, now)
    mail = Mail(
        message=message,
        api_key=api_key,
        from_email=wish.sender[0],
        from_name=wish.sender[1],
        reply_to=wish.reply_to,
        to_name=wish.to[0][1],
        copies={"to": list(wish.to[1:]), "cc": list(wish.cc), "bcc": list(wish.bcc)},
        version=version_of(wish.template) if wish.template else None,
        context=wish.context,
        locale=wish.locale,
        subject="" if wish.template else header_text(wish.subject),
        html=wish.html,
        text=wish.text,
        headers=wish.headers,
        tags=list(wish.tags),
        metadata=wish.metadata,
        tracking=wish.tracking,
        track_opens=wish.track_opens,
        track_clicks=wish.track_clicks,
    )
    try:
        mailing.render(mail, message.email)
    except TemplateProblem as problem:
        raise InvalidInput(f"The template cannot be filled in: {problem}", param="context") from (
            problem
        )
    return Prepared(message, mail, attaching.attach(wish.files))


def accept(prepared: Sequence[Prepared]) -> list[Message]:
    """Store mails, all or none; return their messages. They are as good as promised on commit."""
    with transaction.atomic():
        people = _people(each.message.email for each in prepared)
        for each in prepared:
            each.message.subscriber_id = people.get(each.message.email)
        ruling.stamp([each.message for each in prepared], timezone.now())
        messages = Message.objects.bulk_create(each.message for each in prepared)
        for each in prepared:
            each.mail.message_id = each.message.pk
        Mail.objects.bulk_create(each.mail for each in prepared)
        Attachment.objects.bulk_create(_attachments(prepared))
    return messages


def _attachments(prepared: Sequence[Prepared]) -> list[Attachment]:
    rows = []
    for each in prepared:
        for attachment in each.attachments:
            attachment.mail_id = each.message.pk
            rows.append(attachment)
    return rows


# --- Once, whatever is repeated ----------------------------------------------------------


def claim_key(owner: str, key: str, payload: Any) -> tuple[Submission, bool]:
    """Reserve an Idempotency-Key within the caller's transaction; return it and if it is new.

    Of two at the same moment one waits until the other has committed. Raises KeyReused.
    """
    fingerprint = fingerprint_of(payload)
    submission, is_new = Submission.objects.get_or_create(
        owner=owner, key=key, defaults={"fingerprint": fingerprint}
    )
    if bytes(submission.fingerprint) != fingerprint:
        raise KeyReused(
            "This Idempotency-Key was used for another payload: use a new key for another mail.",
            param="Idempotency-Key",
        )
    return submission, is_new


def forget_keys(now: datetime, limit: int = 10_000) -> int:
    """Forget keys that are older than KEYS_KEPT, in portions; return how many."""
    total = 0
    old = Submission.objects.filter(created_at__lt=now - KEYS_KEPT).order_by("created_at")
    while some := list(old.values_list("pk", flat=True)[:limit]):
        total += Submission.objects.filter(pk__in=some).delete()[0]
    return total


def fingerprint_of(payload: Any) -> bytes:
    """Return the SHA-256 of a payload, whatever the order of its fields.

    >>> fingerprint_of({"a": 1, "b": 2}) == fingerprint_of({"b": 2, "a": 1})
    True
    """
    canonical = json.dumps(payload, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(canonical.encode("utf-8", "surrogatepass")).digest()


# --- Afterwards --------------------------------------------------------------------------


def cancel(message: Message) -> None:
    """Keep a message from being sent. Raises InvalidTransition once it is being handed over."""
    message.move_to(Message.Status.CANCELLED)


def resend(message: Message, now: datetime) -> Message:
    """Send the mail of a message once more, as a message of its own; return that.

    It has another id, so whoever gets both sees two mails.
    """
    mail = Mail.objects.get(pk=message.pk)
    lifetime = message.type.expires_after if message.type else USUAL_LIFE
    with transaction.atomic():
        copy = Message.objects.create(
            subscriber_id=message.subscriber_id,
            email=message.email,
            address_key=message.address_key,
            stream=message.stream,
            mailbox=message.mailbox,
            route=max(message.route, 0),
            type_id=message.type_id,
            due_at=now,
            wanted_at=now,
            expires_at=now + lifetime,
        )
        files = list(mail.attachments.all())
        mail.pk = mail.message_id = copy.pk
        mail.resend_of = message
        mail.save(force_insert=True)
        for file in files:
            file.pk, file.mail_id = None, copy.pk
        Attachment.objects.bulk_create(files)
    return copy


# --- Checks ------------------------------------------------------------------------------


def _check_people(wish: Wish) -> None:
    if not wish.to:
        raise InvalidInput("Say who gets it.", param="to")
    everybody = [address for address, _ in (*wish.to, *wish.cc, *wish.bcc)]
    if len(everybody) > MOST_COPIES:
        words = f"A mail has {MOST_COPIES} addresses at most: use the batch for separate mails."
        raise InvalidInput(words, param="to")
    if len(set(everybody)) < len(everybody):
        raise InvalidInput("An address is there twice among to, cc and bcc.", param="to")


def _check_content(wish: Wish) -> None:
    own = wish.subject or wish.html or wish.text
    if wish.template and own:
        words = "Give either a template, or subject with html or text, not both."
        raise InvalidInput(words, param="template")
    if wish.template:
        return
    if not header_text(wish.subject).strip():
        raise InvalidInput("Give a subject.", param="subject")
    if not wish.html.strip() and not wish.text.strip():
        raise InvalidInput("Give html, text, or a template.", param="html")
    if wish.context:
        raise InvalidInput("A context is for templates; this mail has none.", param="context")


def _message(wish: Wish, now: datetime) -> Message:
    email = wish.to[0][0]
    due_at = max(wish.send_at or now, now)
    if due_at > now + FARTHEST:
        raise InvalidInput("Choose a time within a year.", param="send_at")
    lifetime = wish.type.expires_after if wish.type else USUAL_LIFE
    expires_at = wish.expires_at or due_at + lifetime
    if expires_at <= due_at:
        raise InvalidInput("It would be too late before it is sent.", param="expires_at")
    stream = wish.stream or (wish.type.stream if wish.type else Stream.TRANSACTIONAL)
    return Message(
        email=email,
        address_key=address_key(email),
        stream=stream,
        mailbox=mailbox_of(email),
        type=wish.type,
        status=Message.Status.QUEUED,
        due_at=due_at,
        wanted_at=due_at,
        expires_at=expires_at,
    )


def _people(emails: Any) -> dict[str, int]:
    """Return address -> id of those whom we know."""
    rows = Subscriber.objects.filter(email__in=list(emails)).values_list("email", "pk")
    return dict(rows)
