"""What delivery keeps of a campaign: how far its audience has become messages, and its counters."""

from __future__ import annotations

from django.db import models

from campaigns.models import Campaign
from delivery.models.accounts import ProviderAccount
from delivery.querysets import CampaignStatQuerySet
from subscribers.mailboxes import Mailbox


class Expansion(models.Model):
    """How far a campaign's audience has become messages: by key range, so it can resume."""

    campaign = models.OneToOneField(Campaign, models.CASCADE, primary_key=True)
    cursor = models.PositiveBigIntegerField(default=0)
    """The last person looked at, by id."""
    queued = models.PositiveIntegerField(default=0)
    mailed_often = models.PositiveIntegerField(default=0, db_default=0)
    """Left out since they had had so many campaigns lately."""
    held_out = models.PositiveIntegerField(default=0, db_default=0)
    """Left out by chance, to compare with those who get it."""
    done_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return f"expansion of {self.campaign_id}"


class CampaignStat(models.Model):
    """Counters of a campaign per provider, mailbox and hour: what reports add up."""

    campaign = models.ForeignKey(Campaign, models.CASCADE, null=True, db_index=False)
    """None: of all mail that was sent by API."""
    provider = models.ForeignKey(ProviderAccount, models.PROTECT, db_index=False)
    mailbox = models.CharField(max_length=10, choices=Mailbox)
    hour = models.DateTimeField()
    sent = models.PositiveIntegerField(db_default=0)
    delivered = models.PositiveIntegerField(db_default=0)
    deferred = models.PositiveIntegerField(db_default=0)
    bounced = models.PositiveIntegerField(db_default=0)
    soft_bounced = models.PositiveIntegerField(db_default=0)
    dropped = models.PositiveIntegerField(db_default=0)
    opened = models.PositiveIntegerField(db_default=0)
    person_opened = models.PositiveIntegerField(db_default=0)
    machine_opened = models.PositiveIntegerField(db_default=0)
    clicked = models.PositiveIntegerField(db_default=0)
    person_clicked = models.PositiveIntegerField(db_default=0)
    machine_clicked = models.PositiveIntegerField(db_default=0)
    unsubscribed = models.PositiveIntegerField(db_default=0)
    complained = models.PositiveIntegerField(db_default=0)

    objects = CampaignStatQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["campaign", "provider", "mailbox", "hour"],
                name="campaign_stat_once",
                nulls_distinct=False,
            ),
        ]

    def __str__(self) -> str:
        return f"{self.campaign_id or 'API'} at {self.hour:%Y-%m-%d %H:00}"
