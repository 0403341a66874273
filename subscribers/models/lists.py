"""Lists, who is on them, and segments."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from subscribers import flagging
from subscribers.flagging import Kind
from subscribers.models.people import Subscriber
from subscribers.querysets import MailingListQuerySet, SubscriptionQuerySet


class MailingList(models.Model):
    """What people sign up for."""

    name = models.CharField(max_length=100, unique=True)
    description = models.CharField(
        max_length=300, blank=True, help_text="Shown to people where they unsubscribe."
    )
    double_opt_in = models.BooleanField(
        "ask for confirmation",
        default=False,
        db_default=False,
        help_text="Whoever signs up gets a mail with a link, and is on the list once they have "
        "pressed its button. Imports ask nobody.",
    )
    is_open = models.BooleanField(
        "open to all",
        default=False,
        db_default=False,
        help_text="Anybody may join it on their preference page.",
    )
    address_policy = models.JSONField(default=dict, db_default={}, blank=True)
    """`flagging.Kind` -> `flagging.Policy`, where it is not the usual one."""
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    objects = MailingListQuerySet.as_manager()

    class Meta:
        verbose_name = "list"
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name

    @property
    def policies(self) -> dict[str, str]:
        """What it does with flagged addresses: `flagging.Kind` -> `flagging.Policy`, all kinds."""
        usual = {kind.value: policy.value for kind, policy in flagging.DEFAULTS.items()}
        return {**usual, **self.address_policy}


class Subscription(models.Model):
    """A person's standing on one list.

    That both are there is checked by a trigger, once per statement: the foreign keys of the
    database do it row by row, which was a third of what an import costs.
    """

    class Status(models.TextChoices):
        ACTIVE = "active", "Subscribed"
        PENDING = "pending", "Waiting for confirmation"
        HELD = "held", "Held: something is wrong with the address"
        UNSUBSCRIBED = "unsubscribed", "Unsubscribed"

    subscriber = models.ForeignKey(
        Subscriber,
        models.CASCADE,
        related_name="subscriptions",
        db_index=False,
        db_constraint=False,
    )
    list = models.ForeignKey(
        MailingList,
        models.CASCADE,
        related_name="subscriptions",
        db_index=False,
        db_constraint=False,
    )
    status = models.CharField(max_length=20, choices=Status, db_default=Status.ACTIVE)
    held_for = models.CharField(max_length=10, choices=Kind, blank=True, db_default="")
    """What spoke against the address when it was held."""
    cleared_at = models.DateTimeField(null=True, blank=True)
    """When somebody looked and let it be mailed: no check holds it again."""
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
            models.Index(
                fields=["subscriber"], name="subscription_held", condition=Q(status="held")
            ),
            models.Index(
                fields=["-id"], name="subscription_held_newest", condition=Q(status="held")
            ),
        ]

    def __str__(self) -> str:
        return f"{self.subscriber_id} on {self.list_id}"


class HeldSubscription(Subscription):
    """A subscription held back: what somebody should look at."""

    class Meta:
        proxy = True
        verbose_name = "held address"
        verbose_name_plural = "held addresses"


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
