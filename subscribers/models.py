"""People, lists and consent."""

from __future__ import annotations

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import GinIndex
from django.core.validators import RegexValidator
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.utils import timezone

from emailplatform.states import StatefulModel
from subscribers.mailboxes import Mailbox
from subscribers.querysets import (
    ImportQuerySet,
    SubscriberQuerySet,
    SubscriptionQuerySet,
    SuppressionQuerySet,
)


class Subscriber(models.Model):
    """A person, known by one normalised address."""

    class Status(models.TextChoices):
        ACTIVE = "active", "Active"
        UNSUBSCRIBED = "unsubscribed", "Unsubscribed from everything"
        BOUNCED = "bounced", "Address does not work"
        COMPLAINED = "complained", "Reported as spam"
        BLOCKED = "blocked", "Blocked by the team"

    email = models.EmailField(max_length=320, db_collation="C")
    """Normalised by `subscribers.validating.clean_address`, so it is ASCII.

    Bytes compared as bytes: the unique index is half the work on import and also finds prefixes.
    """
    address_key = models.BinaryField(max_length=32, editable=False)
    """`secrets.address_key(email)`: how suppressions find it."""
    mailbox = models.CharField(
        max_length=10, choices=Mailbox, db_default=Mailbox.OTHER, editable=False
    )
    status = models.CharField(max_length=20, choices=Status, db_default=Status.ACTIVE)
    status_changed_at = models.DateTimeField(db_default=Now(), editable=False)
    first_name = models.CharField(max_length=100, blank=True, db_default="")
    last_name = models.CharField(max_length=100, blank=True, db_default="")
    language = models.CharField(max_length=16, blank=True, db_default="")
    time_zone = models.CharField(max_length=64, blank=True, db_default="")
    country = models.CharField(max_length=2, blank=True, db_default="")
    attributes = models.JSONField(default=dict, db_default={}, blank=True)
    """By `Attribute.name`; values are text, numbers or booleans."""
    tags = ArrayField(
        models.CharField(max_length=50), default=list, db_default=[], blank=True, size=100
    )
    soft_bounces = models.PositiveSmallIntegerField(db_default=0, default=0, editable=False)
    """Soft bounces in a row, since the last delivery."""
    engaged_at = models.DateTimeField(null=True, editable=False)
    """Last open or click that was not certainly a machine's."""
    source = models.CharField(max_length=100, blank=True, db_default="")
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    updated_at = models.DateTimeField(db_default=Now(), editable=False)

    objects = SubscriberQuerySet.as_manager()

    class Meta:
        verbose_name = "person"
        verbose_name_plural = "people"
        constraints = [
            models.UniqueConstraint(
                fields=["email"],
                name="subscriber_email_once",
                violation_error_message="There is a person with this address already.",
            ),
        ]
        indexes = [
            models.Index(fields=["-created_at", "-id"], name="subscriber_newest"),
            models.Index(fields=["address_key"], name="subscriber_address_key"),
            GinIndex(fields=["tags"], name="subscriber_tags"),
            models.Index(
                fields=["status", "-id"],
                name="subscriber_closed",
                condition=~Q(status="active"),
            ),
        ]

    def __str__(self) -> str:
        return self.email

    @property
    def full_name(self) -> str:
        return f"{self.first_name} {self.last_name}".strip()

    @property
    def is_mailable(self) -> bool:
        """May we mail this person at all, as far as the row knows? Suppressions decide too."""
        return self.status == self.Status.ACTIVE


class Attribute(models.Model):
    """A field of people beyond the usual ones: known to imports, segments and templates."""

    class Type(models.TextChoices):
        TEXT = "text"
        NUMBER = "number"
        DATE = "date"
        BOOLEAN = "boolean", "yes/no"

    name = models.CharField(
        max_length=50,
        unique=True,
        validators=[RegexValidator(r"^[a-z][a-z0-9_]*\Z", "Use a-z, 0-9 and _, a letter first.")],
        help_text="As templates write it: {{ plan }}.",
    )
    label = models.CharField(max_length=100)
    type = models.CharField(max_length=10, choices=Type, default=Type.TEXT)

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.label


class MailingList(models.Model):
    """What people sign up for."""

    name = models.CharField(max_length=100, unique=True)
    description = models.CharField(
        max_length=300, blank=True, help_text="Shown to people where they unsubscribe."
    )
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        verbose_name = "list"
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class Subscription(models.Model):
    """A person's standing on one list."""

    class Status(models.TextChoices):
        ACTIVE = "active", "Subscribed"
        PENDING = "pending", "Waiting for confirmation"
        UNSUBSCRIBED = "unsubscribed", "Unsubscribed"

    subscriber = models.ForeignKey(
        Subscriber, models.CASCADE, related_name="subscriptions", db_index=False
    )
    list = models.ForeignKey(
        MailingList, models.CASCADE, related_name="subscriptions", db_index=False
    )
    status = models.CharField(max_length=20, choices=Status, db_default=Status.ACTIVE)
    source = models.CharField(max_length=100, blank=True, db_default="")
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    changed_at = models.DateTimeField(db_default=Now(), editable=False)

    objects = SubscriptionQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["subscriber", "list"], name="subscription_once"),
        ]
        indexes = [
            models.Index(fields=["list", "status", "subscriber"], name="subscription_audience"),
        ]

    def __str__(self) -> str:
        return f"{self.subscriber_id} on {self.list_id}"


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


class Segment(models.Model):
    """A group of people described by rules; only `subscribers.segmenting` reads them."""

    name = models.CharField(max_length=100, unique=True)
    description = models.CharField(max_length=300, blank=True)
    rules = models.JSONField(default=dict)
    """{"match": "all"|"any", "rules": [{"field", "op", "value"} | nested, …]}"""
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class Import(StatefulModel):
    """One file of people: how it is read, how far it has got, what became of its rows."""

    class Status(models.TextChoices):
        MAPPING = "mapping", "Waiting for columns to be confirmed"
        QUEUED = "queued", "Waiting to start"
        RUNNING = "running", "Importing"
        PAUSED = "paused", "Paused"
        DONE = "done", "Done"
        FAILED = "failed", "Failed"
        CANCELLED = "cancelled", "Cancelled"

    class Known(models.TextChoices):
        UPDATE = "update", "Update them with what the file says"
        SKIP = "skip", "Leave them as they are"
        ADD = "add", "Only add them to the list"

    TRANSITIONS = {
        Status.MAPPING: frozenset({Status.QUEUED, Status.CANCELLED, Status.FAILED}),
        Status.QUEUED: frozenset({Status.RUNNING, Status.PAUSED, Status.CANCELLED}),
        Status.RUNNING: frozenset({Status.DONE, Status.FAILED, Status.PAUSED, Status.CANCELLED}),
        Status.PAUSED: frozenset({Status.QUEUED, Status.CANCELLED}),
    }

    status = models.CharField(max_length=20, choices=Status, default=Status.MAPPING)
    filename = models.CharField(max_length=255)
    file = models.FileField(upload_to="imports/%Y/%m/", max_length=300)
    headers = models.JSONField(default=list, editable=False)
    """Column names in order, none empty and none twice."""
    list = models.ForeignKey(MailingList, models.PROTECT, null=True, blank=True)
    encoding = models.CharField(max_length=20, blank=True)
    delimiter = models.CharField(max_length=1, blank=True)
    mapping = models.JSONField(default=dict)
    """Column header -> field ("email", "first_name", …, "attributes.plan") or "" to leave out."""
    known = models.CharField(max_length=10, choices=Known, default=Known.UPDATE)
    size = models.PositiveBigIntegerField(default=0)
    """Bytes of the file; `offset` of them are done."""
    offset = models.PositiveBigIntegerField(default=0)
    line = models.PositiveBigIntegerField(default=0)
    """Line number of the last row done, the header being line 1."""
    rows = models.PositiveIntegerField(default=0)
    """Always the sum of created, updated, unchanged, duplicate and refused rows."""
    created_count = models.PositiveIntegerField(default=0)
    updated_count = models.PositiveIntegerField(default=0)
    unchanged_count = models.PositiveIntegerField(default=0)
    """Known people of whom the file says nothing new, or who are left as they are (`known`)."""
    duplicate_count = models.PositiveIntegerField(default=0)
    """Rows whose address stood further up in the file: the first one counts."""
    refused_count = models.PositiveIntegerField(default=0)
    subscribed_count = models.PositiveIntegerField(default=0)
    """People who were not on the list before and are now."""
    unmailable_count = models.PositiveIntegerField(default=0)
    """Of those taken: who gets no mail all the same, having unsubscribed, bounced or complained."""
    reasons = models.JSONField(default=dict)
    """Reason in words -> how many rows were refused for it."""
    warnings = models.JSONField(default=dict)
    """What is odd, in words -> in how many rows; they were taken all the same."""
    error = models.CharField(max_length=500, blank=True)
    """Why the whole file failed, in one sentence."""
    lease_until = models.DateTimeField(null=True, blank=True)
    """Until when a worker owns a running import; afterwards another goes on from `offset`."""
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, editable=False
    )
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    objects = ImportQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]

    def __str__(self) -> str:
        return self.filename

    @property
    def share_done(self) -> float:
        """Return how much of the file is done, from 0.0 to 1.0."""
        if self.status == self.Status.DONE:
            return 1.0
        return min(self.offset / self.size, 1.0) if self.size else 0.0

    @property
    def is_working(self) -> bool:
        """Is it waiting for a worker or being worked on?"""
        return self.status in {self.Status.QUEUED, self.Status.RUNNING}

    def pause(self) -> None:
        """Stop after what is committed; `resume` goes on from there."""
        self.move_to(self.Status.PAUSED, lease_until=None)

    def resume(self) -> None:
        """Let a worker go on where the import stopped."""
        self.move_to(self.Status.QUEUED, lease_until=None)

    def cancel(self) -> None:
        """Stop for good. People taken so far stay; the file is deleted."""
        self.finish(self.Status.CANCELLED)

    def discard(self) -> None:
        """Undo an upload that was never confirmed: row and file."""
        self.finish(self.Status.CANCELLED)
        self.delete()

    def finish(self, status: str, error: str = "") -> None:
        """End in `status` (done, failed, cancelled) and let go of the file: it holds addresses."""
        self.move_to(status, finished_at=timezone.now(), lease_until=None, error=error[:500])
        SeenAddress.objects.filter(source_id=self.pk).delete()
        self.file.delete(save=False)


class SeenAddress(models.Model):
    """An address a running import has met: how a row further down is known for a repetition."""

    pk = models.CompositePrimaryKey("source_id", "key")
    # Rows live no longer than a run and are written by it alone: checking each costs a tenth of it.
    source = models.ForeignKey(
        Import, models.CASCADE, related_name="+", db_index=False, db_constraint=False
    )
    key = models.BinaryField(max_length=16)
    """The first half of `address_key`."""

    def __str__(self) -> str:
        return f"{self.source_id}: {bytes(self.key).hex()}"


class RefusedRow(models.Model):
    """A row of an import that was not taken, and why: the error file is made from these."""

    source = models.ForeignKey(Import, models.CASCADE, related_name="refused")
    line = models.PositiveBigIntegerField()
    reason = models.CharField(max_length=300)
    content = models.CharField(max_length=500)
    """The row as it stood, clipped."""

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["source", "line"], name="refused_row_once"),
        ]

    def __str__(self) -> str:
        return f"line {self.line}: {self.reason}"
