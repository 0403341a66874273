"""From an audience to messages, and from the last message to a finished campaign.

Delivery looks for campaigns that are `sending`; nobody calls it (design 2).
"""

from __future__ import annotations

from datetime import datetime

from django.db import transaction
from django.db.models import Exists, OuterRef

from campaigns import targeting
from campaigns.models import Campaign
from delivery import crashing, sparing
from delivery.models import Expansion, Message, RoutingRule, Stream

CHUNK = 50_000
"""Ids per chunk: one INSERT ... SELECT, one commit, and the cursor moves with it."""


def expand_chunk(campaign: Campaign, now: datetime) -> bool:
    """Queue the messages of the next key range; return False when the audience is complete.

    Resumes where it stopped, whoever stopped it. Two callers never work on one campaign at once.
    """
    Expansion.objects.get_or_create(campaign=campaign)
    with transaction.atomic():
        rows = Expansion.objects.select_for_update(skip_locked=True)
        expansion = rows.filter(campaign=campaign, done_at=None).first()
        if expansion is None:
            return False
        first, last = expansion.cursor, campaign.audience["highest"]
        people = targeting.audience(campaign.audience).filter(pk__gt=first, pk__lte=first + CHUNK)
        sparing.set_aside(campaign, expansion, (first, first + CHUNK))
        stamp = RoutingRule.objects.stamp(Stream.MARKETING, now)
        expansion.queued += Message.objects.enqueue(campaign, people, now, stamp)
        crashing.point("expanding")
        expansion.cursor = min(first + CHUNK, last)
        expansion.done_at = now if expansion.cursor >= last else None
        expansion.save()
    if expansion.done_at or not first:
        Message.objects.analyse()  # Senders must not go on with the plans of an empty table.
    return expansion.done_at is None


def expand_all(now: datetime) -> None:
    """Complete the audience of every sending campaign."""
    unfinished = Campaign.objects.sending().exclude(expansion__done_at__isnull=False)
    for campaign in unfinished:
        while expand_chunk(campaign, now):
            campaign.refresh_from_db(fields=["status"])
            if campaign.status != Campaign.Status.SENDING:
                break


def finish_done(now: datetime) -> int:
    """End campaigns that have nothing queued or under way; return how many.

    With mail that failed and could still go out they are held, else sent. Messages in doubt do
    not hold a campaign up: evidence settles them later.
    """
    done = Campaign.objects.sending().filter(expansion__done_at__isnull=False)
    return sum(_finish(pk, now) for pk in done.values_list("pk", flat=True))


def _finish(pk: int, now: datetime) -> bool:
    """End one campaign if nothing is left of it.

    Locked: who queues mail of it again at this moment comes before or after, and then reopens it.
    """
    if Message.objects.is_under_way(pk):
        return False
    with transaction.atomic():
        rows = Campaign.objects.sending().select_for_update(skip_locked=True)
        campaign = rows.filter(pk=pk).first()
        if campaign is None or Message.objects.is_under_way(pk):
            return False
        campaign.finish(now, Message.objects.filter(campaign=pk).recoverable().count())
    return True


def cancel_rest(limit: int = CHUNK) -> int:
    """Cancel what is still queued of cancelled campaigns; return how many messages."""
    total = 0
    queued = Message.objects.filter(campaign=OuterRef("pk"), status=Message.Status.QUEUED)
    for campaign in Campaign.objects.filter(Exists(queued), status=Campaign.Status.CANCELLED):
        while cancelled := Message.objects.cancel_queued(campaign.pk, limit):
            total += cancelled
    return total
