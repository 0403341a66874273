"""Sign-up forms, and the confirmations that sign-ups wait for."""

from __future__ import annotations

from django.contrib.postgres.fields import ArrayField
from django.core.validators import RegexValidator, URLValidator
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from subscribers.models.lists import MailingList
from subscribers.models.people import Subscriber
from subscribers.querysets import ConfirmationQuerySet, SignupDayQuerySet


class SignupForm(models.Model):
    """A page, and a snippet for other sites, by which people join lists."""

    class Proof(models.TextChoices):
        OFF = "off", "Never"
        BUSY = "busy", "When many sign up at once"
        ALWAYS = "always", "Always (needs JavaScript)"

    name = models.CharField(max_length=100, help_text="For you; people do not see it.")
    slug = models.CharField(
        "address",
        max_length=60,
        unique=True,
        validators=[RegexValidator(r"^[a-z0-9][a-z0-9-]*\Z", "Use a-z, 0-9 and -.")],
        help_text="The last part of the page’s address, after /f/.",
    )
    is_active = models.BooleanField("open", default=True)
    lists = models.ManyToManyField(MailingList, related_name="forms")
    language = models.CharField(max_length=8, default="en")
    """The one of `texts` that is shown to whoever reads none of the others."""
    fields = models.JSONField(default=dict, blank=True)
    """"first_name", "last_name", "country" or "attributes.<name>" -> is it required?"""
    texts = models.JSONField(default=dict, blank=True)
    """Language -> {"title", "intro", "button", "consent", "thanks"}; what is empty is ours."""
    redirect_url = models.CharField(
        "send people on to",
        max_length=500,
        blank=True,
        validators=[URLValidator(["https", "http"])],
        help_text="A page of yours for after signing up. Empty: a page of ours says what is next.",
    )
    origins = ArrayField(models.CharField(max_length=200), default=list, blank=True)
    """Sites that may show the form in a frame: https://www.example.com."""
    proof_of_work = models.CharField(max_length=6, choices=Proof, default=Proof.BUSY)
    hourly_limit = models.PositiveIntegerField(
        "confirmation mails an hour",
        default=100,
        help_text="More are held until you release them: a flood of sign-ups is seldom people.",
    )
    from_name = models.CharField(max_length=100, blank=True)
    from_email = models.EmailField(
        max_length=320, blank=True, help_text="Who asks for the confirmation. Empty: CONFIRM_FROM."
    )
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        verbose_name = "form"
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class SignupDay(models.Model):
    """What a form brought on one day (UTC)."""

    form = models.ForeignKey(SignupForm, models.CASCADE, related_name="days", db_index=False)
    day = models.DateField()
    asked = models.PositiveIntegerField(db_default=0, default=0)
    """Sign-ups taken, whether or not they were new."""
    confirmed = models.PositiveIntegerField(db_default=0, default=0)
    stopped = models.PositiveIntegerField(db_default=0, default=0)
    """By the trap, the clock, a limit, or a missing proof of work."""

    objects = SignupDayQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["form", "day"], name="signup_day_once"),
        ]

    def __str__(self) -> str:
        return f"{self.form_id} on {self.day}"


class Confirmation(models.Model):
    """A wish to join lists that waits for a yes from the mailbox itself.

    The mail is sent by delivery, which looks for rows that are neither queued nor held.
    """

    subscriber = models.ForeignKey(
        Subscriber, models.CASCADE, related_name="confirmations", db_index=False
    )
    form = models.ForeignKey(SignupForm, models.SET_NULL, null=True, db_index=False)
    lists = ArrayField(models.BigIntegerField())
    language = models.CharField(max_length=16, blank=True)
    text = models.CharField(max_length=64, blank=True)
    """Digest of the ConsentText that was shown."""
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    held_at = models.DateTimeField(null=True)
    """Over the form's limit: somebody of the team decides."""
    queued_at = models.DateTimeField(null=True)
    """Since when its mail is with delivery."""
    confirmed_at = models.DateTimeField(null=True)

    objects = ConfirmationQuerySet.as_manager()

    class Meta:
        indexes = [
            models.Index(fields=["subscriber", "-created_at"], name="confirmation_of_person"),
            models.Index(fields=["form", "-created_at"], name="confirmation_of_form"),
            models.Index(
                fields=["created_at"],
                name="confirmation_due",
                condition=Q(queued_at__isnull=True, held_at__isnull=True),
            ),
            models.Index(
                fields=["form", "held_at"],
                name="confirmation_held",
                condition=Q(held_at__isnull=False, queued_at__isnull=True),
            ),
        ]

    def __str__(self) -> str:
        return f"confirmation {self.pk}"
