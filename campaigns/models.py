"""What to say, to whom, and how far it has got."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.core.validators import MaxValueValidator, MinValueValidator, RegexValidator
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from campaigns.querysets import CampaignQuerySet
from emailplatform.states import StatefulModel
from subscribers.models import MailingList, Segment


class Template(models.Model):
    """A mail to be: MJML or HTML with Jinja2. Campaigns freeze a copy when they start."""

    class Format(models.TextChoices):
        MJML = "mjml", "MJML"
        HTML = "html", "HTML"

    name = models.CharField(max_length=100, unique=True)
    format = models.CharField(max_length=4, choices=Format, default=Format.MJML)
    subject = models.CharField(max_length=300)
    preheader = models.CharField(
        max_length=300, blank=True, help_text="Shown after the subject in most inboxes."
    )
    body = models.TextField()
    text = models.TextField(
        "plain text", blank=True, help_text="Leave empty to derive it from the body."
    )
    variables = ArrayField(
        models.CharField(
            max_length=50,
            validators=[RegexValidator(r"^[a-z][a-z0-9_]*\Z", "Use a-z, 0-9 and _ only.")],
        ),
        default=list,
        db_default=[],
        blank=True,
        help_text=(
            "For mail sent by API: variables that each call brings, like reset_url, order."
            " A template with any cannot be used for campaigns."
        ),
    )
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    updated_at = models.DateTimeField(auto_now=True, editable=False)

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class TrackedBy(models.TextChoices):
    """Who notices that a mail is opened and its links are clicked, and whether it says by whom."""

    FULL = "full", "By us, for each person"
    ANONYMOUS = "anonymous", "By us, as totals only: nobody can see who"
    PROVIDER = "provider", "By the provider that carries the mail, in its own way"
    NONE = "none", "Not at all"

    @property
    def is_own(self) -> bool:
        """Links and pixel lead to us, so the provider is told to count nothing."""
        return self in {TrackedBy.FULL, TrackedBy.ANONYMOUS}


class Campaign(StatefulModel):
    """One mailing."""

    class Status(models.TextChoices):
        DRAFT = "draft", "Draft"
        SCHEDULED = "scheduled", "Scheduled"
        SENDING = "sending", "Sending"
        PAUSED = "paused", "Paused"
        SENT = "sent", "Sent"
        HELD = "held", "Finished with holds"
        CANCELLED = "cancelled", "Cancelled"

    TRANSITIONS = {
        Status.DRAFT: frozenset({Status.SCHEDULED, Status.SENDING}),
        Status.SCHEDULED: frozenset({Status.DRAFT, Status.SENDING, Status.CANCELLED}),
        Status.SENDING: frozenset({Status.PAUSED, Status.SENT, Status.HELD, Status.CANCELLED}),
        Status.PAUSED: frozenset({Status.SENDING, Status.CANCELLED}),
        Status.SENT: frozenset({Status.SENDING}),
        Status.HELD: frozenset({Status.SENDING, Status.SENT}),
    }

    name = models.CharField(max_length=200)
    status = models.CharField(max_length=20, choices=Status, default=Status.DRAFT)
    template = models.ForeignKey(Template, models.PROTECT, null=True, blank=True)
    subject = models.CharField(
        max_length=300, blank=True, help_text="Leave empty to use the template's."
    )
    preheader = models.CharField(
        max_length=300, blank=True, help_text="Leave empty to use the template's."
    )
    from_name = models.CharField("sender's name", max_length=100, blank=True)
    from_email = models.EmailField("sender's address", blank=True)
    reply_to = models.EmailField("replies go to", blank=True)
    lists = models.ManyToManyField(MailingList, blank=True, related_name="campaigns")
    segments = models.ManyToManyField(Segment, blank=True, related_name="campaigns")
    excluded_lists = models.ManyToManyField(MailingList, blank=True, related_name="+")
    excluded_segments = models.ManyToManyField(Segment, blank=True, related_name="+")
    cap_mails = models.PositiveSmallIntegerField(
        "at most so many mails",
        default=0,
        db_default=0,
        validators=[MaxValueValidator(100)],
        help_text="Who has had so many campaigns in the days given is left out; 0: nobody is.",
    )
    cap_days = models.PositiveSmallIntegerField(
        "in so many days",
        default=7,
        db_default=7,
        validators=[MinValueValidator(1), MaxValueValidator(365)],
    )
    holdout_percent = models.PositiveSmallIntegerField(
        "per cent who get nothing",
        default=0,
        db_default=0,
        validators=[MaxValueValidator(50)],
        help_text="Chosen by chance, to compare with those who get it; 0: nobody is.",
    )
    tracking = models.CharField(
        "counted",
        max_length=10,
        choices=TrackedBy,
        default=TrackedBy.FULL,
        help_text="Who counts opens and clicks, and whether people can be told apart.",
    )
    track_opens = models.BooleanField(
        "count opens", default=True, help_text="If anything is counted at all (`tracking`)."
    )
    track_clicks = models.BooleanField(
        "count clicks", default=True, help_text="If anything is counted at all (`tracking`)."
    )
    send_at = models.DateTimeField(null=True, blank=True)
    audience = models.JSONField(default=dict, editable=False)
    """Frozen at launch by `targeting.frozen`: lists, segment rules, exclusions, until when."""
    problem = models.CharField(max_length=500, blank=True, editable=False)
    """Why it went back to draft, paused by itself or is held, in one sentence."""
    launched_at = models.DateTimeField(null=True, blank=True, editable=False)
    finished_at = models.DateTimeField(null=True, blank=True, editable=False)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, editable=False
    )
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    objects = CampaignQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.CheckConstraint(
                condition=~Q(status="scheduled") | Q(send_at__isnull=False),
                name="campaign_has_send_at_once_scheduled",
            ),
            models.CheckConstraint(
                condition=~Q(status__in=["sending", "paused", "sent", "held"])
                | Q(launched_at__isnull=False),
                name="campaign_has_launched_at_once_sending",
            ),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def is_editable(self) -> bool:
        """Only a draft changes; a scheduled campaign goes back to draft first."""
        return self.status == self.Status.DRAFT

    def pause(self) -> None:
        """Stop handing over within one claim; what a provider already has goes on."""
        self.move_to(self.Status.PAUSED, problem="")

    def resume(self) -> None:
        self.move_to(self.Status.SENDING, only_from={self.Status.PAUSED}, problem="")

    def unschedule(self) -> None:
        self.move_to(self.Status.DRAFT, send_at=None)

    def cancel(self, now: datetime) -> None:
        """End it for good. Messages still queued are cancelled by `delivery.expanding`."""
        self.move_to(self.Status.CANCELLED, finished_at=now)

    @property
    def is_over(self) -> bool:
        """It was sent, whether or not everybody got it."""
        return self.status in {self.Status.SENT, self.Status.HELD}

    def finish(self, now: datetime, holds: int = 0) -> None:
        """End it; with holds, mail that failed and could still go out, it is never plain “sent”.

        One that was reopened keeps the time it was over first.
        """
        status, problem = self.Status.SENT, ""
        if holds:
            mails = "1 mail" if holds == 1 else f"{holds:,} mails"
            status, problem = self.Status.HELD, f"{mails} failed and can be tried again."
        self.move_to(status, finished_at=self.finished_at or now, problem=problem)

    def accept(self) -> None:
        """Take a campaign that is held for sent: the rest is given up."""
        self.move_to(self.Status.SENT, only_from={self.Status.HELD}, problem="")

    def reopen(self) -> None:
        """Send again to some of its people: only `delivery.resending` does, which queues them."""
        self.move_to(
            self.Status.SENDING, only_from={self.Status.SENT, self.Status.HELD}, problem=""
        )


class Content(models.Model):
    """What a campaign says, frozen at launch: message + content give every mail byte for byte."""

    campaign = models.OneToOneField(
        Campaign, models.CASCADE, primary_key=True, related_name="content"
    )
    format = models.CharField(max_length=4, choices=Template.Format)
    subject = models.TextField()
    preheader = models.TextField(blank=True)
    body = models.TextField()
    text = models.TextField(blank=True)
    constants = models.JSONField(default=dict)
    """Variables that are the same for everybody: company, campaign name, postal address."""
    names = models.JSONField(default=list)
    """Variables people may bring, as known at launch."""
    frozen_at = models.DateTimeField(db_default=Now())

    def __str__(self) -> str:
        return f"content of {self.campaign_id}"

    def as_source(self) -> dict[str, Any]:
        """Return the arguments of `rendering.Source`."""
        return _source(self)


class Link(models.Model):
    """An address in a campaign's mail, as it was at launch: where its number leads."""

    campaign = models.ForeignKey(Campaign, models.CASCADE, related_name="links", db_index=False)
    number = models.PositiveSmallIntegerField()
    url = models.TextField()
    """As written. With Jinja tags each person's mail carries its own address, sealed."""
    is_personal = models.BooleanField(default=False)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["campaign", "number"], name="link_once"),
        ]

    def __str__(self) -> str:
        return self.url


class TemplateVersion(models.Model):
    """What a template said at one moment: never changed, one row per different content.

    Mail sent by API refers to it, so that it can be rendered again byte for byte.
    """

    template = models.ForeignKey(Template, models.SET_NULL, null=True, db_index=False)
    digest = models.BinaryField(max_length=32, unique=True)
    """SHA-256 of all that follows."""
    format = models.CharField(max_length=4, choices=Template.Format)
    subject = models.TextField()
    preheader = models.TextField(blank=True)
    body = models.TextField()
    text = models.TextField(blank=True)
    created_at = models.DateTimeField(db_default=Now())

    def __str__(self) -> str:
        return f"version {self.pk}"

    def as_source(self) -> dict[str, Any]:
        """Return the arguments of `rendering.Source`."""
        return _source(self)


def _source(row: Content | TemplateVersion) -> dict[str, Any]:
    names = ("subject", "preheader", "body", "format", "text")
    return {name: getattr(row, name) for name in names}
