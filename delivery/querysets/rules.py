"""Routing rules as SQL: the stamp that messages get when they are queued."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.db import models

if TYPE_CHECKING:
    from delivery.models import RoutingRule

ENGAGED_FOR = timedelta(days=settings.ENGAGED_DAYS)
"""Who has opened or clicked within this time is engaged."""
NEW_FOR = timedelta(days=30)
"""Who is known for less, and has never opened or clicked, is new."""


@dataclass(frozen=True, slots=True)
class Stamp:
    """An SQL expression for `Message.route`, and its parameters.

    It reads columns `email`, `mailbox`, and with `needs_tier` also `engaged_at` and `created_at`,
    of a relation called `person`.
    """

    sql: str
    params: Sequence[Any] = ()
    needs_tier: bool = False


NO_STAMP = Stamp("0")


class RoutingRuleQuerySet(models.QuerySet["RoutingRule"]):
    def stamp(self, stream: str, now: datetime) -> Stamp:
        """Return the stamp of mail of this stream: the first active rule that matches, or 0.

        Without a rule it is the constant 0 and asks for nothing.
        """
        rules = list(self.filter(is_active=True, stream__in=["", stream]))
        if not rules:
            return NO_STAMP
        cases, params = [], []
        for rule in rules:
            sql, more = _condition(rule, now)
            cases.append(f"WHEN {sql} THEN %s")
            params += [*more, rule.pk]
        needs_tier = any(rule.tier for rule in rules)
        return Stamp(f"CASE {' '.join(cases)} ELSE 0 END", params, needs_tier)


def _condition(rule: RoutingRule, now: datetime) -> tuple[str, list[Any]]:
    """Return when a rule is for a person: `RoutingRule.matches` as SQL."""
    conditions: list[str] = ["true"]
    params: list[Any] = []
    if rule.domains or rule.mailbox:
        exact = [each for each in rule.domains if not each.startswith("*.")]
        below = [f"%{each[1:]}" for each in rule.domains if each.startswith("*.")]
        conditions.append(
            "(person.mailbox = %s OR split_part(person.email, '@', 2) = ANY(%s::text[])"
            " OR split_part(person.email, '@', 2) LIKE ANY(%s::text[]))"
        )
        params += [rule.mailbox, exact, below]
    if rule.tier:
        conditions.append(_TIERS[rule.tier])
        params += {"engaged": [now - ENGAGED_FOR], "new": [now - NEW_FOR]}.get(
            rule.tier, [now - ENGAGED_FOR, now - NEW_FOR]
        )
    return " AND ".join(conditions), params


_ENGAGED = "COALESCE(person.engaged_at > %s, false)"
_NEW = "(person.engaged_at IS NULL AND COALESCE(person.created_at > %s, true))"
"""Somebody we do not know is new."""
_TIERS = {"engaged": _ENGAGED, "new": _NEW, "cold": f"NOT {_ENGAGED} AND NOT {_NEW}"}
