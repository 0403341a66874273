"""Addresses that get no mail."""

from __future__ import annotations

from django.db import models
from django.db.models.functions import Now

from subscribers.querysets import SuppressionQuerySet


class Suppression(models.Model):
    """An address never to be mailed, by its keyed HMAC: it outlives the person's erasure."""

    class Reason(models.TextChoices):
        UNSUBSCRIBED = "unsubscribed", "Unsubscribed from everything"
        BOUNCED = "bounced", "Hard bounce"
        COMPLAINED = "complained", "Spam complaint"
        BLOCKED = "blocked", "Blocked by the team"

    address_key = models.BinaryField(max_length=32, unique=True)
    reason = models.CharField(max_length=20, choices=Reason)
    source = models.CharField(max_length=200, blank=True, db_default="")
    """Where it came from, in words: “SendGrid said 5.1.1 (campaign 12)”."""
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    objects = SuppressionQuerySet.as_manager()

    class Meta:
        indexes = [models.Index(fields=["-created_at", "-id"], name="suppression_newest")]

    def __str__(self) -> str:
        return f"{self.get_reason_display()} ({self.created_at:%Y-%m-%d})"
