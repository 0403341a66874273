"""One row per message, and the journal of the calls that carried them."""

from __future__ import annotations

from django.contrib.postgres.indexes import BrinIndex
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from campaigns.models import Campaign
from delivery.models.accounts import ProviderAccount
from delivery.models.streams import Stream
from delivery.models.types import MessageType
from delivery.querysets import HandoffQuerySet, MessageQuerySet
from emailplatform.states import StatefulModel
from subscribers.mailboxes import Mailbox
from subscribers.models import Subscriber


class Handoff(StatefulModel):
    """One call to one provider for one or more messages: the send journal (design 4.1)."""

    class Status(models.TextChoices):
        PREPARING = "preparing", "Preparing"
        IN_FLIGHT = "in_flight", "In flight"
        DONE = "done", "Done"
        REFUSED = "refused", "Refused"
        UNKNOWN = "unknown", "In doubt"

    class Trouble(models.TextChoices):
        """What the provider's answer to a whole call was, if it was not taken."""

        REJECTED = "rejected", "The mail was refused for good"
        UNAVAILABLE = "unavailable", "The provider was not there"
        THROTTLED = "throttled", "The provider wanted less at a time"
        ACCOUNT = "account", "The account may not send"
        SILENT = "silent", "No answer came"

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
    trouble = models.CharField(max_length=12, choices=Trouble, blank=True, db_default="")

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

    class Fault(models.TextChoices):
        """What is wrong with a message that failed: the class of its error."""

        ADDRESS = "address", "The address"
        CONTENT = "content", "The mail itself"
        TEMPLATE = "template", "The template"
        MAILBOX = "mailbox", "A mailbox that kept refusing"
        OTHER = "other", "Something else"

    TRANSITIONS = {
        Status.QUEUED: frozenset(
            {Status.SENDING, Status.SENT, Status.SKIPPED, Status.CANCELLED, Status.EXPIRED}
        ),
        Status.SENDING: frozenset({Status.SENT, Status.FAILED, Status.UNKNOWN, Status.QUEUED}),
        Status.UNKNOWN: frozenset({Status.SENT, Status.QUEUED}),
        Status.FAILED: frozenset({Status.QUEUED}),
        Status.EXPIRED: frozenset({Status.QUEUED}),
    }

    campaign = models.ForeignKey(Campaign, models.CASCADE, null=True, db_index=False)
    """None: sent by API; then it has a `Mail`."""
    subscriber = models.ForeignKey(Subscriber, models.SET_NULL, null=True)
    email = models.EmailField(max_length=320)
    address_key = models.BinaryField(max_length=32)
    stream = models.CharField(max_length=20, choices=Stream, db_default=Stream.MARKETING)
    mailbox = models.CharField(max_length=10, choices=Mailbox, db_default=Mailbox.OTHER)
    route = models.IntegerField(db_default=0)
    """See `delivery.lanes.Lane`."""
    type = models.ForeignKey(MessageType, models.SET_NULL, null=True, db_index=False)
    status = models.CharField(max_length=20, choices=Status, db_default=Status.QUEUED)
    due_at = models.DateTimeField(db_default=Now())
    wanted_at = models.DateTimeField(null=True, blank=True)
    """From when on it should be on its way; unlike `due_at` it never moves. Of single mail."""
    expires_at = models.DateTimeField(null=True, blank=True)
    """Not sent later than this."""
    attempts = models.PositiveSmallIntegerField(db_default=0)
    deferrals = models.PositiveSmallIntegerField(db_default=0)
    """How often the mailbox refused it for now."""
    doubts = models.PositiveSmallIntegerField(db_default=0)
    """How often it was sent again by itself because nobody knew whether it had been sent."""
    handoff = models.ForeignKey(
        Handoff, models.SET_NULL, null=True, db_index=False, db_constraint=False
    )
    """The last one."""
    provider = models.ForeignKey(
        ProviderAccount, models.PROTECT, null=True, db_index=False, db_constraint=False
    )
    """Which has it, or may have it.

    Neither is checked by the database, which would take a quarter of what a claim costs: both are
    set by the statement that makes the hand-off, and that one's own key to the provider is checked.
    """
    provider_message_id = models.CharField(max_length=200, blank=True, db_default="")
    error = models.CharField(max_length=300, blank=True, db_default="")
    """Why it was left out, failed, or is in doubt."""
    fault = models.CharField(max_length=10, choices=Fault, blank=True, db_default="")
    """Of one that failed."""
    created_at = models.DateTimeField(db_default=Now())
    sent_at = models.DateTimeField(null=True, blank=True)
    delivered_at = models.DateTimeField(null=True, blank=True)
    deferred_at = models.DateTimeField(null=True, blank=True)
    bounced_at = models.DateTimeField(null=True, blank=True)
    bounce_class = models.CharField(max_length=10, blank=True, db_default="")
    dropped_at = models.DateTimeField(null=True, blank=True)
    opened_at = models.DateTimeField(null=True, blank=True)
    """First open that was not certainly a machine's."""
    person_opened_at = models.DateTimeField(null=True, blank=True)
    """First open that was a person's, as far as can be told."""
    machine_opened_at = models.DateTimeField(null=True, blank=True)
    clicked_at = models.DateTimeField(null=True, blank=True)
    """First click that was not certainly a machine's."""
    person_clicked_at = models.DateTimeField(null=True, blank=True)
    """First click that was a person's, as far as can be told."""
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
                fields=["campaign", "mailbox", "route", "due_at", "id"],
                name="message_due",
                condition=Q(status="queued", campaign__isnull=False),
            ),
            models.Index(
                fields=["stream", "mailbox", "route", "due_at", "id"],
                name="mail_due",
                condition=Q(status="queued", campaign__isnull=True),
            ),
            models.Index(
                fields=["expires_at"],
                name="message_expires",
                condition=Q(status="queued", expires_at__isnull=False),
            ),
            models.Index(
                fields=["address_key", "-id"],
                name="mail_to_address",
                condition=Q(campaign__isnull=True),
            ),
            models.Index(
                fields=["address_key"],
                name="message_erased",
                condition=Q(subscriber__isnull=True, campaign__isnull=False),
            ),
            models.Index(fields=["id"], name="mail_newest", condition=Q(campaign__isnull=True)),
            models.Index(
                fields=["id"],
                name="mail_cancelled",
                condition=Q(campaign__isnull=True, status="cancelled"),
            ),
            models.Index(
                fields=["stream", "id"], name="mail_of_stream", condition=Q(campaign__isnull=True)
            ),
            models.Index(
                fields=["type", "id"], name="mail_of_type", condition=Q(campaign__isnull=True)
            ),
            models.Index(
                fields=["provider", "id"],
                name="mail_of_provider",
                condition=Q(campaign__isnull=True),
            ),
            # What was sent when: costs next to nothing, since it knows ranges of pages only.
            BrinIndex(fields=["sent_at"], name="message_sent", autosummarize=True),
            models.Index(
                fields=["handoff"], name="message_in_handoff", condition=Q(status="sending")
            ),
            models.Index(
                fields=["campaign", "status", "id"],
                name="message_problem",
                condition=Q(status__in=["failed", "unknown", "skipped", "expired"]),
            ),
            models.Index(
                fields=["type", "wanted_at"],
                name="mail_promised",
                condition=Q(type__isnull=False),
            ),
            models.Index(
                fields=["-id"],
                name="dead_letter",
                include=["status", "fault", "campaign", "provider", "stream", "type"],
                condition=Q(status__in=["failed", "expired"]),
            ),
        ]

    def __str__(self) -> str:
        return f"message {self.token}"

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
