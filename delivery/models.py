"""One row per message, the journal of hand-offs, and the provider accounts."""

from __future__ import annotations

import secrets
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.core.validators import MinValueValidator
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now

from campaigns.models import Campaign
from delivery.providers import registry
from delivery.providers.base import Account, Provider
from delivery.querysets import (
    CampaignStatQuerySet,
    HandoffQuerySet,
    MessageQuerySet,
    ProviderAccountQuerySet,
)
from emailplatform.secrets import EncryptedJSONField
from emailplatform.states import StatefulModel
from subscribers.mailboxes import Mailbox
from subscribers.models import Subscriber

_COOL_FIRST = timedelta(seconds=5)
_COOL_MOST = timedelta(minutes=5)


class Stream(models.TextChoices):
    """Priority of a message (design 4.3)."""

    CRITICAL = "critical", "Critical"
    TRANSACTIONAL = "transactional", "Transactional"
    MARKETING = "marketing", "Marketing"


def _token() -> str:
    return secrets.token_urlsafe(24)


def _all_streams() -> list[str]:
    return list(Stream.values)


class ProviderAccount(models.Model):
    """One account at one provider: what it may carry, and how it is doing."""

    class Status(models.TextChoices):
        ACTIVE = "active", "Active"
        PAUSED = "paused", "Paused"

    name = models.CharField(max_length=100, unique=True)
    kind = models.CharField(max_length=20, choices=registry.CHOICES)
    status = models.CharField(max_length=10, choices=Status, default=Status.ACTIVE)
    config = models.JSONField(default=dict, blank=True)
    """By `Field.name`, what is not secret."""
    secrets = EncryptedJSONField(default=dict, blank=True)
    streams = ArrayField(
        models.CharField(max_length=20, choices=Stream), default=_all_streams, blank=True
    )
    weight = models.PositiveSmallIntegerField(
        default=100,
        validators=[MinValueValidator(1)],
        help_text="Its share of the mail, against the weights of the other accounts.",
    )
    batch_size = models.PositiveSmallIntegerField(
        null=True,
        blank=True,
        help_text="People per call; empty: as usual. A crash can leave one call in doubt.",
    )
    webhook_token = models.CharField(max_length=64, unique=True, default=_token, editable=False)
    version = models.PositiveIntegerField(default=1, editable=False)
    """Rises with every change: kept connections and signatures of older versions are dropped."""
    failures = models.PositiveSmallIntegerField(default=0, editable=False)
    """Calls in a row that were certainly not accepted."""
    cooling_until = models.DateTimeField(null=True, blank=True, editable=False)
    """Not used before: it was unavailable."""
    needs_attention = models.BooleanField(default=False, db_default=False, editable=False)
    """Its last failure is one that waiting cannot mend."""
    last_error = models.CharField(max_length=300, blank=True, editable=False)
    last_error_at = models.DateTimeField(null=True, blank=True, editable=False)
    last_heard_at = models.DateTimeField(null=True, blank=True, editable=False)
    """When its last genuine webhook came."""
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    objects = ProviderAccountQuerySet.as_manager()

    class Meta:
        ordering = ["name"]
        verbose_name = "provider"

    def __str__(self) -> str:
        return self.name

    def save(self, *args: Any, **kwargs: Any) -> None:
        if self.pk and not kwargs.get("update_fields"):
            self.version += 1
        super().save(*args, **kwargs)

    @property
    def provider(self) -> Provider:
        """The account's provider, ready to send and to read webhooks."""
        values = {**self.config, **self.secrets}
        return registry.build(self.kind, Account(id=self.pk, version=self.version, values=values))

    @property
    def webhook_url(self) -> str:
        """Where this account's provider must post its events."""
        return f"{settings.PUBLIC_URL}/api/webhooks/email/{self.kind}/{self.webhook_token}"

    @property
    def call_size(self) -> int:
        """How many people one call carries."""
        kind = registry.KINDS[self.kind]
        return min(self.batch_size or kind.default_batch, kind.max_batch)

    def pause(self) -> None:
        """Give it no more mail until it is resumed."""
        self._switch(self.Status.PAUSED)

    def resume(self) -> None:
        """Give it mail again, at once."""
        self._switch(self.Status.ACTIVE, failures=0, cooling_until=None, needs_attention=False)

    def _switch(self, status: str, **fields: Any) -> None:
        type(self).objects.filter(pk=self.pk).update(status=status, **fields)
        self.status = status

    def cool(
        self, error: str, now: datetime, wish: timedelta | None = None, *, is_fault: bool = False
    ) -> None:
        """Leave this account alone for a while: 5 s, doubling up to 5 min, or as it wishes.

        `is_fault`: waiting will not mend it (wrong key, unverified sender); somebody must look.
        """
        pause = max(wish or timedelta(0), min(_COOL_FIRST * 2 ** min(self.failures, 8), _COOL_MOST))
        type(self).objects.filter(pk=self.pk).update(
            failures=F("failures") + 1,
            cooling_until=now + pause,
            last_error=error[:300],
            last_error_at=now,
            needs_attention=is_fault,
        )

    def warm(self) -> None:
        """It accepted a call: forget the failures before."""
        rows = type(self).objects.filter(pk=self.pk, failures__gt=0)
        rows.update(failures=0, cooling_until=None, needs_attention=False)


class Handoff(StatefulModel):
    """One call to one provider for one or more messages: the send journal (design 4.1)."""

    class Status(models.TextChoices):
        PREPARING = "preparing", "Preparing"
        IN_FLIGHT = "in_flight", "In flight"
        DONE = "done", "Done"
        REFUSED = "refused", "Refused"
        UNKNOWN = "unknown", "In doubt"

    TRANSITIONS = {
        Status.PREPARING: frozenset({Status.IN_FLIGHT, Status.REFUSED, Status.DONE}),
        Status.IN_FLIGHT: frozenset({Status.DONE, Status.REFUSED, Status.UNKNOWN}),
        Status.UNKNOWN: frozenset({Status.DONE}),
    }

    provider = models.ForeignKey(ProviderAccount, models.PROTECT, db_index=False)
    campaign = models.ForeignKey(Campaign, models.CASCADE, null=True, db_index=False)
    stream = models.CharField(max_length=20, choices=Stream)
    mailbox = models.CharField(max_length=10, choices=Mailbox)
    status = models.CharField(max_length=20, choices=Status, db_default=Status.PREPARING)
    size = models.PositiveIntegerField(db_default=0)
    accepted = models.PositiveIntegerField(db_default=0)
    lease_until = models.DateTimeField()
    """Afterwards the sweeper takes its worker for dead."""
    started_at = models.DateTimeField(db_default=Now())
    in_flight_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    reason = models.JSONField(default=dict, db_default={})
    """Why this provider: candidates with their numbers, as routing saw them."""
    error = models.CharField(max_length=300, blank=True, db_default="")

    objects = HandoffQuerySet.as_manager()

    class Meta:
        verbose_name = "hand-off"
        indexes = [
            models.Index(
                fields=["lease_until"],
                name="handoff_open",
                condition=Q(status__in=["preparing", "in_flight"]),
            ),
            models.Index(fields=["campaign", "-id"], name="handoff_of_campaign"),
            models.Index(fields=["provider", "-started_at"], name="handoff_of_provider"),
        ]

    def __str__(self) -> str:
        return f"hand-off {self.pk}"


class Message(StatefulModel):
    """One mail to one person. `status` is what we did; what providers tell are timestamps."""

    class Status(models.TextChoices):
        QUEUED = "queued", "Queued"
        SENDING = "sending", "Being handed over"
        SENT = "sent", "Sent"
        FAILED = "failed", "Failed"
        UNKNOWN = "unknown", "In doubt"
        SKIPPED = "skipped", "Left out"
        CANCELLED = "cancelled", "Cancelled"
        EXPIRED = "expired", "Expired"

    TRANSITIONS = {
        Status.QUEUED: frozenset(
            {Status.SENDING, Status.SENT, Status.SKIPPED, Status.CANCELLED, Status.EXPIRED}
        ),
        Status.SENDING: frozenset({Status.SENT, Status.FAILED, Status.UNKNOWN, Status.QUEUED}),
        Status.UNKNOWN: frozenset({Status.SENT, Status.QUEUED}),
        Status.FAILED: frozenset({Status.QUEUED}),
    }

    campaign = models.ForeignKey(Campaign, models.CASCADE, null=True, db_index=False)
    subscriber = models.ForeignKey(Subscriber, models.SET_NULL, null=True)
    email = models.EmailField(max_length=320)
    address_key = models.BinaryField(max_length=32)
    stream = models.CharField(max_length=20, choices=Stream, db_default=Stream.MARKETING)
    mailbox = models.CharField(max_length=10, choices=Mailbox, db_default=Mailbox.OTHER)
    status = models.CharField(max_length=20, choices=Status, db_default=Status.QUEUED)
    due_at = models.DateTimeField(db_default=Now())
    expires_at = models.DateTimeField(null=True, blank=True)
    """Not sent later than this."""
    attempts = models.PositiveSmallIntegerField(db_default=0)
    deferrals = models.PositiveSmallIntegerField(db_default=0)
    """How often the mailbox refused it for now."""
    handoff = models.ForeignKey(Handoff, models.SET_NULL, null=True, db_index=False)
    """The last one."""
    provider = models.ForeignKey(ProviderAccount, models.PROTECT, null=True, db_index=False)
    """Which has it, or may have it."""
    provider_message_id = models.CharField(max_length=200, blank=True, db_default="")
    error = models.CharField(max_length=300, blank=True, db_default="")
    """Why it was left out, failed, or is in doubt."""
    created_at = models.DateTimeField(db_default=Now())
    sent_at = models.DateTimeField(null=True, blank=True)
    delivered_at = models.DateTimeField(null=True, blank=True)
    deferred_at = models.DateTimeField(null=True, blank=True)
    bounced_at = models.DateTimeField(null=True, blank=True)
    bounce_class = models.CharField(max_length=10, blank=True, db_default="")
    dropped_at = models.DateTimeField(null=True, blank=True)
    opened_at = models.DateTimeField(null=True, blank=True)
    """First open that was not certainly a machine's."""
    machine_opened_at = models.DateTimeField(null=True, blank=True)
    clicked_at = models.DateTimeField(null=True, blank=True)
    """First click that was not certainly a machine's."""
    machine_clicked_at = models.DateTimeField(null=True, blank=True)
    unsubscribed_at = models.DateTimeField(null=True, blank=True)
    complained_at = models.DateTimeField(null=True, blank=True)

    objects = MessageQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["campaign", "subscriber"], name="message_once"),
        ]
        indexes = [
            models.Index(
                fields=["campaign", "mailbox", "due_at", "id"],
                name="message_due",
                condition=Q(status="queued"),
            ),
            models.Index(
                fields=["handoff"], name="message_in_handoff", condition=Q(status="sending")
            ),
            models.Index(
                fields=["campaign", "status", "id"],
                name="message_problem",
                condition=Q(status__in=["failed", "unknown", "skipped", "expired"]),
            ),
        ]

    def __str__(self) -> str:
        return f"message {self.pk}"

    @property
    def token(self) -> str:
        """Our id as providers carry it and give it back."""
        return token_of(self.pk)


def token_of(message: int) -> str:
    """Return the id of a message as it travels with the mail.

    >>> token_of(255)
    'mff'
    """
    return f"m{message:x}"


def message_of(token: str) -> int | None:
    """Return the message a token names; None for what is no token of ours.

    >>> message_of("mff"), message_of("mallory")
    (255, None)
    """
    digits = token[1:]
    if not token.startswith("m") or not 0 < len(digits) <= 15:
        return None
    try:
        return int(digits, 16)
    except ValueError:
        return None


class Expansion(models.Model):
    """How far a campaign's audience has become messages: by key range, so it can resume."""

    campaign = models.OneToOneField(Campaign, models.CASCADE, primary_key=True)
    cursor = models.PositiveBigIntegerField(default=0)
    """The last person looked at, by id."""
    queued = models.PositiveIntegerField(default=0)
    done_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return f"expansion of {self.campaign_id}"


class CampaignStat(models.Model):
    """Counters of a campaign per provider, mailbox and hour: what reports add up."""

    campaign = models.ForeignKey(Campaign, models.CASCADE, db_index=False)
    provider = models.ForeignKey(ProviderAccount, models.PROTECT, db_index=False)
    mailbox = models.CharField(max_length=10, choices=Mailbox)
    hour = models.DateTimeField()
    sent = models.PositiveIntegerField(db_default=0)
    delivered = models.PositiveIntegerField(db_default=0)
    deferred = models.PositiveIntegerField(db_default=0)
    bounced = models.PositiveIntegerField(db_default=0)
    soft_bounced = models.PositiveIntegerField(db_default=0)
    dropped = models.PositiveIntegerField(db_default=0)
    opened = models.PositiveIntegerField(db_default=0)
    machine_opened = models.PositiveIntegerField(db_default=0)
    clicked = models.PositiveIntegerField(db_default=0)
    machine_clicked = models.PositiveIntegerField(db_default=0)
    unsubscribed = models.PositiveIntegerField(db_default=0)
    complained = models.PositiveIntegerField(db_default=0)

    objects = CampaignStatQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["campaign", "provider", "mailbox", "hour"], name="campaign_stat_once"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.campaign_id} at {self.hour:%Y-%m-%d %H:00}"
