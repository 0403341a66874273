"""What own events carry beyond the usual: what a conversion was worth, what somebody calls it."""

from __future__ import annotations

from django.db import models
from django.db.models import Q

from webhooks.querysets.tracked import TrackedQuerySet


class Tracked(models.Model):
    """The rest of an event that was told by a program or a page of ours, under the event's key."""

    class Via(models.TextChoices):
        KEY = "key", "a program with a key"
        TOKEN = "token", "a page with a signed token"

    event_id = models.BigIntegerField(primary_key=True)
    """No foreign key: events are written and aged out in sets."""
    campaign_id = models.BigIntegerField(null=True)
    type = models.CharField(max_length=20)
    occurred_at = models.DateTimeField()
    via = models.CharField(max_length=10, choices=Via)
    name = models.CharField(max_length=80, blank=True, db_default="")
    value = models.DecimalField(max_digits=14, decimal_places=4, null=True)
    currency = models.CharField(max_length=3, blank=True, db_default="")
    properties = models.JSONField(default=dict, db_default={})

    objects = TrackedQuerySet.as_manager()

    class Meta:
        indexes = [
            models.Index(
                fields=["campaign_id", "occurred_at"],
                name="conversion_of_campaign",
                condition=Q(type="converted"),
            ),
            models.Index(
                fields=["occurred_at"], name="conversion_when", condition=Q(type="converted")
            ),
        ]

    def __str__(self) -> str:
        return f"{self.name or self.type} ({self.event_id})"
