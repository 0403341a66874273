"""Rules that keep lists clean, and the record of what each run found and did."""

from __future__ import annotations

from django.contrib.postgres.fields import ArrayField
from django.core.exceptions import ValidationError
from django.core.validators import MinValueValidator
from django.db import models
from django.db.models import Q

from emailplatform.states import StatefulModel
from subscribers.models.people import Subscriber


class HygieneRule(models.Model):
    """Whom a run looks for, and what becomes of them."""

    class Kind(models.TextChoices):
        HARD_BOUNCE = "hard_bounce", "Address is dead (hard bounce)"
        SOFT_BOUNCES = "soft_bounces", "Mailbox keeps refusing (soft bounces in a row)"
        SILENT = "silent", "Shows no sign of life"
        UNANSWERED = "unanswered", "Did not answer after being tagged as silent"

    class Action(models.TextChoices):
        TAG = "tag", "Tag them"
        UNSUBSCRIBE = "unsubscribe", "Unsubscribe them from everything"

    name = models.CharField(max_length=100, unique=True)
    kind = models.CharField(max_length=20, choices=Kind)
    days = models.PositiveSmallIntegerField(
        default=180,
        validators=[MinValueValidator(1)],
        help_text="Bounces within so many days; silent, or unanswered, for so many days.",
    )
    count = models.PositiveSmallIntegerField(
        default=3,
        validators=[MinValueValidator(1)],
        help_text="So many soft bounces; or mails received in silence. Others need no number.",
    )
    action = models.CharField(max_length=20, choices=Action, default=Action.TAG)
    tag = models.CharField(
        max_length=50,
        blank=True,
        db_default="",
        help_text="For “Tag them”. A segment of people with this tag gets the campaign that asks.",
    )
    is_active = models.BooleanField(
        "runs at night", db_default=False, default=False, help_text="Look at a dry run first."
    )

    class Meta:
        verbose_name = "hygiene rule"
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        if self.action == self.Action.TAG and not self.tag:
            raise ValidationError({"tag": "Say which tag they get."})
        if self.kind == self.Kind.UNANSWERED and self.action == self.Action.TAG:
            raise ValidationError({"action": "Who does not answer either is unsubscribed."})


class HygieneRun(StatefulModel):
    """One look at everybody by the rules: found, waiting for somebody's yes, done, or undone."""

    class Status(models.TextChoices):
        DRY = "dry", "Dry run: nothing was done"
        WAITING = "waiting", "Stopped: somebody must confirm"
        DONE = "done", "Done"
        UNDONE = "undone", "Taken back"

    TRANSITIONS = {
        Status.DRY: frozenset({Status.WAITING, Status.DONE}),
        Status.WAITING: frozenset({Status.DONE}),
        Status.DONE: frozenset({Status.UNDONE}),
    }

    at = models.DateTimeField()
    status = models.CharField(max_length=10, choices=Status)
    found = models.PositiveIntegerField(default=0)
    active_people = models.PositiveIntegerField(default=0)
    by = models.CharField(max_length=150, blank=True, default="")
    """Who started or confirmed it; empty: the nightly job."""

    class Meta:
        verbose_name = "hygiene run"
        ordering = ["-pk"]

    def __str__(self) -> str:
        return f"Run of {self.at:%Y-%m-%d %H:%M}"


class HygieneAct(models.Model):
    """One person found by one rule, why, and what was done."""

    run = models.ForeignKey(HygieneRun, models.CASCADE, related_name="acts")
    rule = models.ForeignKey(HygieneRule, models.CASCADE, db_index=False)
    subscriber = models.ForeignKey(Subscriber, models.CASCADE)
    reason = models.CharField(max_length=200)
    done_at = models.DateTimeField(null=True, blank=True)
    """NULL: only found."""
    ended_at = models.DateTimeField(null=True, blank=True)
    """Taken back, or the person has shown a sign of life since."""
    lists = ArrayField(models.BigIntegerField(), default=list)
    """The lists it took the person off."""

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["run", "subscriber"], name="hygiene_act_once"),
        ]
        indexes = [
            models.Index(
                fields=["rule", "subscriber"],
                name="hygiene_in_force",
                condition=Q(done_at__isnull=False, ended_at__isnull=True),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.subscriber_id}: {self.reason}"
