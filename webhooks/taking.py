"""Mail that comes back is stored as it came, like a webhook; what it says is read later."""

from __future__ import annotations

import json
import logging
from datetime import datetime, timedelta

from django.db.models import Q

from delivery.models import Message, ProviderAccount, message_of
from delivery.providers import letters, returned
from delivery.providers.base import Unparsable
from emailplatform.errors import InvalidInput
from webhooks import believing
from webhooks.models import RawRequest
from webhooks.querysets import NewRequest

logger = logging.getLogger(__name__)

HEARD_EVERY = timedelta(seconds=30)
MOST_BYTES = 20 * 1024 * 1024
"""Of one mail; the rest is files that nobody looks at."""


def take_mail(body: bytes, envelope_to: str, fallback: ProviderAccount) -> None:
    """Store one mail that came back; it is committed on return if no transaction is open.

    It belongs to the account that sent what came back, as far as it says so; else to `fallback`.
    """
    body = body[:MOST_BYTES]
    headers = {believing.MAIL_HEADER: "yes", "content-type": "message/rfc822"}
    if envelope_to:
        headers[believing.ENVELOPE_HEADER] = letters.clean(envelope_to)[:320]
    account = _sender_of(body, envelope_to) or fallback.pk
    RawRequest.objects.store(NewRequest(account, json.dumps(headers), body, None, False))


def account_named(name: str) -> ProviderAccount:
    """Return the account of this name; without one the first SMTP account. Raises InvalidInput."""
    if name:
        found = ProviderAccount.objects.filter(name=name).first()
        if found is None:
            known = ", ".join(ProviderAccount.objects.values_list("name", flat=True)) or "none yet"
            raise InvalidInput(f"There is no provider “{name}”. There are: {known}.")
        return found
    first = ProviderAccount.objects.filter(kind="smtp").order_by("pk").first()
    if first is None:
        raise InvalidInput("There is no SMTP account. Add one under Delivery, Providers.")
    return first


def _sender_of(body: bytes, envelope_to: str) -> int | None:
    """Return the account that has or had the message a mail is about."""
    try:
        claims = returned.claims_of(letters.read(body), envelope_to)
    except Unparsable:
        return None
    except Exception:
        # Whatever is wrong with our reading, the mail is kept: applying it tells what it is.
        logger.exception("returned_mail_not_read")
        return None
    message = message_of(believing.named(claims))
    if not message:
        return None
    return Message.objects.filter(pk=message).values_list("provider", flat=True).first()


def note_heard(account: int, now: datetime) -> None:
    """Write when an account was last heard of, at most twice a minute."""
    stale = Q(last_heard_at=None) | Q(last_heard_at__lt=now - HEARD_EVERY)
    ProviderAccount.objects.filter(stale, pk=account).update(last_heard_at=now)
