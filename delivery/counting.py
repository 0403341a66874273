"""The counters of campaigns: kept up with every change of a message, and counted anew at will.

Each message counts once per counter, in the hour its time says. So the counters are always what
a recount of the messages gives, whatever came in which order.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import NamedTuple

from django.db import connection, transaction
from django.db.models import Sum

from delivery.models import CampaignStat

COUNTED: Mapping[str, str] = MappingProxyType(
    {
        "sent": "sent_at",
        "delivered": "delivered_at",
        "deferred": "deferred_at",
        "bounced": "CASE WHEN bounce_class = 'hard' THEN bounced_at END",
        "soft_bounced": "CASE WHEN bounce_class <> 'hard' THEN bounced_at END",
        "dropped": "dropped_at",
        "opened": "opened_at",
        "person_opened": "person_opened_at",
        "machine_opened": "machine_opened_at",
        "clicked": "clicked_at",
        "person_clicked": "person_clicked_at",
        "machine_clicked": "machine_clicked_at",
        "unsubscribed": "unsubscribed_at",
        "complained": "complained_at",
    }
)
"""Counter -> the message's time in whose hour it counts, as SQL; NULL: it does not count."""


class Drift(NamedTuple):
    """By how much a counter of one account is wrong, hours and mailboxes taken one by one."""

    campaign: int | None
    """None: mail sent by API."""
    provider: int
    counter: str
    by: int
    """Never negative: one too many in one hour does not make up for one too few in another."""


class Delta(NamedTuple):
    """By how much one counter changes."""

    campaign: int | None
    """None: mail sent by API."""
    provider: int
    mailbox: str
    hour: datetime
    counter: str
    by: int


_COLUMNS = ", ".join(COUNTED)
_EXCLUDED = ", ".join(f"{name} = counted.{name} + excluded.{name}" for name in COUNTED)
_TAKEN = ", ".join(f"{name} = counted.{name} - less.{name}" for name in COUNTED)
_TIMES = ", ".join(f"('{name}', {time})" for name, time in COUNTED.items())
_COUNTS = ", ".join(f"count(*) FILTER (WHERE time.name = '{name}')" for name in COUNTED)

_VALUES = ", ".join(f"('{name}', {name})" for name in COUNTED)

_GAIN = f"""
INSERT INTO delivery_campaignstat AS counted
    (campaign_id, provider_id, mailbox, hour, {_COLUMNS})
SELECT campaign_id, provider_id, mailbox, hour, {_COLUMNS}
FROM json_populate_recordset(NULL::delivery_campaignstat, %s)
ORDER BY 1, 2, 3, 4
ON CONFLICT (campaign_id, provider_id, mailbox, hour) DO UPDATE SET {_EXCLUDED}
"""  # noqa: S608 (names of our own)

_LOSE = f"""
UPDATE delivery_campaignstat AS counted SET {_TAKEN}
FROM json_populate_recordset(NULL::delivery_campaignstat, %s) AS less
WHERE (counted.provider_id, counted.mailbox, counted.hour)
    = (less.provider_id, less.mailbox, less.hour)
  AND (counted.campaign_id = less.campaign_id
       OR (counted.campaign_id IS NULL AND less.campaign_id IS NULL))
"""  # noqa: S608 (names of our own)

_RECOUNT = f"""
INSERT INTO delivery_campaignstat (campaign_id, provider_id, mailbox, hour, {_COLUMNS})
SELECT campaign_id, provider_id, mailbox, date_trunc('hour', time.at), {_COUNTS}
FROM delivery_message CROSS JOIN LATERAL (VALUES {_TIMES}) AS time (name, at)
WHERE {{which}} AND provider_id IS NOT NULL AND time.at IS NOT NULL
GROUP BY 1, 2, 3, 4
"""  # noqa: S608 (names of our own)


_DRIFT = f"""
WITH counted AS (
    SELECT campaign_id, provider_id, mailbox, date_trunc('hour', time.at) AS hour, time.name,
        count(*) AS number
    FROM delivery_message CROSS JOIN LATERAL (VALUES {_TIMES}) AS time (name, at)
    WHERE provider_id IS NOT NULL AND time.at IS NOT NULL GROUP BY 1, 2, 3, 4, 5
), kept AS (
    SELECT campaign_id, provider_id, mailbox, hour, counter.name, counter.number
    FROM delivery_campaignstat
    CROSS JOIN LATERAL (VALUES {_VALUES}) AS counter (name, number)
    WHERE counter.number <> 0
)
SELECT COALESCE(k.campaign_id, c.campaign_id), COALESCE(k.provider_id, c.provider_id),
    COALESCE(k.name, c.name), sum(abs(COALESCE(k.number, 0) - COALESCE(c.number, 0)))::int
FROM kept k FULL JOIN counted c
    ON (k.provider_id, k.mailbox, k.hour, k.name) = (c.provider_id, c.mailbox, c.hour, c.name)
    AND COALESCE(k.campaign_id, 0) = COALESCE(c.campaign_id, 0)
WHERE k.number IS DISTINCT FROM c.number
GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
"""  # noqa: S608 (names of our own)


def add(deltas: Iterable[Delta]) -> None:
    """Add to the counters; call it last in the transaction that changed the messages.

    Last, since the rows of the current hour are everybody's, and are locked until it commits.
    Gains go first: a counter never falls below zero, not even for a moment.
    """
    gains: dict[tuple[object, ...], dict[str, object]] = {}
    losses: dict[tuple[object, ...], dict[str, object]] = {}
    for delta in _summed(deltas):
        rows = gains if delta.by > 0 else losses
        row = rows.setdefault(delta[:4], _blank(delta))
        row[delta.counter] = abs(delta.by)
    with connection.cursor() as cursor:
        for sql, rows in ((_GAIN, gains), (_LOSE, losses)):
            if rows:
                cursor.execute(sql, [json.dumps(list(rows.values()))])


def _summed(deltas: Iterable[Delta]) -> list[Delta]:
    """Return one change per counter: what rises and falls in one transaction may cancel out."""
    sums: Counter[tuple[int | None, int, str, datetime, str]] = Counter()
    for delta in deltas:
        sums[delta[:5]] += delta.by
    return [Delta(*which, by) for which, by in sums.items() if by]


def _blank(delta: Delta) -> dict[str, object]:
    return {
        "campaign_id": delta.campaign,
        "provider_id": delta.provider,
        "mailbox": delta.mailbox,
        "hour": delta.hour.isoformat(),
        **dict.fromkeys(COUNTED, 0),
    }


def rebuild(campaign: int | None) -> dict[int, dict[str, int]]:
    """Count a campaign's messages anew; return by how much counters were wrong, by provider.

    None: of mail that was sent by API.

    {} if all were right. Whoever changes counters waits meanwhile (a second or two for a million
    messages): what they have not committed is not counted here, and added by them afterwards.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("LOCK TABLE delivery_campaignstat IN SHARE ROW EXCLUSIVE MODE")
        before = _totals(campaign)
        CampaignStat.objects.filter(campaign=campaign).delete()
        if campaign is None:
            cursor.execute(_RECOUNT.format(which="campaign_id IS NULL"))
        else:
            cursor.execute(_RECOUNT.format(which="campaign_id = %s"), [campaign])
        after = _totals(campaign)
    wrong = {pk: _less(after.get(pk, {}), before.get(pk, {})) for pk in {*before, *after}}
    return {pk: by_counter for pk, by_counter in sorted(wrong.items()) if by_counter}


def drift() -> list[Drift]:
    """Return the counters that are not what the messages give; change nothing.

    As the caller's transaction sees both: give it a snapshot, and nobody has to wait.
    """
    with connection.cursor() as cursor:
        cursor.execute(_DRIFT)
        return [Drift(*row) for row in cursor.fetchall()]


def _totals(campaign: int | None) -> dict[int, dict[str, int]]:
    """Return provider -> counter -> its sum over mailboxes and hours."""
    rows = CampaignStat.objects.filter(campaign=campaign).order_by().values_list("provider")
    sums = rows.annotate(*(Sum(name) for name in COUNTED))
    return {pk: dict(zip(COUNTED, values, strict=True)) for pk, *values in sums}


def _less(after: dict[str, int], before: dict[str, int]) -> dict[str, int]:
    """Return the counters that differ, and by how much."""
    found = {name: after.get(name, 0) - before.get(name, 0) for name in COUNTED}
    return {name: by for name, by in found.items() if by}
