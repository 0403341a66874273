"""Routing rules at work: which one is for whom, and the stamp of what is queued.

Messages carry the id of their rule (`Message.route`), so that a claim takes mail of one rule only.
A rule that is gone counts as none until its messages are stamped anew.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from django.conf import settings

from delivery.models import Message, RoutingRule, Stamping, Tier
from delivery.querysets import ENGAGED_FOR, NEW_FOR
from subscribers.mailboxes import mailbox_of
from subscribers.models import Subscriber

SETTLED_AFTER = timedelta(seconds=10)
"""Others may stamp by the old rules for so long: what they know is old, or they are not done."""
CHUNK = 20_000
"""Messages looked at in one statement."""


class _Known(NamedTuple):
    rules: dict[int, RoutingRule]
    at: float


_known = _Known({}, float("-inf"))


def active() -> dict[int, RoutingRule]:
    """Return the active rules by id, in their order; at most ROUTING_FRESH_S old."""
    global _known  # noqa: PLW0603 (one tuple, replaced as a whole)
    if time.monotonic() - _known.at >= settings.ROUTING_FRESH_S:
        rules = RoutingRule.objects.filter(is_active=True)
        _known = _Known({rule.pk: rule for rule in rules}, time.monotonic())
    return _known.rules


def rule_of(email: str, stream: str, tier: str = Tier.NEW) -> RoutingRule | None:
    """Return the rule for a mail to this (normalised) address; None if there is none."""
    mailbox = mailbox_of(email)
    rules = active().values()
    return next((each for each in rules if each.matches(email, mailbox, stream, tier)), None)


def route_of(email: str, stream: str, tier: str = Tier.NEW) -> int:
    """Return what `Message.route` is stamped with: the id of its rule, or 0."""
    rule = rule_of(email, stream, tier)
    return rule.pk if rule else 0


def asks_for_tier() -> bool:
    """Say whether some rule looks at the tier: whoever stamps need not look it up otherwise."""
    return any(rule.tier for rule in active().values())


def tier_of(person: Subscriber | None, now: datetime) -> Tier:
    """Return how a person has met our mail lately; somebody we do not know is new."""
    if person is None:
        return Tier.NEW
    if person.engaged_at is not None:
        return Tier.ENGAGED if person.engaged_at > now - ENGAGED_FOR else Tier.COLD
    return Tier.NEW if person.created_at > now - NEW_FOR else Tier.COLD


def stamp(messages: Sequence[Message], now: datetime) -> None:
    """Give messages that are about to be queued their route; at most one query, for the tier."""
    if not active():
        return
    people: dict[int, Subscriber] = {}
    if asks_for_tier():
        known = Subscriber.objects.only("engaged_at", "created_at")
        people = known.in_bulk([each.subscriber_id for each in messages if each.subscriber_id])
    for each in messages:
        tier = tier_of(people.get(each.subscriber_id or 0), now)
        each.route = route_of(each.email, each.stream, tier)


def stamp_queued(now: datetime) -> int:
    """Stamp what is queued anew if rules have changed; return how many messages changed.

    Done once more after SETTLED_AFTER, for what was stamped by old rules meanwhile. May be
    interrupted anywhere, and repeated.
    """
    pending = Stamping.objects.filter(pk=1).first()
    if pending is None or not _is_due(pending):
        return 0
    changed = sum(
        Message.objects.stamp_lane(lane, RoutingRule.objects.stamp(lane.stream, now), CHUNK)
        for lane in Message.objects.queued_lanes()
    )
    Stamping.objects.filter(pk=1).update(stamped_at=now)
    return changed


def _is_due(pending: Stamping) -> bool:
    return pending.stamped_at is None or pending.stamped_at <= pending.changed_at + SETTLED_AFTER


def move(rule: RoutingRule, by: int) -> None:
    """Move a rule up (-1) or down (1) among the others."""
    rules = list(RoutingRule.objects.all())
    here = rules.index(rule)
    there = min(max(here + by, 0), len(rules) - 1)
    rules.insert(there, rules.pop(here))
    _number(rules)


def _number(rules: Sequence[RoutingRule]) -> None:
    for position, rule in enumerate(rules, start=1):
        if rule.position != position:
            rule.position = position
            rule.save(update_fields=["position"])
