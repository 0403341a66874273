"""Whether to believe a mail that came back, and which message and person it is about.

Anybody can write to a mailbox for bounces. Who knows a signature of ours that travels with a mail,
in its return path or its link to unsubscribe, had the mail: then its message and its person are
certain, whatever address a forwarder put into the report. Without one the message is the one whose
Message-ID came back, and `webhooks.marks.HARMFUL` demands the address we mailed beside it. Ids can
be guessed, so that is believed only of mail that carries no signature: sent by SMTP, without a
return path of ours.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Protocol

from delivery.models import Mail, Message, message_of
from delivery.providers import returned
from delivery.providers.base import Event, Heard, Provider, WebhookRequest
from delivery.providers.returning import message_returned
from emailplatform import secrets

MAIL_HEADER = "x-returned-mail"
"""Marks a stored request as a mail; webhooks cannot bring it (`ingesting.KEPT_HEADERS`)."""
ENVELOPE_HEADER = "x-envelope-to"

_LINK = re.compile(r"/u/([A-Za-z0-9_.-]{10,200})/?>")


def is_mail(headers: Mapping[str, str]) -> bool:
    """Say whether a stored request is a mail that came back."""
    return MAIL_HEADER in headers


class Listening(Protocol):
    """An account, or what stands for it."""

    @property
    def provider(self) -> Provider: ...


def read(account: Listening, request: WebhookRequest) -> Heard:
    """Return what a stored request says, mail or webhook. Raises Unparsable."""
    if is_mail(request.headers):
        return read_mail(request.headers, request.body, request.received_at)
    return account.provider.parse_each(request)


def read_mail(headers: Mapping[str, str], body: bytes, received_at: datetime) -> Heard:
    """Return the events of a mail that came back. Raises Unparsable."""
    letter = returned.read(body, headers.get(ENVELOPE_HEADER, ""), received_at)
    token = proved(letter.claims)
    if not token and not _may_lack_proof(letter.claims.message_id):
        return [], ["Nothing proves it, and the mail it names has a way to be known by."]
    if not token:
        nameless = sum(not event.recipient for event in letter.events)
        known = [event for event in letter.events if event.recipient]
        return known, ["It does not say whose mail came back, and nothing proves it."] * bool(
            nameless
        )
    message = Message.objects.filter(pk=message_of(token) or 0).first()
    email = message.email if message and not _has_copies(message) else ""
    is_one = len(letter.events) == 1
    return [_proved(event, token, email, is_one=is_one) for event in letter.events], []


def named(claims: returned.Claims) -> str:
    """Return the message that a mail is about, proved or not; '' if it names none."""
    return proved(claims) or claims.message_id


def proved(claims: returned.Claims) -> str:
    """Return the message that a signature of ours in a mail names; '' without one."""
    for address in claims.addresses:
        if token := message_returned(address):
            return token
    for signed in _LINK.findall(claims.links):
        numbers = secrets.unsign("unsubscribe", signed)
        if numbers and numbers[0]:
            return f"m{numbers[0]:x}"
    return ""


def _may_lack_proof(token: str) -> bool:
    """Say whether mail like the one named comes back without a signature of ours."""
    number = message_of(token)
    rows = Message.objects.select_related("provider").only("provider__kind", "provider__config")
    message = rows.filter(pk=number).first() if number else None
    if message is None or message.provider is None:
        return True  # It harms nobody: no such mail is ours.
    account = message.provider
    return account.kind == "smtp" and not account.config.get("return_path_domain")


def _proved(event: Event, token: str, email: str, *, is_one: bool) -> Event:
    recipient = email if email and (is_one or not event.recipient) else event.recipient
    return replace(event, message_id=token, recipient=recipient)


def _has_copies(message: Message) -> bool:
    """Say whether a mail went to others as well: then only the report says about whom it is."""
    if message.campaign_id is not None:
        return False
    copies = Mail.objects.filter(message=message).values_list("copies", flat=True).first()
    return any((copies or {}).values())
