"""What passes between the queue and those who send."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class Claimed:
    """A message its worker owns now, and the person as the template sees them."""

    id: int
    email: str
    subscriber_id: int
    first_name: str
    last_name: str
    language: str
    country: str
    time_zone: str
    attributes: dict[str, Any]
    deferrals: int = 0
    """How often the mailbox refused it for now."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What to write for one message of a hand-off."""

    id: int
    status: str
    provider_message_id: str = ""
    error: str = ""
    due_at: datetime | None = None
    """When to try again, for status QUEUED."""
    is_deferral: bool = False
    """The mailbox refused it for now: counted, so that it ends some day."""
    fault: str = ""
    """`Message.Fault`, for status FAILED."""
