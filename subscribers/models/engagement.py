"""What a person did with our mail, in one narrow row: what segments, scores and stages ask for."""

from __future__ import annotations

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models.functions import Now

from subscribers.models.people import Subscriber


class Engagement(models.Model):
    """The sum of a person's events; no row means that nothing was ever sent.

    Only people's acts count as opens and clicks, not machines'. Everything here can be rebuilt from
    messages and events. It is a table of its own, since a question about a million people reads
    these few columns and not their names and attributes, and since it changes far more often.
    """

    class Stage(models.TextChoices):
        NEW = "new", "New"
        ACTIVE = "active", "Active"
        COOLING = "cooling", "Cooling"
        DORMANT = "dormant", "Dormant"
        LOST = "lost", "Lost"

    subscriber = models.OneToOneField(
        Subscriber, models.CASCADE, primary_key=True, related_name="engagement"
    )
    received = models.PositiveIntegerField(db_default=0, default=0)
    """Mails delivered, or sent where nobody tells of deliveries."""
    opened = models.PositiveIntegerField(db_default=0, default=0)
    """Mails opened, each once."""
    clicked = models.PositiveIntegerField(db_default=0, default=0)
    """Mails clicked in, each once."""
    replied = models.PositiveIntegerField(db_default=0, default=0)
    converted = models.PositiveIntegerField(db_default=0, default=0)
    last_received_at = models.DateTimeField(null=True, blank=True)
    last_opened_at = models.DateTimeField(null=True, blank=True)
    last_clicked_at = models.DateTimeField(null=True, blank=True)
    last_replied_at = models.DateTimeField(null=True, blank=True)
    last_converted_at = models.DateTimeField(null=True, blank=True)
    heat = models.FloatField(db_default=0.0, default=0.0)
    """The decaying sum of what was done, as of `heat_at`: halves every half-life."""
    heat_at = models.DateTimeField(db_default=Now())
    score = models.PositiveSmallIntegerField(db_default=0, default=0)
    """0–100, as of the last scoring."""
    score_before = models.PositiveSmallIntegerField(null=True, blank=True)
    """The score of about 30 days ago: the trend is the difference."""
    stage = models.CharField(max_length=10, choices=Stage, db_default=Stage.NEW)
    stage_since = models.DateTimeField(db_default=Now())
    churn = models.FloatField(null=True, blank=True)
    """Probability of doing nothing in the next 90 days; NULL where no model vouches for one."""
    hours = ArrayField(models.PositiveSmallIntegerField(), size=24, null=True, blank=True)
    """Opens and clicks by hour of the person's own day; NULL before the first."""
    best_hour = models.PositiveSmallIntegerField(null=True, blank=True)
    scored_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        verbose_name = "engagement"
        verbose_name_plural = "engagement"

    def __str__(self) -> str:
        return f"{self.subscriber_id}: {self.score} ({self.stage})"
