"""Events → what they mean: times on messages, counters, suppressions. In the caller's transaction.

Only what is new has an effect, so everything here may be repeated.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from django.conf import settings
from django.db import transaction

from campaigns.linking import is_own
from delivery import counting, tracking
from delivery.models import ProviderAccount, message_of
from delivery.providers.base import Event as Heard
from delivery.providers.base import EventType
from emailplatform.secrets import address_key
from subscribers.models import Suppression
from subscribers.querysets import Reach, Told
from subscribers.validating import InvalidAddress, clean_address
from webhooks import classifying, feeling, leaving, looking, weighing
from webhooks.looking import Look
from webhooks.marks import COMPLAINTS, OWN_PAGE
from webhooks.models import Event
from webhooks.querysets import Arrival, Consequence, CopyEnded, Taken

_LOOKS = (EventType.OPENED, EventType.CLICKED, EventType.UNSUBSCRIBED)


class Applied(NamedTuple):
    """What was not simply applied, as numbers of events by raw request; what came, by account."""

    held: dict[int, int]
    """They wait for messages that are not here yet."""
    foreign: dict[int, int]
    """They name messages that this account was not given, or other people's addresses."""
    orphans: dict[int, int]
    """They name messages that never came."""
    taken: Sequence[Taken]


def arrival(event: Heard, account: int | None, request: int | None, may_wait: bool) -> Arrival:
    """Return the row of an event; what has a limit in the table is clipped."""
    is_look = event.type in _LOOKS
    agent = event.user_agent[:500]
    kind = _type_of(event)
    verdict = classifying.judge_alone(kind, agent, event.ip, event.is_machine, event.reason)
    return Arrival(
        request,
        may_wait,
        account,
        event.dedupe_key,
        kind,
        event.occurred_at,
        message_of(event.message_id) or None,
        event.recipient[:320],
        event.provider_message_id[:200],
        event.url,
        event.ip or None,
        agent,
        verdict.is_machine,
        event.bounce_class or ("unknown" if event.type == EventType.BOUNCED else ""),
        event.reason[:500],
        event.complaint_type[:20],
        looking.country_of(event.ip) or event.country[:2] if is_look else "",
        *(looking.look_of(agent) if is_look else Look()),
        verdict.reason,
        event.is_machine,
        verdict.rules,
    )


def _type_of(event: Heard) -> str:
    """Return the type; who follows the unsubscribe link is not interested in what a mail says.

    Nor counts a link of ours that a provider has wrapped once more: we see that click ourselves.
    """
    is_click = event.type == EventType.CLICKED
    is_ours = is_click and (is_own(event.url) or tracking.is_counted_link(event.url))
    return OWN_PAGE if is_ours else event.type


def apply_own(event: Heard, now: datetime) -> None:
    """Apply an event that we saw ourselves, in the caller's transaction."""
    apply_events([arrival(event, account=None, request=None, may_wait=False)], now)


def apply_events(arrivals: Iterable[Arrival], now: datetime) -> Applied:
    """Take in events and everything they mean; return how many must wait or were not believed.

    Only what is new has an effect. Counters come last: their rows are everybody's.
    """
    tracking.hosts()
    Event.objects.arrive(arrivals)
    held = Event.objects.hold_back()
    unmatched: dict[str, dict[int, int]] = {}
    if Event.objects.take_in():
        unmatched = Event.objects.unmatched()
        deltas = Event.objects.mark_messages()
        Event.objects.note_engagement()
        deltas += weighing.weigh_fresh()
        if tired := Event.objects.count_soft_bounces(settings.SOFT_BOUNCES_TO_REST):
            _rest(tired, now)
        if consequences := Event.objects.consequences():
            _end_mail(consequences, now)
        if copies := Event.objects.copies_ended():
            _end_copies(copies, now)
        feeling.feel(now)
        counting.add(deltas)
    taken = Event.objects.taken()
    standing = Event.Standing
    return Applied(
        held, unmatched.get(standing.FOREIGN, {}), unmatched.get(standing.ORPHAN, {}), taken
    )


def settle_doubts() -> None:
    """Settle messages that came into doubt after their events had come."""
    with transaction.atomic():
        counting.add(Event.objects.settle_doubts())


# --- People ------------------------------------------------------------------------------


def _end_mail(consequences: Sequence[Consequence], now: datetime) -> None:
    """Suppress addresses that bounced or complained; let people leave who want to.

    Complaints go first: of two reasons in one batch the graver one stays.
    """
    reasons = Suppression.Reason
    complained = [each for each in consequences if each.type in COMPLAINTS]
    left = [each for each in consequences if each.type == EventType.UNSUBSCRIBED]
    bounced = [each for each in consequences if each not in complained and each not in left]
    names = dict(ProviderAccount.objects.values_list("pk", "name"))
    for reason, group in ((reasons.COMPLAINED, complained), (reasons.BOUNCED, bounced)):
        if group:
            rows = [
                Told(bytes(each.address_key), reason, _source(each, names), each.event)
                for each in group
            ]
            Suppression.objects.suppress_many(rows, now)
    if left:
        leaving.leave_many(left, now)


def _rest(keys: Sequence[bytes], now: datetime) -> None:
    """Leave addresses alone for a time whose mail came back too often in a row."""
    source = f"{settings.SOFT_BOUNCES_TO_REST} soft bounces in a row"
    rows = [Told(key, Suppression.Reason.SOFT_BOUNCED, source) for key in keys]
    reach = Reach(expires_at=now + timedelta(days=settings.SOFT_BOUNCE_REST_DAYS))
    Suppression.objects.suppress_many(rows, now, reach=reach)


def _end_copies(copies: Sequence[CopyEnded], now: datetime) -> None:
    """Suppress the addresses of copies that bounced or complained, the graver reason first."""
    reasons = Suppression.Reason
    names = dict(ProviderAccount.objects.values_list("pk", "name"))
    rows = []
    for copy in sorted(copies, key=lambda each: each.type not in COMPLAINTS):
        reason = reasons.COMPLAINED if copy.type in COMPLAINTS else reasons.BOUNCED
        source = f"{names.get(copy.account or 0, 'Somebody')} reported it about a copy"
        with contextlib.suppress(InvalidAddress):  # then nobody can be mailed there either
            rows.append((address_key(clean_address(copy.recipient)), reason, source[:200]))
    Suppression.objects.suppress_many(rows, now)


def _source(consequence: Consequence, names: dict[int, str]) -> str:
    """Return where a suppression came from, in words without any address: it stays for ever."""
    who = names.get(consequence.account or 0, "Somebody")
    about = f" about campaign {consequence.campaign}" if consequence.campaign else ""
    return f"{who} reported it{about}"[:200]
