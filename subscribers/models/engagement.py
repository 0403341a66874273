"""What a person did with our mail, in one narrow row: what segments, scores and stages ask for."""

from __future__ import annotations

from datetime import datetime

from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import BrinIndex
from django.db import models
from django.db.models.functions import Now

from subscribers.models.people import Subscriber
from subscribers.querysets import EngagementQuerySet


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
    first_received_at = models.DateTimeField(null=True, blank=True)
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
    """When the nightly scoring last had something to write here."""
    score_noted = models.PositiveSmallIntegerField(null=True, blank=True)
    """The score of the last point in the person's history."""

    objects = EngagementQuerySet.as_manager()

    class Meta:
        verbose_name = "engagement"
        verbose_name_plural = "engagement"

    def __str__(self) -> str:
        return f"{self.subscriber_id}: {self.score} ({self.stage})"

    @property
    def last_sign_at(self) -> datetime | None:
        """When the person last opened, clicked, replied or bought something."""
        signs = (
            self.last_opened_at,
            self.last_clicked_at,
            self.last_replied_at,
            self.last_converted_at,
        )
        return max(filter(None, signs), default=None)


class ScoreDay(models.Model):
    """A point in a person's history: written when the score has moved far, or the stage changed."""

    subscriber = models.ForeignKey(Subscriber, models.CASCADE, db_index=False)
    day = models.DateField()
    score = models.PositiveSmallIntegerField()
    stage = models.CharField(max_length=10, choices=Engagement.Stage)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["subscriber", "day"], name="score_day_once"),
        ]
        indexes = [BrinIndex(fields=["day"], name="score_day_on", autosummarize=True)]

    def __str__(self) -> str:
        return f"{self.day}: {self.score} ({self.stage})"


class ScoreRun(models.Model):
    """One scoring of everybody: by what it went, and what it came to."""

    at = models.DateTimeField()
    half_life_days = models.FloatField()
    people = models.PositiveIntegerField()
    changed = models.PositiveIntegerField()
    took_ms = models.PositiveIntegerField()
    stages = models.JSONField(default=dict)
    """Stage -> people."""
    moves = models.JSONField(default=list)
    """[from, to, people] of those whose stage changed."""
    best_hour = models.PositiveSmallIntegerField(null=True, blank=True)
    """Of most people, by their own clocks."""

    class Meta:
        ordering = ["-at"]
        get_latest_by = "at"
        verbose_name = "engagement"
        verbose_name_plural = "engagement"
        indexes = [models.Index(fields=["-at"], name="score_run_newest")]

    def __str__(self) -> str:
        return f"{self.at:%Y-%m-%d %H:%M}: {self.changed} of {self.people}"


class ChurnModel(models.Model):
    """A logistic model of who does nothing for 90 days, and how it did on what it never saw."""

    trained_at = models.DateTimeField()
    coefficients = models.JSONField(default=dict)
    """Feature (`score_statements.FEATURES`) -> number, and "constant"."""
    metrics = models.JSONField(default=dict)
    """On held-out people of a later time: see `fitting.Metrics`."""
    is_vouched = models.BooleanField(default=False)
    """Whether its probabilities are shown and used."""
    why_not = models.CharField(max_length=300, blank=True, default="")

    class Meta:
        get_latest_by = "trained_at"

    def __str__(self) -> str:
        return f"{self.trained_at:%Y-%m-%d %H:%M}"
