"""What is kept of how accounts do: their reputation by the hour, the changes of their breakers."""

from __future__ import annotations

from django.db import models
from django.db.models.functions import Now

from delivery.models.accounts import ProviderAccount


class ProviderReputation(models.Model):
    """An account's counters of one hour, and its reputation as it was at the end of that hour."""

    provider = models.ForeignKey(ProviderAccount, models.CASCADE, db_index=False)
    hour = models.DateTimeField()
    score = models.FloatField(null=True)
    """0 to 100, over the days before; None: nobody looked in that hour."""
    sent = models.PositiveIntegerField(db_default=0)
    bounced = models.PositiveIntegerField(db_default=0)
    """Hard bounces."""
    complained = models.PositiveIntegerField(db_default=0)
    deferred = models.PositiveIntegerField(db_default=0)
    calls = models.PositiveIntegerField(db_default=0)
    failed_calls = models.PositiveIntegerField(db_default=0)
    """Refused by the provider as a whole for a reason of its own, or never answered."""

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["provider", "hour"], name="reputation_once"),
        ]

    def __str__(self) -> str:
        return f"{self.provider_id} at {self.hour:%Y-%m-%d %H:00}: {self.score}"


class SenderRefusal(models.Model):
    """A From domain that an account does not take, and until when it is not asked again."""

    provider = models.ForeignKey(
        ProviderAccount, models.CASCADE, related_name="refusals", db_index=False
    )
    domain = models.CharField(max_length=255)
    until = models.DateTimeField()
    error = models.CharField(max_length=300)
    """What the provider said."""

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["provider", "domain"], name="sender_refused_once"),
        ]

    def __str__(self) -> str:
        return f"{self.provider_id} refuses {self.domain}"


class CircuitChange(models.Model):
    """One change of an account's circuit breaker, with its reason."""

    provider = models.ForeignKey(ProviderAccount, models.CASCADE, db_index=False)
    at = models.DateTimeField(db_default=Now())
    circuit = models.CharField(max_length=10, choices=ProviderAccount.Circuit)
    """What it is since then."""
    reason = models.CharField(max_length=300)
    until = models.DateTimeField(null=True)
    """Not tried again before, if it was opened."""

    class Meta:
        ordering = ["-pk"]
        indexes = [models.Index(fields=["provider", "-id"], name="circuit_of_provider")]

    def __str__(self) -> str:
        return f"{self.provider_id} {self.circuit}: {self.reason}"
