"""What this app keeps of a person: told, and erased."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any

from django.db.models import QuerySet

from delivery.models import (
    Alert,
    Attachment,
    Attempt,
    CircuitChange,
    Handoff,
    LaneState,
    ListComparison,
    ListedAddress,
    Mail,
    Message,
    Notice,
    ProviderAccount,
    Refusal,
    SenderRefusal,
    Submission,
)
from subscribers import erasing, scrubbing
from subscribers.erasing import Told, Who, rows_of

_QUIET = ("address_key", "route", "due_at")
_SAID: dict[Any, list[str]] = {
    Alert: ["subject", "text", "payload"],
    Notice: ["body", "error"],
    ProviderAccount: ["last_error", "circuit_reason"],
    CircuitChange: ["reason"],
    SenderRefusal: ["error"],
    LaneState: ["reason"],
    ListComparison: ["cursor", "error"],
    Submission: ["answer"],
}
"""Tables about other things, in whose words an address may stand."""


def messages_of(who: Who) -> list[int]:
    """Return the keys of the messages that went, or are to go, to somebody.

    By the person, and by the address where no person is (any more).
    """
    rows = Message.objects.filter(subscriber=None, address_key=who.key)
    if who.person:
        rows = rows.union(Message.objects.filter(subscriber=who.person))
    return sorted(rows.values_list("pk", flat=True))


def _copies(who: Who) -> QuerySet[Mail]:
    """Mails of others of which somebody got a copy."""
    pattern = scrubbing.pattern_of(who.email)
    return Mail.objects.exclude(copies={}).extra(
        where=["(copies::text ~* %s OR refused_copies::text ~* %s)"], params=[pattern, pattern]
    )


def tell(who: Who) -> Told:
    """Return the mails that somebody got, with the content of those sent by API."""
    messages = messages_of(who)
    copies = [pk for pk in _copies(who).values_list("pk", flat=True) if pk not in set(messages)]
    return {
        "messages": rows_of(Message.objects.filter(pk__in=messages), _QUIET),
        "mails sent by API": rows_of(Mail.objects.filter(pk__in=messages), ("api_key_id",)),
        "attachments": rows_of(Attachment.objects.filter(mail__in=messages), ("content",)),
        "copies of mails to others": [
            {"message": pk, "content": "It was written to somebody else."} for pk in copies
        ],
        "lists of providers": rows_of(ListedAddress.objects.filter(address_key=who.key), _QUIET),
        "tries that failed": rows_of(Attempt.objects.filter(message__in=messages)),
        "refusals of mail servers": rows_of(Refusal.objects.filter(message_id__in=messages)),
    }


def erase(who: Who, now: datetime) -> dict[str, int]:
    """Leave messages as numbers to count; delete what was written, and other people's words."""
    messages = messages_of(who)
    handoffs = set(
        Message.objects.filter(pk__in=messages, handoff__isnull=False)
        .values_list("handoff", flat=True)
        .union(
            Attempt.objects.filter(message__in=messages, handoff__isnull=False).values_list(
                "handoff", flat=True
            )
        )
    )
    Attachment.objects.filter(mail__in=messages).delete()
    words = _scrub_words(who, messages, handoffs)
    return {
        "lists of providers": ListedAddress.objects.filter(address_key=who.key).delete()[0],
        "mails sent by API": Mail.objects.forget(messages),
        "copies of mails to others": scrubbing.scrub(Mail, who.email, ["copies", "refused_copies"]),
        "words of providers and alerts": words,
        "messages": Message.objects.forget(messages),
    }


def _scrub_words(who: Who, messages: Collection[int], handoffs: Collection[Any]) -> int:
    found = scrubbing.scrub(Message, who.email, ["error"], messages)
    found += scrubbing.scrub(Handoff, who.email, ["error", "reason"], handoffs)
    attempts = Attempt.objects.filter(message__in=messages).values_list("pk", flat=True)
    found += scrubbing.scrub(Attempt, who.email, ["error"], attempts)
    refusals = Refusal.objects.filter(message_id__in=messages).values_list("pk", flat=True)
    found += scrubbing.scrub(Refusal, who.email, ["said"], refusals)
    return found + sum(scrubbing.scrub(model, who.email, names) for model, names in _SAID.items())


PART = erasing.Part(
    name="mail",
    tell=tell,
    erase=erase,
    holding=[
        "delivery.Message",
        "delivery.ListedAddress",
        "delivery.Mail",
        "delivery.Attachment",
        "delivery.Attempt",
        "delivery.Refusal",
        "delivery.Handoff",
        *(model._meta.label for model in _SAID),
    ],
    holding_nothing={
        "campaigns.Campaign": "what the team writes to everybody",
        "campaigns.Content": "what the team writes to everybody",
        "campaigns.Template": "what the team writes to everybody",
        "campaigns.TemplateVersion": "what the team writes to everybody",
        "campaigns.Link": "links as they stand in the text, for everybody",
        "delivery.CampaignStat": "numbers",
        "delivery.DailyCount": "numbers",
        "delivery.Expansion": "numbers",
        "delivery.MessageType": "kinds of mail",
        "delivery.ProviderReputation": "numbers",
        "delivery.RoutingRule": "domains",
        "delivery.SendingDomain": "our own domains",
        "delivery.SlaBreach": "times",
        "delivery.SlaMark": "times",
        "delivery.SlaStat": "numbers",
        "delivery.Stamping": "times",
        "delivery.Worker": "processes",
    },
)
