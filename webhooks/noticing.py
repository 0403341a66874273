"""What a mail server refuses while we talk to it is a bounce, and is told like any other.

Nobody posts it to us: `delivery` writes down what was said, and here it becomes an event of the
account, with a class by the server's words, its marks, counters and suppression.
"""

from __future__ import annotations

import re
from datetime import datetime

from django.db import transaction

from delivery.models import Message, Refusal, token_of
from delivery.providers import bouncing, hearing
from delivery.providers.base import BounceClass, Event, EventType
from webhooks import concluding

_REPLY = re.compile(r"answered ([45]\d\d): (.*)", re.DOTALL)
"""`smtp_opening.sentence`: what is refused without an answer of the server is no bounce."""
_WORD: dict[str, BounceClass] = {
    Message.Fault.CONTENT: BounceClass.BLOCK,
    Message.Fault.MAILBOX: BounceClass.SOFT,
}
"""What is wrong with the mail says nothing of the address, whatever the code; nor does waiting."""


def notice_refusals(limit: int, now: datetime) -> int:
    """Tell up to `limit` refusals of mail servers as bounces; return how many were looked at."""
    with transaction.atomic():
        refusals = Refusal.objects.take(limit)
        pks = [each.message_id for each in refusals]
        # One that was queued again meanwhile is no longer refused: a bounce would settle it.
        refused = Message.objects.filter(pk__in=pks, status=Message.Status.FAILED)
        emails = dict(refused.values_list("pk", "email"))
        arrivals = [
            concluding.arrival(event, each.provider_id, request=None, may_wait=False)
            for each in refusals
            if (event := _event(each, emails.get(each.message_id, "")))
        ]
        if arrivals:
            concluding.apply_events(arrivals, now)
    return len(refusals)


def _event(refusal: Refusal, email: str) -> Event | None:
    found = _REPLY.search(refusal.said)
    if not found or not email:
        return None
    said = f"{found[1]} {found[2]}"
    word = _WORD.get(refusal.fault, BounceClass.UNKNOWN)
    return Event(
        type=EventType.BOUNCED,
        occurred_at=refusal.at,
        recipient=email,
        dedupe_key=hearing.fingerprint("refused", refusal.message_id, refusal.at.isoformat()),
        message_id=token_of(refusal.message_id),
        bounce_class=bouncing.weigh(word, said),
        reason=said,
    )
