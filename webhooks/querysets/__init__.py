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
from webhooks.querysets.sightings import (
    AnonymousCountQuerySet,
    AnonymousEvent,
    AnonymousHit,
    NewSighting,
    Seen,
    SightingQuerySet,
)

__all__ = [
    "LOCK_TIMEOUT_MS",
    "AnonymousCountQuerySet",
    "AnonymousEvent",
    "AnonymousHit",
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
    "NewSighting",
    "Outcome",
    "Pace",
    "Queue",
    "QueueIdQuerySet",
    "Queued",
    "RawRequestQuerySet",
    "Seen",
    "SightingQuerySet",
    "SilenceQuerySet",
    "Stored",
    "Taken",
    "WebhookCountQuerySet",
]
