"""How the state of a message and what became of it are shown."""

from __future__ import annotations

from typing import NamedTuple

from delivery.models import Message

Status = Message.Status
TONES = {
    Status.QUEUED: "quiet",
    Status.SENDING: "info",
    Status.SENT: "ok",
    Status.FAILED: "bad",
    Status.UNKNOWN: "warn",
    Status.SKIPPED: "quiet",
    Status.CANCELLED: "quiet",
    Status.EXPIRED: "warn",
}


class Outcome(NamedTuple):
    """What is known of a message after it was handed over."""

    label: str
    tone: str
    column: str


_WORST_FIRST = [
    Outcome("Reported as spam", "bad", "complained_at"),
    Outcome("Bounced", "bad", "bounced_at"),
    Outcome("Dropped", "bad", "dropped_at"),
    Outcome("Unsubscribed", "warn", "unsubscribed_at"),
    Outcome("Clicked", "ok", "person_clicked_at"),
    Outcome("Clicked, unsure by whom", "quiet", "clicked_at"),
    Outcome("Opened", "ok", "person_opened_at"),
    Outcome("Opened, unsure by whom", "quiet", "opened_at"),
    Outcome("Opened by a machine", "quiet", "machine_opened_at"),
    Outcome("Delivered", "quiet", "delivered_at"),
    Outcome("Delayed", "warn", "deferred_at"),
]


def outcome_of(message: Message) -> Outcome | None:
    """Return the most telling thing that happened to a message since it was sent."""
    return next((each for each in _WORST_FIRST if getattr(message, each.column)), None)
