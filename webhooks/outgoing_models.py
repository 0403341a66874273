"""Endpoints of others, what they are told, and every try to tell it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from campaigns.models import Campaign
from delivery.models import Stream
from delivery.providers.base import EventType
from emailplatform import posting
from emailplatform.errors import InvalidInput
from emailplatform.secrets import EncryptedJSONField
from webhooks.querysets.outgoing import DeliveryQuerySet, EndpointQuerySet, HorizonQuerySet

MOST_SECRETS = 3
"""Valid at a time: the newest, and those that sign along while a receiver changes over."""


class Endpoint(models.Model):
    """An address of somebody else's that is told of events, signed (Standard Webhooks)."""

    name = models.CharField(max_length=100, unique=True)
    url = models.CharField("address", max_length=2000)
    types = ArrayField(
        models.CharField(max_length=20, choices=[(each.value, each.value) for each in EventType]),
        default=list,
        db_default=[],
        blank=True,
    )
    """Empty: every type."""
    campaign = models.ForeignKey(
        Campaign,
        models.CASCADE,
        null=True,
        blank=True,
        related_name="+",
        help_text="Only what concerns this campaign. Empty: all mail.",
    )
    stream = models.CharField(
        max_length=20,
        choices=Stream,
        blank=True,
        db_default="",
        help_text="Only mail of this stream. Empty: all mail.",
    )
    secrets = EncryptedJSONField(default=list, editable=False)
    """[{"secret": "whsec_…", "made_at": iso}], the newest first; all of them sign."""
    is_enabled = models.BooleanField("enabled", default=True, db_default=True, editable=False)
    disabled_at = models.DateTimeField(null=True, blank=True, editable=False)
    disabled_reason = models.CharField(max_length=300, blank=True, db_default="", editable=False)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, editable=False
    )
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    fed_id = models.BigIntegerField(default=0, editable=False)
    """The number of the last event that was looked at for it."""
    failures = models.PositiveSmallIntegerField(db_default=0, editable=False)
    """In a row."""
    failing_since = models.DateTimeField(null=True, blank=True, editable=False)
    last_success_at = models.DateTimeField(null=True, blank=True, editable=False)
    last_failure_at = models.DateTimeField(null=True, blank=True, editable=False)
    last_error = models.CharField(max_length=300, blank=True, db_default="", editable=False)
    held_until = models.DateTimeField(null=True, blank=True, editable=False)
    """Not called before: it asked for a pause, or fails again and again."""

    objects = EndpointQuerySet.as_manager()

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name

    @property
    def target(self) -> posting.Endpoint:
        """Where to post, with every secret that signs."""
        newest, *older = [each["secret"] for each in self.secrets]
        return posting.Endpoint(self.url, newest, tuple(older))

    def add_secret(self, now: datetime) -> str:
        """Add a new secret, which is not saved yet, and return it. The others sign along."""
        if len(self.secrets) >= MOST_SECRETS:
            raise InvalidInput(
                f"{MOST_SECRETS} secrets are valid already: drop the oldest first.", param="secret"
            )
        secret = posting.make_secret()
        self.secrets = [{"secret": secret, "made_at": now.isoformat()}, *self.secrets]
        return secret

    def drop_older_secrets(self) -> int:
        """Keep the newest secret only, without saving; return how many were dropped."""
        dropped = max(len(self.secrets) - 1, 0)
        self.secrets = self.secrets[:1]
        return dropped

    @property
    def secret_ends(self) -> list[dict[str, Any]]:
        """The secrets as they may be shown: their last four characters, and since when."""
        return [
            {"end": each["secret"][-4:], "made_at": datetime.fromisoformat(each["made_at"])}
            for each in self.secrets
        ]


class Delivery(models.Model):
    """One event for one endpoint: kept until it is taken, or given up."""

    class Status(models.TextChoices):
        PENDING = "pending", "Waiting"
        DELIVERED = "delivered", "Delivered"
        FAILED = "failed", "Given up"

    endpoint = models.ForeignKey(Endpoint, models.CASCADE, related_name="deliveries")
    event_id = models.BigIntegerField(null=True, blank=True)
    """No foreign key: events are kept by other rules. NULL: a test."""
    type = models.CharField(max_length=20)
    status = models.CharField(max_length=10, choices=Status, db_default=Status.PENDING)
    attempts = models.PositiveSmallIntegerField(db_default=0)
    due_at = models.DateTimeField(db_default=Now())
    leased_until = models.DateTimeField(null=True, blank=True)
    """While it is being posted; after that its worker is taken for dead."""
    created_at = models.DateTimeField(db_default=Now())
    ended_at = models.DateTimeField(null=True, blank=True)
    last_status = models.PositiveSmallIntegerField(db_default=0)
    """What HTTP status was answered last; 0: none."""
    last_error = models.CharField(max_length=300, blank=True, db_default="")

    objects = DeliveryQuerySet.as_manager()

    class Meta:
        verbose_name_plural = "deliveries"
        constraints = [
            models.UniqueConstraint(fields=["endpoint", "event_id"], name="delivery_once"),
        ]
        indexes = [
            models.Index(
                fields=["endpoint", "due_at", "id"],
                name="delivery_due",
                condition=Q(status="pending"),
            ),
            models.Index(
                fields=["endpoint", "leased_until"],
                name="delivery_under_way",
                condition=Q(status="pending", leased_until__isnull=False),
            ),
            models.Index(fields=["endpoint", "-id"], name="delivery_of_endpoint"),
            models.Index(
                fields=["endpoint", "-id"], name="delivery_given_up", condition=Q(status="failed")
            ),
            models.Index(
                fields=["ended_at"], name="delivery_ended", condition=Q(ended_at__isnull=False)
            ),
        ]

    def __str__(self) -> str:
        return self.uid

    @property
    def uid(self) -> str:
        """The `webhook-id`: the same with every try and every replay."""
        return uid_of(self.pk, self.event_id)


def uid_of(delivery: int, event: int | None) -> str:
    """Return the `webhook-id` of an event, or of a test.

    >>> uid_of(3, 12), uid_of(3, None)
    ('evt_12', 'test_3')
    """
    return f"test_{delivery}" if event is None else f"evt_{event}"


class DeliveryTry(models.Model):
    """One POST: when, what was answered, how long it took."""

    delivery = models.ForeignKey(Delivery, models.CASCADE, related_name="tries")
    at = models.DateTimeField()
    status = models.PositiveSmallIntegerField()
    """0: there was no answer."""
    took_ms = models.PositiveIntegerField()
    answer = models.TextField(blank=True)
    """The first 2 KB."""
    error = models.CharField(max_length=300, blank=True)

    class Meta:
        verbose_name_plural = "delivery tries"

    def __str__(self) -> str:
        return f"{self.status} {self.at:%Y-%m-%d %H:%M:%S}"


class Horizon(models.Model):
    """One row: up to which number no event will come up any more (`HorizonQuerySet.settled`)."""

    settled = models.BigIntegerField(default=0)
    seen = models.BigIntegerField(default=0)
    writers = ArrayField(models.TextField(), default=list, db_default=[])

    objects = HorizonQuerySet.as_manager()

    def __str__(self) -> str:
        return str(self.settled)
