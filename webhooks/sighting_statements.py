"""The SQL of what we see ourselves: noted when it happens, counted where nobody is told apart."""

from __future__ import annotations

NOTE = """
INSERT INTO webhooks_sighting
    (message_id, campaign_id, number, url, ip, user_agent, device, is_machine, reason, seen_at)
SELECT %s, %s, %s, %s, %s::inet, %s, %s, %s, %s, %s
WHERE set_config('synchronous_commit', 'off', true) IS NOT NULL
"""
"""Not worth waiting for the disk: nobody waits longer for a page because we count."""

TAKE = """
DELETE FROM webhooks_sighting WHERE id IN (
    SELECT id FROM webhooks_sighting WHERE NOT is_aside
    ORDER BY id LIMIT %s FOR UPDATE SKIP LOCKED
)
RETURNING id, message_id, campaign_id, number, url, host(ip), user_agent, device, is_machine,
    reason, seen_at
"""

BE_MODEST = "SET LOCAL lock_timeout = {}; SET LOCAL synchronous_commit = off"

STORE_ANONYMOUS = """
INSERT INTO webhooks_event
    (dedupe_key, type, occurred_at, campaign_id, url, device, is_machine, reason)
SELECT * FROM unnest(%s::text[], %s::text[], %s::timestamptz[], %s::bigint[], %s::text[],
    %s::text[], %s::bool[], %s::text[])
ON CONFLICT DO NOTHING
"""

ADD_ANONYMOUS = """
INSERT INTO webhooks_anonymouscount AS counted (campaign_id, number, hour, people, machines)
SELECT campaign_id, number, date_trunc('hour', at), count(*) FILTER (WHERE NOT is_machine),
    count(*) FILTER (WHERE is_machine)
FROM unnest(%s::bigint[], %s::int[], %s::timestamptz[], %s::bool[])
    AS seen (campaign_id, number, at, is_machine)
GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
ON CONFLICT (campaign_id, number, hour) DO UPDATE
SET people = counted.people + excluded.people, machines = counted.machines + excluded.machines
"""

_COUNTED = """
SELECT e.campaign_id, COALESCE(l.number, %(opens)s) AS number,
    date_trunc('hour', e.occurred_at) AS hour,
    count(*) FILTER (WHERE e.is_machine IS NOT TRUE) AS people,
    count(*) FILTER (WHERE e.is_machine) AS machines
FROM webhooks_event e
LEFT JOIN campaigns_link l ON e.type = 'clicked' AND l.campaign_id = e.campaign_id
    AND l.url = e.url AND NOT l.is_personal
WHERE e.campaign_id = %(campaign)s AND e.account_id IS NULL AND e.message_id IS NULL
  AND (e.type = 'opened' OR (e.type = 'clicked' AND l.number IS NOT NULL))
GROUP BY 1, 2, 3
"""
"""A link is known by its address: of one campaign each has one number."""

RECOUNT_ANONYMOUS = f"""
INSERT INTO webhooks_anonymouscount (campaign_id, number, hour, people, machines)
{_COUNTED}
"""

DRIFT_ANONYMOUS = f"""
SELECT COALESCE(sum(abs(COALESCE(e.people, 0) - COALESCE(c.people, 0))
    + abs(COALESCE(e.machines, 0) - COALESCE(c.machines, 0))), 0)
FROM ({_COUNTED}) AS e FULL JOIN (
    SELECT * FROM webhooks_anonymouscount WHERE campaign_id = %(campaign)s
) AS c ON (c.number, c.hour) = (e.number, e.hour)
"""  # noqa: S608 (words of our own)
