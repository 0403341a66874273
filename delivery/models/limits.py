"""What limits leave behind: counts per day, lanes that were slowed, and who counts beside us."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models.functions import Now

from delivery.models.accounts import ProviderAccount
from delivery.models.streams import Stream
from delivery.querysets import DailyCountQuerySet, LaneStateQuerySet, WorkerQuerySet
from subscribers.mailboxes import Mailbox


class DailyCount(models.Model):
    """How many messages an account was given on one day (UTC), where it has a quota."""

    account = models.ForeignKey(ProviderAccount, models.CASCADE, db_index=False)
    day = models.DateField()
    used = models.PositiveIntegerField(db_default=0)

    objects = DailyCountQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["account", "day"], name="daily_count_once"),
        ]

    def __str__(self) -> str:
        return f"{self.account_id} on {self.day:%Y-%m-%d}"


class LaneState(models.Model):
    """A lane that a mailbox provider found too fast: how much it was slowed, and why.

    Its rate climbs by itself: it is a matter of the time since `changed_at`, nobody writes it.
    """

    HALVE_EVERY = timedelta(seconds=10)
    """What is said of calls that were under way already is no reason to halve once more."""
    CLIMB = 1.1
    CLIMB_EVERY = timedelta(minutes=1)
    """A tenth faster with every minute in which nobody complains: from half of its rate back to
    all of it in eight minutes."""

    account = models.ForeignKey(ProviderAccount, models.CASCADE, db_index=False)
    stream = models.CharField(max_length=20, choices=Stream)
    mailbox = models.CharField(max_length=10, choices=Mailbox)
    base = models.PositiveIntegerField()
    """Messages per minute before it was slowed: its limit, or what it had just reached."""
    rate = models.PositiveIntegerField()
    """Messages per minute at `changed_at`."""
    reason = models.CharField(max_length=300)
    since = models.DateTimeField()
    """When it was first slowed; it has not recovered since."""
    changed_at = models.DateTimeField()
    held_until = models.DateTimeField(null=True)
    """Nothing is sent before: the provider asked for it (Retry-After)."""

    objects = LaneStateQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["account", "stream", "mailbox"], name="lane_state_once"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.stream} to {self.mailbox} by {self.account_id}"

    def rate_at(self, now: datetime) -> int | None:
        """Return messages per minute allowed now; None: it has recovered."""
        steps = max(0, (now - self.changed_at) // self.CLIMB_EVERY)
        rate = int(self.rate * self.CLIMB ** min(steps, 500))
        return None if rate >= self.base else rate

    def recovers_at(self) -> datetime:
        """Return when it has its old rate again, if nobody complains until then."""
        moment, rate = self.changed_at, float(self.rate)
        while int(rate) < self.base:
            moment, rate = moment + self.CLIMB_EVERY, rate * self.CLIMB
        return moment


class Worker(models.Model):
    """A process that sends. It says every few seconds that it is there."""

    name = models.CharField(max_length=200, unique=True)
    kind = models.CharField(max_length=20)
    """“dispatch”, or “celery”."""
    streams = ArrayField(models.CharField(max_length=20))
    host = models.CharField(max_length=150)
    pid = models.PositiveIntegerField()
    has_redis = models.BooleanField(db_default=True)
    """It counts limits together with the others; else alone."""
    started_at = models.DateTimeField(db_default=Now())
    seen_at = models.DateTimeField(db_default=Now())

    objects = WorkerQuerySet.as_manager()

    class Meta:
        ordering = ["started_at", "name"]
        verbose_name_plural = "queues & lanes"  # its list is the page of that name

    def __str__(self) -> str:
        return self.name
