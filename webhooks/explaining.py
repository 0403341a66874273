"""Why did, or didn't, this person get it? All that is known of one campaign and one address."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from campaigns import belonging, targeting
from campaigns.models import Campaign
from delivery import tracing
from delivery.models import Expansion, Message
from delivery.tracing import Trace
from emailplatform.secrets import address_key
from subscribers import enrolling
from subscribers.models import Subscriber, Suppression
from webhooks.judging import Facts, Verdict, judge
from webhooks.models import Event
from webhooks.recounting import moments

MOST_EVENTS = 100


@dataclass(frozen=True, slots=True)
class Explanation:
    """The verdict, and what it rests on."""

    verdict: Verdict
    facts: Facts


def explain(campaign: Campaign, address: str, now: datetime) -> Explanation:
    """Return why the person at an address did or did not get a campaign.

    Read by keys: it takes as long with a million messages as with ten. Raises InvalidInput for
    what is no address.
    """
    email = enrolling.clean(address)
    key = address_key(email)
    person = Subscriber.objects.filter(email=email).first()
    message = _message_of(campaign, person, key)
    choice = targeting.choice_of(campaign)
    expansion = Expansion.objects.filter(campaign=campaign).first()
    facts = Facts(
        campaign=campaign,
        address=email,
        person=person,
        suppression=_suppression_of(campaign, key),
        belonging=belonging.explain(choice, person, now) if person else None,
        audience_read_at=expansion.done_at if expansion else None,
        message=message,
        trace=tracing.trace(message) if message else Trace([], 0),
        moments=moments(_events_of(message)) if message else [],
    )
    return Explanation(judge(facts), facts)


def _suppression_of(campaign: Campaign, key: bytes) -> Suppression | None:
    """Return what stops the campaign at an address, the widest first."""
    lists = targeting.choice_of(campaign).get("lists", [])
    return Suppression.objects.of(key).stopping("marketing", lists).first()


def _message_of(campaign: Campaign, person: Subscriber | None, key: bytes) -> Message | None:
    """Return the campaign's message to a person, or to one of this address who was deleted since.

    By the unique index of (campaign, subscriber), and by one of those deleted.
    """
    rows = Message.objects.filter(campaign=campaign).select_related("provider")
    rows = rows.defer("provider__secrets", "provider__config")
    found = rows.filter(subscriber=person).first() if person else None
    return found or max(
        rows.filter(subscriber=None, address_key=key), key=lambda row: row.pk, default=None
    )


def _events_of(message: Message) -> list[Event]:
    """Return what was told of a message, the newest MOST_EVENTS in order of time."""
    rows = Event.objects.filter(message_id=message.pk).order_by("-occurred_at", "-pk")
    rows = rows.select_related("account").defer("account__secrets", "account__config")
    return list(rows[:MOST_EVENTS])[::-1]
