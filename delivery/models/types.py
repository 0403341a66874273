"""Kinds of transactional mail, and how soon each must be on its way."""

from __future__ import annotations

from datetime import timedelta

from django.core.validators import RegexValidator
from django.db import models

from delivery.models.streams import Stream


class MessageType(models.Model):
    """What a mail is for: its stream, and the service level it is promised."""

    name = models.CharField(
        max_length=50,
        unique=True,
        validators=[RegexValidator(r"^[a-z][a-z0-9_]*\Z", "Use a-z, 0-9 and _, a letter first.")],
        help_text="As the API names it: password_reset.",
    )
    label = models.CharField(max_length=100)
    stream = models.CharField(max_length=20, choices=Stream, default=Stream.TRANSACTIONAL)
    deadline = models.DurationField(
        help_text="Within this time a provider should have accepted it: what is promised."
    )
    alert_after = models.DurationField(
        help_text="Operators are told when a mail waits longer than this."
    )
    expires_after = models.DurationField(
        default=timedelta(hours=24),
        help_text="Later than this it is not sent at all: a stale code helps nobody.",
    )

    class Meta:
        ordering = ["deadline", "name"]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(expires_after__gte=models.F("deadline")),
                name="message_type_expires_after_its_deadline",
                violation_error_message="It cannot expire before its deadline.",
            ),
            models.CheckConstraint(
                condition=models.Q(alert_after__gte=models.F("deadline")),
                name="message_type_alerts_after_its_deadline",
                violation_error_message="Operators cannot be told before the deadline is over.",
            ),
        ]

    def __str__(self) -> str:
        return self.label
