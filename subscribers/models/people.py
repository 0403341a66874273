"""People, and what is known of them beyond the usual."""

from __future__ import annotations

from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import GinIndex, HashIndex
from django.core.validators import RegexValidator
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from subscribers.mailboxes import Mailbox
from subscribers.querysets import SubscriberQuerySet, domain_of


class Subscriber(models.Model):
    """A person, known by one normalised address."""

    class Status(models.TextChoices):
        ACTIVE = "active", "Active"
        PENDING = "pending", "Has not confirmed yet"
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
    paused_until = models.DateTimeField(null=True, editable=False)
    """No campaigns until then: the person asked for a rest."""
    days_between = models.PositiveSmallIntegerField(db_default=0, default=0, editable=False)
    """At most one campaign in so many days, as the person chose; 0: all of them."""
    source = models.CharField(max_length=100, blank=True, db_default="")
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    updated_at = models.DateTimeField(db_default=Now(), editable=False)

    objects = SubscriberQuerySet.as_manager()

    class Meta:
        verbose_name = "person"
        verbose_name_plural = "people"
        permissions = [
            ("erase_subscriber", "Can export and erase all that is held on a person"),
            ("export_subscriber", "Can take people out as a file"),
        ]
        constraints = [
            models.UniqueConstraint(
                fields=["email"],
                name="subscriber_email_once",
                violation_error_message="There is a person with this address already.",
            ),
        ]
        indexes = [
            models.Index(fields=["-created_at", "-id"], name="subscriber_newest"),
            # Half the size of a tree and a third of its cost: keys are as good as random.
            HashIndex(fields=["address_key"], name="subscriber_key"),
            # Only of those who have any; who looks for a tag says so.
            GinIndex(fields=["tags"], name="subscriber_tagged", condition=~Q(tags=[])),
            models.Index(domain_of(), name="subscriber_domain"),
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
