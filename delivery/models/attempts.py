"""The tries of a message that did not end with a provider taking it."""

from __future__ import annotations

from django.db import models
from django.db.models.functions import Now

from delivery.models.accounts import ProviderAccount
from delivery.models.messages import Handoff, Message
from delivery.querysets import RefusalQuerySet


class Refusal(models.Model):
    """What a mail server said when it refused a message for good, until it is taken for a bounce.

    Written in the statement that says so, and taken away in the transaction that tells it: nothing
    is left out and nothing told twice.
    """

    message_id = models.BigIntegerField()
    provider_id = models.BigIntegerField()
    fault = models.CharField(max_length=10)
    said = models.CharField(max_length=300)
    at = models.DateTimeField()

    objects = RefusalQuerySet.as_manager()

    def __str__(self) -> str:
        return f"refusal of message {self.message_id}"


class Attempt(models.Model):
    """A message in a hand-off that did not take it: written once, in the statement that says so.

    Most mail is taken by the first call and has none of these, so they cost the many nothing; what
    became of a message in its last hand-off is in the message as well.
    """

    message = models.ForeignKey(
        Message, models.CASCADE, related_name="failed_attempts", db_index=False
    )
    handoff = models.ForeignKey(Handoff, models.SET_NULL, null=True, db_index=False)
    provider = models.ForeignKey(ProviderAccount, models.PROTECT, null=True, db_index=False)
    status = models.CharField(max_length=20, choices=Message.Status)
    """What it was afterwards: queued (to be tried again), failed, in doubt."""
    error = models.CharField(max_length=300, blank=True, db_default="")
    at = models.DateTimeField(db_default=Now())

    class Meta:
        indexes = [models.Index(fields=["message", "id"], name="attempt_of_message")]

    def __str__(self) -> str:
        return f"attempt of message {self.message_id}"
