"""Re-checks: going through the domains of many people again."""

from __future__ import annotations

from datetime import datetime

from django.conf import settings
from django.db import models
from django.db.models.functions import Now

from emailplatform.states import StatefulModel
from subscribers.models.lists import MailingList
from subscribers.querysets import CheckRunQuerySet


class CheckRun(StatefulModel):
    """One re-check: of whom, how far it has got, what it found."""

    class Status(models.TextChoices):
        QUEUED = "queued", "Waiting to start"
        RUNNING = "running", "Checking"
        DONE = "done", "Done"
        CANCELLED = "cancelled", "Stopped"

    TRANSITIONS = {
        Status.QUEUED: frozenset({Status.RUNNING, Status.CANCELLED}),
        Status.RUNNING: frozenset({Status.DONE, Status.CANCELLED}),
    }

    status = models.CharField(max_length=20, choices=Status, default=Status.QUEUED)
    list = models.ForeignKey(MailingList, models.CASCADE, null=True, blank=True)
    """Whose people; empty: everybody."""
    older_than_days = models.PositiveIntegerField(null=True, blank=True)
    """Only domains DNS has not answered about for so long; empty: all."""
    limit = models.PositiveIntegerField(null=True, blank=True)
    """So many domains at most, those first that were asked about longest ago."""
    domain_count = models.PositiveIntegerField(default=0, editable=False)
    done_count = models.PositiveIntegerField(default=0, editable=False)
    unknown_count = models.PositiveIntegerField(default=0, editable=False)
    """Domains of which nobody could tell."""
    held_count = models.PositiveIntegerField(default=0, editable=False)
    released_count = models.PositiveIntegerField(default=0, editable=False)
    """Subscriptions that were held back, and let go since what spoke against them is gone."""
    people = models.JSONField(default=dict, editable=False)
    """At the end: `flagging.Kind` -> how many people have it; "unknown" too."""
    lease_until = models.DateTimeField(null=True, editable=False)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, editable=False
    )
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    started_at = models.DateTimeField(null=True, editable=False)
    finished_at = models.DateTimeField(null=True, editable=False)

    objects = CheckRunQuerySet.as_manager()

    class Meta:
        verbose_name = "address check"
        ordering = ["-id"]

    def __str__(self) -> str:
        return f"check of {self.list}" if self.list_id else "check of everybody"

    @property
    def is_working(self) -> bool:
        return self.status in {self.Status.QUEUED, self.Status.RUNNING}

    @property
    def share_done(self) -> float:
        """Return how many of the domains are done, from 0.0 to 1.0."""
        if self.status == self.Status.DONE:
            return 1.0
        return self.done_count / self.domain_count if self.domain_count else 0.0

    def cancel(self, now: datetime) -> None:
        """Stop; what was found out stays."""
        self.move_to(self.Status.CANCELLED, finished_at=now, lease_until=None)
