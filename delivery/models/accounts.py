"""The accounts at providers: what each may carry, and how it is doing."""

from __future__ import annotations

import secrets
from typing import Any

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.core.validators import MinValueValidator
from django.db import models
from django.db.models.functions import Now
from django.utils.text import slugify

from delivery.models.rules import covers, is_pattern
from delivery.models.streams import Stream
from delivery.providers import hearing, registry
from delivery.providers.base import Account, Provider
from delivery.querysets import ProviderAccountQuerySet
from emailplatform.secrets import CannotDecrypt, EncryptedJSONField

LONGEST_WEBHOOK_NAME = 30
"""Of a name in a webhook address; what is longer there is a token."""


def _token() -> str:
    return secrets.token_urlsafe(24)


def _all_streams() -> list[str]:
    return list(Stream.values)


class ProviderAccount(models.Model):
    """One account at one provider: what it may carry, and how it is doing."""

    class Status(models.TextChoices):
        ACTIVE = "active", "Active"
        PAUSED = "paused", "Paused"

    class Circuit(models.TextChoices):
        """The breaker's: whether mail flows. Moved by `delivery.breaking` alone."""

        CLOSED = "closed", "Closed: mail flows"
        OPEN = "open", "Open: left alone"
        HALF_OPEN = "half_open", "Half open: one call at a time tries it"

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
    cost_per_1000 = models.DecimalField(
        "cost of 1,000 mails",
        max_digits=10,
        decimal_places=4,
        null=True,
        blank=True,
        validators=[MinValueValidator(0)],
        help_text="In any currency, the same for all. Empty: not known, counts as the mean.",
    )
    region = models.CharField(
        max_length=40,
        blank=True,
        db_default="",
        help_text="Where it works, as REGION says where we are. Empty: anywhere.",
    )
    sending_domains = ArrayField(
        models.CharField(max_length=253, validators=[is_pattern]),
        default=list,
        db_default=[],
        blank=True,
        help_text="The domains it may send from, as verified there, such as example.com or "
        "*.example.com. Empty: any.",
    )
    batch_size = models.PositiveSmallIntegerField(
        null=True,
        blank=True,
        help_text="People per call; empty: as usual. A crash can leave one call in doubt.",
    )
    limit_per_second = models.PositiveIntegerField(
        null=True,
        blank=True,
        validators=[MinValueValidator(1)],
        help_text="Messages per second that it may be given; empty: as many as it takes.",
    )
    limit_per_hour = models.PositiveIntegerField(
        null=True, blank=True, validators=[MinValueValidator(1)], help_text="The same per hour."
    )
    limit_per_day = models.PositiveIntegerField(
        null=True,
        blank=True,
        validators=[MinValueValidator(1)],
        help_text="Its quota. The day ends at midnight UTC.",
    )
    lane_limits = models.JSONField(default=dict, db_default={}, blank=True)
    """{"gmail": "20/sec", "marketing gmail": "600/hour"}: limits per mailbox provider, or per
    stream and mailbox provider."""
    webhook_token = models.CharField(max_length=64, unique=True, default=_token, editable=False)
    version = models.PositiveIntegerField(default=1, editable=False)
    """Rises with every change: kept connections and signatures of older versions are dropped."""
    circuit = models.CharField(
        max_length=10, choices=Circuit, db_default=Circuit.CLOSED, editable=False
    )
    circuit_since = models.DateTimeField(null=True, blank=True, editable=False)
    circuit_reason = models.CharField(max_length=300, blank=True, db_default="", editable=False)
    failures = models.PositiveSmallIntegerField(default=0, editable=False)
    """Calls in a row that were not accepted."""
    trips = models.PositiveSmallIntegerField(db_default=0, editable=False)
    """How often in a row its breaker was opened: pauses grow with it."""
    cooling_until = models.DateTimeField(null=True, blank=True, editable=False)
    """Not used before: its breaker is open, or it rests after a single failure."""
    probe_until = models.DateTimeField(null=True, blank=True, editable=False)
    """Until when the one call that tries it counts as alive, by the database's clock."""
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
        kind = registry.KINDS[self.kind].webhook_kind or self.kind
        return f"{settings.PUBLIC_URL}/api/webhooks/email/{kind}/{self.webhook_token}"

    @property
    def webhook_name(self) -> str:
        """Its name as its webhook address may carry it; such an address can be guessed."""
        return slugify(self.name)[:LONGEST_WEBHOOK_NAME].strip("-_")

    @property
    def heard_types(self) -> frozenset[str]:
        """The types of event that are taken from its webhooks."""
        return hearing.types_of(Account(self.pk, self.version, self.config))

    @property
    def has_webhook_secret(self) -> bool:
        """Say whether anybody can prove here to be its provider."""
        name = registry.KINDS[self.kind].proved_by
        try:
            return bool({**self.config, **self.secrets}.get(name, "").strip())
        except CannotDecrypt:
            return False

    @property
    def call_size(self) -> int:
        """How many people one call carries."""
        kind = registry.KINDS[self.kind]
        return min(self.batch_size or kind.default_batch, kind.max_batch)

    @property
    def is_broken(self) -> bool:
        """Has its breaker opened, so that at most one call at a time tries it?"""
        return self.circuit != self.Circuit.CLOSED

    @property
    def price(self) -> float | None:
        """What 1,000 mails cost; None: not known."""
        return None if self.cost_per_1000 is None else float(self.cost_per_1000)

    def carries(self, domain: str) -> bool:
        """May it send mail from this domain? "": not known yet, so it may."""
        patterns = self.sending_domains
        return not (patterns and domain) or any(covers(each, domain) for each in patterns)

    def pause(self) -> None:
        """Give it no more mail until it is resumed."""
        self._switch(self.Status.PAUSED)

    def resume(self) -> None:
        """Give it mail again, at once: what was wrong before is forgotten."""
        self._switch(
            self.Status.ACTIVE,
            circuit=self.Circuit.CLOSED,
            failures=0,
            trips=0,
            cooling_until=None,
            probe_until=None,
            needs_attention=False,
        )

    def _switch(self, status: str, **fields: Any) -> None:
        type(self).objects.filter(pk=self.pk).update(status=status, **fields)
        self.status = status
