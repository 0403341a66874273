"""Service levels: promises that were not kept, and how soon mail of each type goes out."""

from __future__ import annotations

from datetime import timedelta

from django.db import models
from django.db.models import Q

from campaigns.models import Campaign
from delivery.models.messages import Message
from delivery.models.types import MessageType
from delivery.querysets import SlaBreachQuerySet, SlaStatQuerySet


class SlaMark(models.Model):
    """How far the mail of a type was looked at: each mail once, when its deadline is over."""

    type = models.OneToOneField(MessageType, models.CASCADE, primary_key=True)
    examined_until = models.DateTimeField()
    """Mail that was wanted until then."""

    def __str__(self) -> str:
        return f"{self.type_id} until {self.examined_until:%Y-%m-%d %H:%M:%S}"


class SlaBreach(models.Model):
    """A promise that was not kept: of one mail, or of a campaign that stands still."""

    message = models.OneToOneField(Message, models.CASCADE, null=True)
    campaign = models.OneToOneField(Campaign, models.CASCADE, null=True)
    type = models.ForeignKey(MessageType, models.CASCADE, db_index=False)
    deadline = models.DurationField()
    """As it was promised then."""
    wanted_at = models.DateTimeField()
    breached_at = models.DateTimeField()
    """When the deadline was over."""
    accepted_at = models.DateTimeField(null=True, blank=True)
    """When a provider took it after all."""
    closed_at = models.DateTimeField(null=True, blank=True)
    """When it was sent, given up or cancelled: nobody waits any more."""
    alerted_at = models.DateTimeField(null=True, blank=True)

    objects = SlaBreachQuerySet.as_manager()

    class Meta:
        verbose_name = "late mail"
        verbose_name_plural = "late mails"
        indexes = [
            models.Index(fields=["type", "-breached_at"], name="sla_breach_of_type"),
            models.Index(fields=["closed_at"], name="sla_breach_closed"),
            models.Index(fields=["type"], name="sla_breach_open", condition=Q(closed_at=None)),
        ]

    def __str__(self) -> str:
        return f"late {self.type_id} {self.message_id or self.campaign_id}"

    @property
    def latency(self) -> timedelta | None:
        """Return how long it took until a provider had it; None: none has."""
        return self.accepted_at - self.wanted_at if self.accepted_at else None


class SlaStat(models.Model):
    """How many mails of a type took how long: a histogram per hour in which they were wanted.

    Bucket 0 is what no provider has taken; the others are quarters of powers of two, from a
    millisecond on (`delivery.sla_statements.BUCKET`).
    """

    type = models.ForeignKey(MessageType, models.CASCADE, db_index=False)
    hour = models.DateTimeField()
    bucket = models.SmallIntegerField()
    mails = models.IntegerField()
    late = models.IntegerField()
    """How many of them were later than promised."""

    objects = SlaStatQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["type", "hour", "bucket"], name="sla_stat_once"),
        ]

    def __str__(self) -> str:
        return f"{self.type_id} at {self.hour:%Y-%m-%d %H:00}"
