"""Sets of raw requests and events: stored, taken, applied. The only place with their SQL."""

from __future__ import annotations

from webhooks.querysets.counts import SilenceQuerySet, WebhookCountQuerySet
from webhooks.querysets.events import (
    LOCK_TIMEOUT_MS,
    Arrival,
    Consequence,
    CopyEnded,
    Drifted,
    EventQuerySet,
    Glance,
    Judgement,
    Pace,
    Taken,
)
from webhooks.querysets.logs import (
    LogPositionQuerySet,
    MailboxPositionQuerySet,
    Queued,
    QueueIdQuerySet,
)
from webhooks.querysets.requests import (
    Lag,
    NewRequest,
    Outcome,
    Queue,
    RawRequestQuerySet,
    Stored,
)

__all__ = [
    "LOCK_TIMEOUT_MS",
    "Arrival",
    "Consequence",
    "CopyEnded",
    "Drifted",
    "EventQuerySet",
    "Glance",
    "Judgement",
    "Lag",
    "LogPositionQuerySet",
    "MailboxPositionQuerySet",
    "NewRequest",
    "Outcome",
    "Pace",
    "Queue",
    "QueueIdQuerySet",
    "Queued",
    "RawRequestQuerySet",
    "SilenceQuerySet",
    "Stored",
    "Taken",
    "WebhookCountQuerySet",
]
