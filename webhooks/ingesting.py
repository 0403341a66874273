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
from delivery.models.accounts import LONGEST_WEBHOOK_NAME
from delivery.providers import registry
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
        "x-webhook-signature",
        "x-webhook-timestamp",
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


def is_guessable(account: str) -> bool:
    """Say whether this part of an address is a name that anybody may guess, and no token."""
    return len(account) <= LONGEST_WEBHOOK_NAME


def find_listener(kind: str, account: str) -> Listener | None:
    """Return the account whose webhook address it is; None if there is none.

    `account` is its token, its name in small letters, or empty: the first of its kind that was
    made and has a webhook secret. Only accounts that exist are remembered, so strangers cannot
    fill the memory.
    """
    known = _listeners.get((kind, account))
    if known is not None and time.monotonic() < known.until:
        return known
    found = _find_account(kind, account)
    if found is None:
        _listeners.pop((kind, account), None)
        return None
    listener = Listener(found.pk, found.provider, time.monotonic() + KNOWN_FOR_S)
    _listeners[kind, account] = listener
    return listener


def _find_account(kind: str, account: str) -> ProviderAccount | None:
    """Return the account. Its secrets are read when they are asked for: those of one that no key
    opens must not silence its siblings.
    """
    kinds = registry.heard_as(kind)
    accounts = ProviderAccount.objects.filter(kind__in=kinds).defer("secrets").order_by("pk")
    if not is_guessable(account):
        return accounts.filter(webhook_token=account).first()
    if account:
        return next((each for each in accounts if each.webhook_name == account.lower()), None)
    return next((each for each in accounts if each.has_webhook_secret), None)


def forget_listeners() -> None:
    """Read every account again when it is next asked for."""
    _listeners.clear()
    _heard.clear()


def is_late(listener: Listener, request: WebhookRequest) -> bool:
    """Say whether a request of the provider's is outside its replay window.

    Raises Forged for a request that proves nothing, Unavailable if it cannot be judged now: the
    provider must repeat it.
    """
    try:
        listener.provider.verify(request)
    except TooOld:
        return True
    return False


def ingest(listener: Listener, request: WebhookRequest, *, is_late: bool) -> None:
    """Store a request that was proved; answer a hand-shake at once.

    A late one is stored and marked. A single-use key that was used before is counted and not
    stored. Raises Unavailable if a hand-shake cannot be answered now.
    """
    provider = listener.provider
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
