"""What providers' own lists of addresses said when we last read them, against ours."""

from __future__ import annotations

from django.db import models

from delivery.models.accounts import ProviderAccount


class ListedAddress(models.Model):
    """An address on a list of a provider, by its keyed HMAC, as it was last read."""

    provider = models.ForeignKey(ProviderAccount, models.CASCADE, db_index=False)
    place = models.CharField(max_length=100)
    """The list, by the provider's name for it."""
    address_key = models.BinaryField(max_length=32)
    reason = models.CharField(max_length=20)
    """In our words: a `Suppression.Reason`."""
    listed_at = models.DateTimeField(null=True)
    """Since when, if the provider says so."""
    seen_at = models.DateTimeField()
    """When the reading began that found it last."""

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["provider", "address_key", "place"], name="listed_once"
            ),
        ]
        indexes = [models.Index(fields=["address_key"], name="listed_address")]

    def __str__(self) -> str:
        return f"{self.provider_id} {self.place}: {self.reason}"


class ListComparison(models.Model):
    """How far an account's lists and ours agreed, and how far a reading has got."""

    provider = models.OneToOneField(
        ProviderAccount, models.CASCADE, primary_key=True, related_name="comparison"
    )
    started_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True)
    """None: it stopped before its end; `error` says why."""
    place = models.CharField(max_length=100, blank=True)
    cursor = models.TextField(blank=True)
    """Where the reading goes on: the list, and the provider's word for the next page."""
    is_rehearsal = models.BooleanField(default=False)
    there = models.PositiveBigIntegerField(default=0)
    here = models.PositiveBigIntegerField(default=0)
    only_there = models.PositiveBigIntegerField(default=0)
    """Before any were taken."""
    only_here = models.PositiveBigIntegerField(default=0)
    """Before any were given."""
    differing = models.PositiveBigIntegerField(default=0)
    """On both sides, for no reason that both name."""
    taken = models.PositiveBigIntegerField(default=0)
    """Suppressed here because they stood there."""
    given = models.PositiveBigIntegerField(default=0)
    removed = models.PositiveBigIntegerField(default=0)
    """Taken off there because they were let back in here."""
    error = models.CharField(max_length=300, blank=True)

    def __str__(self) -> str:
        return f"{self.provider_id}: {self.only_there} only there, {self.only_here} only here"
