"""A provider's POST: proved, stored as it came, answered. What it says is read later.

One SELECT every few seconds and one INSERT per request: a provider that posts a thousand times a
second gets its answers in milliseconds.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Q

from delivery.models import ProviderAccount
from delivery.providers.base import Forged, Provider, TooOld, WebhookRequest
from webhooks.models import RawRequest, WebhookCount
from webhooks.querysets import NewRequest

logger = logging.getLogger(__name__)

KNOWN_FOR_S = 5.0
"""How long a process believes what it read of an account: a changed secret works after that."""
HEARD_EVERY = timedelta(seconds=30)

KEPT_HEADERS = frozenset(
    {
        "content-type",
        "user-agent",
        "x-amz-sns-message-id",
        "x-amz-sns-message-type",
        "x-amz-sns-topic-arn",
        "x-twilio-email-event-webhook-signature",
        "x-twilio-email-event-webhook-timestamp",
    }
)
"""All others are dropped: Authorization and cookies are credentials."""


@dataclass(frozen=True, slots=True)
class Listener:
    """Whose URL it is."""

    account: int
    provider: Provider
    until: float
    """Monotonic seconds."""


_listeners: dict[tuple[str, str], Listener] = {}
_heard: dict[int, datetime] = {}


def find_listener(kind: str, token: str) -> Listener | None:
    """Return the account whose webhook URL carries `kind` and `token`; None if there is none.

    Only accounts that exist are remembered, so strangers cannot fill the memory.
    """
    known = _listeners.get((kind, token))
    if known is not None and time.monotonic() < known.until:
        return known
    account = ProviderAccount.objects.filter(webhook_token=token, kind=kind).first()
    if account is None:
        _listeners.pop((kind, token), None)
        return None
    listener = Listener(account.pk, account.provider, time.monotonic() + KNOWN_FOR_S)
    _listeners[kind, token] = listener
    return listener


def forget_listeners() -> None:
    """Read every account again when it is next asked for."""
    _listeners.clear()
    _heard.clear()


def ingest(listener: Listener, request: WebhookRequest) -> None:
    """Store a request if it is the provider's; answer a hand-shake at once.

    Raises Forged for a request that proves nothing, Unavailable if it cannot be judged now (or a
    hand-shake not be answered): the provider must repeat it. One outside its replay window is
    stored and marked late. A single-use key that was used before is counted and not stored.
    """
    provider = listener.provider
    is_late = False
    try:
        provider.verify(request)
    except TooOld:
        is_late = True
    if not is_late and provider.confirm(request):
        logger.info("Account %s: a webhook subscription was answered", listener.account)
    elif not RawRequest.objects.store(_row(listener, request, is_late)):
        repeated = WebhookCount.Outcome.REPEATED
        WebhookCount.objects.add(listener.account, repeated, request.received_at)
    _note_heard(listener.account, request.received_at)


def refuse(listener: Listener, error: Forged, now: datetime) -> None:
    """Count a forged request and say why it was refused. Nothing of its body is kept or logged."""
    WebhookCount.objects.add(listener.account, WebhookCount.Outcome.FORGED, now)
    logger.warning("Account %s: a webhook was refused as forged: %s", listener.account, error)


def _row(listener: Listener, request: WebhookRequest, is_late: bool) -> NewRequest:
    once = listener.provider.replay_key(request)
    return NewRequest(
        listener.account,
        json.dumps(_kept(request.headers)),
        request.body,
        hashlib.sha256(once.encode()).hexdigest() if once else None,
        is_late,
    )


def _kept(headers: Mapping[str, str]) -> dict[str, str]:
    return {
        name: value[:1000].replace("\0", "")
        for name, value in headers.items()
        if name in KEPT_HEADERS
    }


def _note_heard(account: int, now: datetime) -> None:
    """Write when the account was last heard, at most once in HEARD_EVERY."""
    last = _heard.get(account)
    if last is not None and now - last < HEARD_EVERY:
        return
    _heard[account] = now
    stale = Q(last_heard_at=None) | Q(last_heard_at__lt=now - HEARD_EVERY)
    ProviderAccount.objects.filter(stale, pk=account).update(last_heard_at=now)
