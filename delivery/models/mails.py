"""What the API was asked to send: one mail per message, and the calls that asked."""

from __future__ import annotations

from typing import Any

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from campaigns.models import TemplateVersion, TrackedBy
from delivery.models.messages import Message
from delivery.querysets import MailQuerySet
from emailplatform.models import ApiKey


class Submission(models.Model):
    """One call of the API with an Idempotency-Key: what it said, and what it was answered."""

    owner = models.CharField(max_length=40)
    """Whose key it is: “key 5”, “user 3”. Others may use the same one."""
    key = models.CharField(max_length=255)
    fingerprint = models.BinaryField(max_length=32)
    """SHA-256 of the payload: the same key with another payload is a mistake."""
    answer = models.JSONField(default=dict)
    """Given again to whoever repeats the call."""
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["owner", "key"], name="submission_once"),
        ]
        indexes = [models.Index(fields=["created_at"], name="submission_oldest")]

    def __str__(self) -> str:
        return f"submission {self.pk}"


class Mail(models.Model):
    """The content of one message that was sent by API: its own text, or a template and a context.

    `Message` has what happens to it; together they give the mail byte for byte.
    """

    message = models.OneToOneField(
        Message, models.CASCADE, primary_key=True, related_name="mail", db_index=False
    )
    api_key = models.ForeignKey(ApiKey, models.SET_NULL, null=True, db_index=False)
    resend_of = models.ForeignKey(
        Message, models.SET_NULL, null=True, related_name="resends", db_index=False
    )
    """The message that this one repeats, because somebody asked for it."""
    from_email = models.EmailField(max_length=320)
    from_name = models.CharField(max_length=200, blank=True)
    reply_to = models.CharField(max_length=320, blank=True)
    to_name = models.CharField(max_length=200, blank=True)
    copies = models.JSONField(default=dict)
    """{"to": [[address, name], …], "cc": …, "bcc": …}: who else gets this very mail."""
    refused_copies = models.JSONField(default=dict, db_default={})
    """Address -> why the server did not take it, while it took the mail for the others."""
    version = models.ForeignKey(TemplateVersion, models.PROTECT, null=True, db_index=False)
    context = models.JSONField(default=dict)
    """Variables of the template."""
    locale = models.CharField(max_length=16, blank=True)
    subject = models.TextField(blank=True)
    html = models.TextField(blank=True)
    text = models.TextField(blank=True)
    headers = models.JSONField(default=dict)
    tags = ArrayField(models.CharField(max_length=64), default=list)
    metadata = models.JSONField(default=dict)
    tracking = models.CharField(max_length=10, choices=TrackedBy, default=TrackedBy.FULL)
    """Who counts, if anything is counted at all; never ANONYMOUS: there are no totals of one."""
    track_opens = models.BooleanField(default=False)
    track_clicks = models.BooleanField(default=False)

    objects = MailQuerySet.as_manager()

    class Meta:
        indexes = [
            models.Index(fields=["resend_of"], name="mail_resends", condition=Q(resend_of__gt=0)),
        ]

    def __str__(self) -> str:
        return f"mail of {self.message_id}"

    def people(self, kind: str) -> list[tuple[str, str]]:
        """Return (address, name) of everybody in “to” (beyond the first), “cc” or “bcc”."""
        rows: list[list[Any]] = self.copies.get(kind, [])
        return [(address, name) for address, name in rows]


class MailMessage(Message):
    """A message that was sent by API, as the admin lists them: what it says is in its `mail`."""

    class Meta:
        proxy = True
        ordering = ["-id"]
        verbose_name = "message"


class Attachment(models.Model):
    """A file that travels with a mail."""

    mail = models.ForeignKey(Mail, models.CASCADE, related_name="attachments")
    filename = models.CharField(max_length=255)
    content_type = models.CharField(max_length=100)
    content_id = models.CharField(max_length=100, blank=True)
    """Set for an image that the HTML shows by cid:."""
    content = models.BinaryField()

    class Meta:
        ordering = ["pk"]

    def __str__(self) -> str:
        return self.filename
