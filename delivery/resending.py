"""Sending again: what failed, and what nobody ever confirmed.

For a newsletter a double is worse than a miss: a person decides. Transactional mail is sent again
once by itself, since here a miss is worse (design 4.1).
"""

from __future__ import annotations

from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction

from campaigns.models import Campaign
from delivery.models import Message
from delivery.querysets import MessageQuerySet
from emailplatform.states import InvalidTransition

_RETRIABLE = (Message.Status.FAILED, Message.Status.EXPIRED)
UNCONFIRMED_AFTER = timedelta(hours=72)
"""Evidence about mail in doubt comes within this time, or never."""
VERIFY_WINDOW = timedelta(seconds=60)
"""How long transactional mail in doubt waits for evidence before it is sent again."""


def resend_doubtful(now: datetime) -> int:
    """Send transactional mail in doubt again, by the same provider; return how many messages."""
    return Message.objects.send_doubtful_again(now - VERIFY_WINDOW, settings.DOUBT_RETRIES, now)


def resend_failed(campaign: Campaign, now: datetime) -> int:
    """Queue again what failed or was too late, in a campaign that is over; return how many.

    Not those whose address is at fault: they only fail again. With any, the campaign is sending
    again. Raises InvalidTransition while it is not over.
    """
    return _queue_again(campaign, failed(campaign), now)


def resend_unconfirmed(campaign: Campaign, now: datetime) -> int:
    """Queue again what is in doubt for UNCONFIRMED_AFTER and longer; return how many messages.

    These people may get it twice. Raises InvalidTransition while the campaign is not over.
    """
    return _queue_again(campaign, unconfirmed(campaign, now), now)


def retry(message: Message, now: datetime) -> None:
    """Queue one mail again that was sent by API and failed or came too late.

    Raises InvalidTransition if it is anything else by now.
    """
    rows = Message.objects.filter(pk=message.pk, campaign=None, status__in=_RETRIABLE)
    if not rows.queue_again(now):
        message.refresh_from_db(fields=["status"])
        state = message.get_status_display().lower()
        raise InvalidTransition(f"This mail is {state}: only one that failed is tried again.")


def failed(campaign: Campaign) -> MessageQuerySet:
    return Message.objects.filter(campaign=campaign).recoverable()


def unconfirmed(campaign: Campaign, now: datetime) -> MessageQuerySet:
    """Return the messages in doubt for which no evidence is expected any more."""
    return Message.objects.filter(campaign=campaign).in_doubt_since(now - UNCONFIRMED_AFTER)


def _queue_again(campaign: Campaign, rows: MessageQuerySet, now: datetime) -> int:
    """Queue messages and reopen their campaign, or neither.

    Only a campaign that is over: one that is sending may be found empty, and be finished, in the
    moment before these are queued.
    """
    with transaction.atomic():
        count = rows.queue_again(now)
        if count:
            campaign.reopen()
    return count
