"""Addresses that get no mail."""

from __future__ import annotations

from datetime import datetime

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from subscribers.models.lists import MailingList
from subscribers.querysets import SuppressionQuerySet


class Suppression(models.Model):
    """An address not to be mailed, by its keyed HMAC: it outlives the person's erasure.

    One row per reason and reach: of somebody who unsubscribed and whose mailbox died since, each
    is lifted by itself. What a reason stops, whatever its reach: `STOPPING`.
    """

    class Reason(models.TextChoices):
        UNSUBSCRIBED = "unsubscribed", "Unsubscribed from everything"
        BOUNCED = "bounced", "Hard bounce"
        COMPLAINED = "complained", "Spam complaint"
        BLOCKED = "blocked", "Blocked by the team"
        SOFT_BOUNCED = "soft_bounced", "Bounces for now"

    class Stream(models.TextChoices):
        """Whose mail is stopped: the names are delivery's."""

        MARKETING = "marketing", "Marketing"
        TRANSACTIONAL = "transactional", "Transactional"
        CRITICAL = "critical", "Critical"

    address_key = models.BinaryField(max_length=32)
    key_version = models.PositiveSmallIntegerField(db_default=1, default=1, editable=False)
    """Which ADDRESS_KEY made `address_key`: counted from 1."""
    reason = models.CharField(max_length=20, choices=Reason)
    stream = models.CharField(max_length=20, choices=Stream, blank=True, db_default="", default="")
    """Stops mail of this stream only; empty: of every one that the reason stops."""
    list = models.ForeignKey(MailingList, models.CASCADE, null=True, blank=True)
    """Stops campaigns to this list only."""
    source = models.CharField(max_length=200, blank=True, db_default="")
    """Where it came from, in words: “SendGrid said 5.1.1 (campaign 12)”. No address."""
    event = models.BigIntegerField(null=True, blank=True, editable=False)
    """Key of the event that shows it. It may have been aged out since."""
    expires_at = models.DateTimeField(null=True, blank=True)
    """Over by then, of itself; None: it stands until somebody lifts it."""
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    objects = SuppressionQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["address_key", "reason", "stream", "list"],
                nulls_distinct=False,
                name="suppression_once",
            ),
            models.CheckConstraint(
                condition=Q(stream="") | Q(list=None), name="suppression_of_stream_or_list"
            ),
            models.CheckConstraint(
                condition=~Q(reason="soft_bounced") | Q(expires_at__isnull=False),
                name="soft_suppression_ends",
            ),
        ]
        indexes = [
            models.Index(fields=["-created_at", "-id"], name="suppression_newest"),
            models.Index(
                fields=["expires_at"],
                name="suppression_ends",
                condition=Q(expires_at__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.get_reason_display()} ({self.created_at:%Y-%m-%d})"

    @property
    def reach(self) -> str:
        """Return in words what mail it stops."""
        if self.list_id:
            return f"campaigns to {self.list}"
        return f"{self.get_stream_display().lower()} mail" if self.stream else "all mail"

    @property
    def is_closing(self) -> bool:
        """Does it close a person altogether? What is narrower, or ends of itself, does not."""
        return not self.stream and self.list_id is None and self.expires_at is None

    def is_in_force(self, now: datetime) -> bool:
        return self.expires_at is None or self.expires_at > now
