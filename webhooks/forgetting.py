"""What this app keeps of a person: told, and erased."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from django.db.models import Q, QuerySet
from django.db.models.functions import Lower

from delivery import forgetting as mails
from subscribers import erasing, scrubbing
from subscribers.erasing import Told, Who, rows_of
from webhooks.models import Delivery, DeliveryTry, Endpoint, Event, QueueId, RawRequest, Sighting
from webhooks.tracked_models import Tracked

_NOTE = "The body names other people too: what it says of this one stands under events."


def tell(who: Who) -> Told:
    """Return what was told of somebody's mails, and what we saw ourselves."""
    messages = mails.messages_of(who)
    events = _events(who, messages)
    requests = _requests(who, events)
    return {
        "events": rows_of(events),
        "webhooks that name the address": [
            {**row, "note": _NOTE}
            for row in rows_of(
                RawRequest.objects.filter(pk__in=requests),
                ("body", "headers", "traceback", "replay_key"),
            )
        ],
        "opens and clicks not counted yet": rows_of(
            Sighting.objects.filter(message_id__in=messages)
        ),
        "mail servers’ queues": rows_of(_queues(who, messages)),
        "posts to endpoints": rows_of(_deliveries(events)),
        "what your programs told": rows_of(
            Tracked.objects.filter(event_id__in=events.values("pk"))
        ),
    }


def erase(who: Who, now: datetime) -> dict[str, int]:
    """Leave events as numbers to count: of which mail, when, what; nothing of the person."""
    messages = mails.messages_of(who)
    events = list(_events(who, messages).values_list("pk", flat=True))
    requests = _requests(who, Event.objects.filter(pk__in=events))
    deliveries = _deliveries(Event.objects.filter(pk__in=events)).values_list("pk", flat=True)
    tries = DeliveryTry.objects.filter(delivery__in=deliveries).values_list("pk", flat=True)
    queues = _queues(who, messages).values_list("pk", flat=True)
    return {
        "webhooks": _scrub_requests(who, requests),
        "opens and clicks not counted yet": Sighting.objects.filter(
            message_id__in=messages
        ).delete()[0],
        "mail servers’ queues": QueueId.objects.filter(pk__in=list(queues)).delete()[0],
        "answers of endpoints": scrubbing.scrub(DeliveryTry, who.email, ["answer", "error"], tries)
        + scrubbing.scrub(Delivery, who.email, ["last_error"], deliveries)
        + scrubbing.scrub(Endpoint, who.email, ["last_error", "disabled_reason"]),
        "what programs told": Tracked.objects.filter(event_id__in=events)
        .exclude(properties={})
        .update(properties={}),
        "events": _scrub_events(who, events),
    }


def _events(who: Who, messages: Collection[int]) -> QuerySet[Event]:
    """Of the messages, of the person, and what names the address: this last reads the table."""
    named = Event.objects.alias(named=Lower("recipient")).filter(named=who.email)
    wanted = Q(message_id__in=messages) | Q(pk__in=named.values("pk"))
    if who.person:
        wanted |= Q(subscriber_id=who.person)
    return Event.objects.filter(wanted)


def _scrub_events(who: Who, events: Collection[int]) -> int:
    scrubbing.scrub(Event, who.email, ["url", "reason", "dedupe_key"], events)
    return Event.objects.forget(events)


def _requests(who: Who, events: QuerySet[Event]) -> list[int]:
    """Return the raw requests that tell of the events, or have the address in them."""
    told = {pk for pk in events.values_list("request_id", flat=True) if pk is not None}
    return sorted({*told, *RawRequest.objects.naming(scrubbing.pattern_of(who.email))})


def _scrub_requests(who: Who, requests: Collection[int]) -> int:
    """Take the address out of what came; what hides it (a mail in base64) goes as a whole.

    What is not applied yet is kept whole but for the address: other people's events are in it.
    """
    for row in RawRequest.objects.filter(pk__in=requests).only("body", "status").iterator(50):
        body = scrubbing.without(who.email, bytes(row.body))
        is_hidden = body == bytes(row.body)
        gone = b"" if is_hidden and row.status == RawRequest.Status.APPLIED else body
        RawRequest.objects.filter(pk=row.pk).update(body=gone)
    scrubbing.scrub(RawRequest, who.email, ["headers", "error", "traceback"], requests)
    return len(requests)


def _deliveries(events: QuerySet[Event]) -> QuerySet[Delivery]:
    return Delivery.objects.filter(event_id__in=events.values("pk"))


def _queues(who: Who, messages: Collection[int]) -> QuerySet[QueueId]:
    pattern = scrubbing.pattern_of(who.email)
    named = Q(waiting_for__iregex=pattern) | Q(said__iregex=pattern)
    return QueueId.objects.filter(Q(message_id__in=messages) | named)


PART = erasing.Part(
    name="events",
    tell=tell,
    erase=erase,
    holding=[
        "webhooks.Event",
        "webhooks.Tracked",
        "webhooks.RawRequest",
        "webhooks.Sighting",
        "webhooks.QueueId",
        "webhooks.Delivery",
        "webhooks.DeliveryTry",
        "webhooks.Endpoint",
    ],
    holding_nothing={
        "webhooks.AnonymousCount": "numbers",
        "webhooks.QuietAccount": "an account at a provider",
        "webhooks.Horizon": "how far events were passed on",
        "webhooks.LogPosition": "how far a log was read",
        "webhooks.MailboxPosition": "how far a mailbox was read",
        "webhooks.Silence": "numbers",
        "webhooks.WebhookCount": "numbers",
    },
)
