"""What operators are told: alerts, and the outbox of what tells them."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from delivery.querysets import AlertQuerySet, NoticeQuerySet


class Alert(models.Model):
    """Something wrong that a person should know of, from when it was seen until it was over.

    One open row per kind and subject, however often it is raised.
    """

    kind = models.CharField(max_length=40)
    """A word for programs: `delivery.alerting` has the words for people."""
    subject = models.CharField(max_length=200)
    """What it is about: a provider, a campaign, a type of mail. By it alerts are grouped."""
    text = models.TextField()
    payload = models.JSONField(default=dict)
    count = models.PositiveIntegerField(default=1)
    """How often it was raised."""
    raised_at = models.DateTimeField(db_default=Now())
    last_at = models.DateTimeField(db_default=Now())
    resolved_at = models.DateTimeField(null=True, blank=True)
    told_at = models.DateTimeField(null=True, blank=True)
    """When operators were told last that it is there."""
    tellings = models.PositiveSmallIntegerField(default=0)
    is_settled = models.BooleanField(default=False)
    """It is over, and whoever was told of it was told so."""

    objects = AlertQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["kind", "subject"], name="alert_open_once", condition=Q(resolved_at=None)
            ),
        ]
        indexes = [
            models.Index(fields=["kind", "subject", "-told_at"], name="alert_told"),
            models.Index(fields=["id"], name="alert_unsettled", condition=Q(is_settled=False)),
        ]

    def __str__(self) -> str:
        return f"{self.kind}: {self.subject}"


class Notice(models.Model):
    """One thing to tell operators over one channel: kept until it is told, or given up."""

    class Channel(models.TextChoices):
        EMAIL = "email", "E-mail"
        WEBHOOK = "webhook", "Webhook"

    alert = models.ForeignKey(Alert, models.CASCADE, related_name="notices")
    channel = models.CharField(max_length=10, choices=Channel)
    uid = models.CharField(max_length=40, unique=True)
    """The same with every try: receivers know a repeated one by it."""
    body = models.JSONField(default=dict)
    attempts = models.PositiveSmallIntegerField(default=0)
    due_at = models.DateTimeField(db_default=Now())
    sent_at = models.DateTimeField(null=True, blank=True)
    given_up_at = models.DateTimeField(null=True, blank=True)
    error = models.CharField(max_length=300, blank=True)
    created_at = models.DateTimeField(db_default=Now())

    objects = NoticeQuerySet.as_manager()

    class Meta:
        ordering = ["id"]
        indexes = [
            models.Index(
                fields=["due_at"],
                name="notice_due",
                condition=Q(sent_at=None, given_up_at=None),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.channel} {self.uid}"
