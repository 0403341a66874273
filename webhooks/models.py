"""What providers told us: the raw requests, the events read from them, and counters."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.contrib.postgres.indexes import BrinIndex
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from delivery.models import ProviderAccount, token_of
from delivery.providers.base import Heard, WebhookRequest
from emailplatform.states import StatefulModel
from webhooks import believing
from webhooks.outgoing_models import Delivery, DeliveryTry, Endpoint, Horizon
from webhooks.querysets import (
    AnonymousCountQuerySet,
    EventQuerySet,
    LogPositionQuerySet,
    MailboxPositionQuerySet,
    QueueIdQuerySet,
    RawRequestQuerySet,
    SightingQuerySet,
    SilenceQuerySet,
    WebhookCountQuerySet,
)
from webhooks.quiet_models import QuietAccount
from webhooks.tracked_models import Tracked

__all__ = [
    "Delivery",
    "DeliveryTry",
    "Endpoint",
    "Event",
    "Horizon",
    "QuietAccount",
    "RawRequest",
    "Silence",
    "Tracked",
    "WebhookCount",
]


class RawRequest(StatefulModel):
    """A verified POST of a provider, or a mail that came back, exactly as it came.

    Stored before it is understood.
    """

    class Status(models.TextChoices):
        PENDING = "pending", "Waiting"
        APPLIED = "applied", "Applied"
        FAILED = "failed", "Could not be applied"
        UNPARSABLE = "unparsable", "Not understood"

    TRANSITIONS = {
        Status.PENDING: frozenset({Status.APPLIED, Status.FAILED, Status.UNPARSABLE}),
        Status.APPLIED: frozenset({Status.PENDING}),
        Status.FAILED: frozenset({Status.PENDING}),
        Status.UNPARSABLE: frozenset({Status.PENDING}),
    }

    account = models.ForeignKey(ProviderAccount, models.CASCADE, db_index=False)
    status = models.CharField(max_length=20, choices=Status, db_default=Status.PENDING)
    headers = models.JSONField(default=dict, db_default={})
    """Lower-case names; without credentials."""
    body = models.BinaryField()
    replay_key = models.CharField(max_length=100, null=True, blank=True)  # noqa: DJ001
    """A provider's single-use token, unique per account: NULL where there is none."""
    is_late = models.BooleanField(db_default=False)
    received_at = models.DateTimeField(db_default=Now())
    due_at = models.DateTimeField(db_default=Now())
    attempts = models.PositiveSmallIntegerField(db_default=0)
    applied_at = models.DateTimeField(null=True, blank=True)
    error = models.TextField(blank=True, db_default="")
    traceback = models.TextField(blank=True, db_default="")
    """Where our code failed with it."""

    objects = RawRequestQuerySet.as_manager()

    class Meta:
        verbose_name = "incoming webhook"
        constraints = [
            # Most have no such key, and then no entry here: one less to write, twice a request.
            models.UniqueConstraint(
                fields=["account", "replay_key"],
                name="raw_request_once",
                condition=Q(replay_key__isnull=False),
            ),
        ]
        indexes = [
            models.Index(
                fields=["due_at", "id"], name="raw_request_due", condition=Q(status="pending")
            ),
            models.Index(
                fields=["-id"],
                name="raw_request_dead",
                condition=Q(status__in=["failed", "unparsable"]),
            ),
        ]

    def __str__(self) -> str:
        return f"webhook {self.pk}"

    def read(self) -> Heard:
        """Return its events in our words, and what was not understood. Raises Unparsable."""
        came = WebhookRequest(self.headers, bytes(self.body), self.received_at)
        return believing.read(self.account, came)

    def replay(self, now: datetime) -> None:
        """Put it back in line. Events we know already are not applied again."""
        self.move_to(self.Status.PENDING, due_at=now, attempts=0, error="")


class Event(models.Model):
    """One thing that happened to one message, in our words; told twice, stored once."""

    class Standing(models.TextChoices):
        """What it is to the message that it names."""

        OWN = "", "About our mail"
        COPY = "copy", "About a copy"
        ORPHAN = "orphan", "Orphan: we have no such mail"
        FOREIGN = "foreign", "About mail of others"
        UNNAMED = "unnamed", "Names no mail of ours"

    account = models.ForeignKey(ProviderAccount, models.CASCADE, null=True, db_index=False)
    """NULL for what we saw ourselves: an unsubscribe page, later our own tracking."""
    dedupe_key = models.CharField(max_length=200)
    type = models.CharField(max_length=20)
    """A `delivery.providers.base.EventType`."""
    occurred_at = models.DateTimeField()
    message_id = models.BigIntegerField(null=True, blank=True)
    """Our message; no foreign key, since events may come first and stay longest."""
    campaign_id = models.BigIntegerField(null=True, blank=True)
    subscriber_id = models.BigIntegerField(null=True, blank=True)
    recipient = models.CharField(max_length=320, db_default="")
    provider_message_id = models.CharField(max_length=200, blank=True, db_default="")
    url = models.TextField(blank=True, db_default="")
    ip = models.GenericIPAddressField(null=True, blank=True)
    user_agent = models.CharField(max_length=500, blank=True, db_default="")
    is_machine = models.BooleanField(null=True, blank=True)
    """Of opens and clicks: a machine's, a person's, or None: unsure."""
    machine_reason = models.CharField(max_length=20, blank=True, db_default="")
    """Why, as a code of `webhooks.classifying`."""
    machine_told = models.BooleanField(null=True, blank=True)
    """What whoever told the event says itself; None: nothing."""
    machine_rules = models.PositiveSmallIntegerField(db_default=0)
    """Which edition of our rules judged it; 0: before there were any."""
    bounce_class = models.CharField(max_length=10, blank=True, db_default="")
    reason = models.CharField(max_length=500, blank=True, db_default="")
    complaint_type = models.CharField(max_length=20, blank=True, db_default="")
    country = models.CharField(max_length=2, blank=True, db_default="")
    device = models.CharField(max_length=10, blank=True, db_default="")
    client = models.CharField(max_length=40, blank=True, db_default="")
    """The program that reads mail; empty for a browser."""
    browser = models.CharField(max_length=40, blank=True, db_default="")
    os = models.CharField(max_length=30, blank=True, db_default="")
    standing = models.CharField(max_length=10, choices=Standing, blank=True, db_default="")
    received_at = models.DateTimeField(db_default=Now())
    request_id = models.BigIntegerField(null=True, blank=True)
    """The RawRequest it was read from."""

    objects = EventQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["account", "dedupe_key"], name="event_once", nulls_distinct=False
            ),
        ]
        indexes = [
            models.Index(fields=["message_id", "occurred_at"], name="event_of_message"),
            models.Index(fields=["subscriber_id", "-occurred_at"], name="event_of_person"),
            models.Index(fields=["campaign_id", "type", "-id"], name="event_of_campaign"),
            # When it came to us, which is the order of the table: ranges of pages will do.
            BrinIndex(
                fields=["received_at"],
                name="event_received",
                autosummarize=True,
                pages_per_range=32,
            ),
            models.Index(
                fields=["ip", "occurred_at"],
                name="event_of_visitor",
                condition=Q(type="clicked", ip__isnull=False, message_id__isnull=False),
            ),
            models.Index(
                fields=["-id"],
                name="event_unmatched",
                condition=Q(standing__in=["orphan", "foreign"]),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.type} {self.occurred_at:%Y-%m-%d %H:%M}"

    @property
    def verdict(self) -> str | None:
        """Whose an open or a click was: person, machine or unsure; None of anything else."""
        if self.type not in ("opened", "clicked"):
            return None
        return {True: "machine", False: "person", None: "unsure"}[self.is_machine]

    @property
    def message_token(self) -> str | None:
        """The id of its message, as the API has it."""
        return token_of(self.message_id) if self.message_id else None

    @property
    def raw(self) -> Mapping[str, Any]:
        """What the provider said, read again from its request; empty once that is deleted.

        Not stored a second time: it would be a fifth of the cost of applying an event.
        """
        request = RawRequest.objects.filter(pk=self.request_id or 0).first()
        events = request.read()[0] if request else []
        return next((each.raw for each in events if each.dedupe_key == self.dedupe_key), {})


class Sighting(models.Model):
    """Somebody opened a mail or followed a link of ours: noted in one INSERT, an event soon after.

    Rows live for seconds: `crediting` turns them into events and takes them away.
    """

    message_id = models.BigIntegerField(null=True)
    """NULL: of a campaign that counts without telling people apart."""
    campaign_id = models.BigIntegerField(null=True)
    number = models.SmallIntegerField(null=True)
    """Of the link; NULL: the pixel."""
    url = models.TextField(db_default="")
    """Where a link led that carries its address."""
    ip = models.GenericIPAddressField(null=True)
    user_agent = models.CharField(max_length=500, db_default="")
    device = models.CharField(max_length=10, db_default="")
    is_machine = models.BooleanField(null=True)
    """As the request itself tells: of a named message it is judged later, with what is around."""
    reason = models.CharField(max_length=50, db_default="")
    seen_at = models.DateTimeField(db_default=Now())
    is_aside = models.BooleanField(default=False, db_default=False)
    """Our code fails with it: the others go on without it."""

    objects = SightingQuerySet.as_manager()

    def __str__(self) -> str:
        return f"sighting {self.pk}"


class AnonymousCount(models.Model):
    """How often the mails of a campaign were opened in one hour, or a link in them was followed.

    Times, not people: where nobody is told apart, nobody can be counted once.
    """

    campaign_id = models.BigIntegerField()
    number = models.SmallIntegerField()
    """Of the link; OPENS: the pixel."""
    hour = models.DateTimeField()
    people = models.PositiveIntegerField(default=0)
    """Not certainly a machine's."""
    machines = models.PositiveIntegerField(default=0)

    OPENS = -1

    objects = AnonymousCountQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["campaign_id", "number", "hour"], name="anonymous_count_once"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.people} and {self.machines}"


class Silence(models.Model):
    """What was sent in one hour by one account over one lane, and of how much nothing was told."""

    account = models.ForeignKey(ProviderAccount, models.CASCADE, db_index=False)
    stream = models.CharField(max_length=20)
    mailbox = models.CharField(max_length=10)
    hour = models.DateTimeField()
    sent = models.PositiveIntegerField()
    silent = models.PositiveIntegerField()

    objects = SilenceQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["hour", "account", "stream", "mailbox"], name="silence_once"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.silent} of {self.sent}"


class WebhookCount(models.Model):
    """How many requests of one outcome an account's URL got in one hour, or events in them."""

    class Outcome(models.TextChoices):
        STORED = "stored", "Stored"
        FORGED = "forged", "Refused as forged"
        LATE = "late", "Genuine but late"
        REPEATED = "repeated", "Sent again"
        UNPARSABLE = "unparsable", "Not understood"
        APPLIED = "applied", "Applied"
        FAILED = "failed", "Could not be applied"
        EVENTS = "events", "Events told"
        NEW = "new", "Events told for the first time"

    account = models.ForeignKey(ProviderAccount, models.CASCADE, null=True, db_index=False)
    outcome = models.CharField(max_length=20, choices=Outcome)
    hour = models.DateTimeField()
    requests = models.PositiveIntegerField(default=0)

    objects = WebhookCountQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["account", "outcome", "hour"],
                name="webhook_count_once",
                nulls_distinct=False,
            ),
        ]

    def __str__(self) -> str:
        return f"{self.requests} {self.outcome}"


class LogPosition(models.Model):
    """How far the log of a mail server was read (`webhooks.following.Place`)."""

    path = models.CharField(max_length=500, unique=True)
    inode = models.PositiveBigIntegerField(default=0)
    offset = models.PositiveBigIntegerField(default=0)
    head = models.CharField(max_length=32, blank=True, default="")
    read_at = models.DateTimeField(null=True, blank=True)

    objects = LogPositionQuerySet.as_manager()

    def __str__(self) -> str:
        return self.path


class MailboxPosition(models.Model):
    """How far a mailbox of bounces was fetched."""

    name = models.CharField(max_length=500, unique=True)
    uid_validity = models.PositiveBigIntegerField(default=0)
    """When it changes, the server has given all mails other numbers."""
    last_uid = models.PositiveBigIntegerField(default=0)
    fetched_at = models.DateTimeField(null=True, blank=True)

    objects = MailboxPositionQuerySet.as_manager()

    def __str__(self) -> str:
        return self.name


class QueueId(models.Model):
    """Which mail of ours a mail server means by a queue id, while it has it.

    Kept, since the lines of one mail may be days and restarts apart.
    """

    key = models.CharField(max_length=150, unique=True)
    """Host, name of the service, queue id."""
    message_id = models.BigIntegerField()
    waiting_for = models.CharField(max_length=320, blank=True, db_default="")
    """The recipient whose server has put it off: of whom it is when it expires."""
    said = models.CharField(max_length=300, blank=True, db_default="")
    seen_at = models.DateTimeField(db_default=Now())

    objects = QueueIdQuerySet.as_manager()

    class Meta:
        indexes = [models.Index(fields=["seen_at"], name="queue_id_seen")]

    def __str__(self) -> str:
        return self.key
