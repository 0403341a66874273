"""An event as endpoints are told it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from delivery.models import token_of
from delivery.providers.base import EventType
from webhooks.models import Event

TEST = "test"
"""The type of what somebody sends by hand, to try an endpoint."""
TEXTS = (
    *("provider_message_id", "bounce_class", "reason", "complaint_type", "url", "ip", "country"),
    *("user_agent", "device", "client", "browser", "os", "machine_reason"),
)
"""Facts that are text, null where there is none."""


def type_of(kind: str) -> str:
    """Return the `type` of a body.

    >>> type_of("bounced"), type_of("test")
    ('email.bounced', 'endpoint.test')
    """
    return "endpoint.test" if kind == TEST else f"email.{kind}"


def body_of(event: Event) -> bytes:
    """Return the JSON that tells an event."""
    data: dict[str, Any] = {
        "id": event.pk,
        "message": token_of(event.message_id) if event.message_id else None,
        "campaign": event.campaign_id,
        "subscriber": event.subscriber_id,
        "recipient": event.recipient or None,
        "provider": event.account.name if event.account else None,
        "received_at": _moment(event.received_at),
        "is_machine": event.is_machine,
        **{name: getattr(event, name) or None for name in TEXTS},
    }
    return _json(event.type, event.occurred_at, data)


def test_body(endpoint: str, now: datetime) -> bytes:
    """Return the JSON of a test."""
    words = "If you can verify the signature of this, your endpoint is set up."
    return _json(TEST, now, {"endpoint": endpoint, "text": words})


def sample(now: datetime) -> str:
    """Return what an endpoint gets, as an example for people."""
    event = Event(
        pk=48_213,
        type=EventType.BOUNCED,
        occurred_at=now,
        received_at=now,
        message_id=7_013,
        campaign_id=12,
        subscriber_id=90_210,
        recipient="ana@example.com",
        is_machine=None,
        **{
            **dict.fromkeys(TEXTS, ""),
            "bounce_class": "hard",
            "reason": "550 5.1.1 No such user here",
        },
    )
    return json.dumps(json.loads(body_of(event)), indent=2)


def _json(kind: str, at: datetime, data: dict[str, Any]) -> bytes:
    body = {"type": type_of(kind), "timestamp": _moment(at), "data": data}
    return json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode()


def _moment(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
