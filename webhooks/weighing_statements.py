"""The SQL of judging opens and clicks beside the others of their message, and of revising marks."""

from __future__ import annotations

import re

from webhooks.event_statements import DELTAS
from webhooks.marks import LOOK_MARKS, MARKS

MOST_LOOKS = 1000
"""Of one message, the earliest: no flood of clicks makes the next one dear."""

CONCERNED = """
WITH looked AS (
    SELECT f.message_id FROM webhooks_fresh f
    WHERE f.standing = '' AND f.type = 'clicked'
    UNION
    SELECT f.message_id FROM webhooks_fresh f JOIN delivery_message m ON m.id = f.message_id
    WHERE f.standing = '' AND f.type = 'opened' AND f.is_machine IS NOT TRUE AND (
        m.machine_clicked_at IS NOT NULL OR %(pace)s AND EXISTS (
            SELECT 1 FROM webhooks_event d
            WHERE d.message_id = f.message_id AND d.type = 'delivered'
              AND d.occurred_at BETWEEN f.occurred_at - %(open_fast)s
                                    AND f.occurred_at + %(before)s
        ))
    UNION
    SELECT f.message_id FROM webhooks_fresh f JOIN delivery_message m ON m.id = f.message_id
    WHERE %(pace)s AND f.standing = '' AND f.type = 'delivered' AND num_nonnulls(
        m.opened_at, m.machine_opened_at, m.clicked_at, m.machine_clicked_at) > 0
      AND EXISTS (
        SELECT 1 FROM webhooks_event e
        WHERE e.message_id = f.message_id AND e.type IN ('opened', 'clicked') AND (
            e.machine_reason IN ('fast', 'too_fast')
            OR e.occurred_at BETWEEN f.occurred_at - %(before)s AND f.occurred_at + %(click_fast)s
        ))
    UNION
    SELECT e.message_id FROM webhooks_fresh f JOIN webhooks_event e
        ON e.ip = f.ip AND e.type = 'clicked' AND e.message_id IS NOT NULL
       AND e.occurred_at BETWEEN f.occurred_at - %(crowd_within)s
                             AND f.occurred_at + %(crowd_within)s
    WHERE %(pace)s AND f.type = 'clicked' AND f.message_id IS NOT NULL
      AND e.is_machine IS NOT TRUE AND e.standing = ''
)
SELECT message_id FROM looked
"""
"""The messages whose verdicts the new events may change. All of them but no others are judged.

Clicks: bursts, visits, haste. Opens: haste, and visits of a machine that clicked. Deliveries at
the moment of a look, or of what another delivery had called hasty. Others from the address of a new
click, that may make a crowd with it.
"""

HOLD = """
SELECT id FROM delivery_message WHERE id = ANY(%s) ORDER BY id FOR NO KEY UPDATE
"""
"""In order, and before their events are read: two who judge one message see each other's events."""

SEEN = f"""
SELECT e.id, m.id, e.type, e.occurred_at, e.url, COALESCE(host(e.ip), ''), e.user_agent,
    CASE WHEN e.machine_rules = 0 THEN NULLIF(e.is_machine, false) ELSE e.machine_told END,
    e.reason,
    CASE WHEN %(pace)s AND e.type = 'clicked' AND e.ip IS NOT NULL THEN (
        SELECT count(DISTINCT o.message_id) FROM (
            SELECT c.message_id FROM webhooks_event c
            WHERE c.ip = e.ip AND c.type = 'clicked' AND c.message_id IS NOT NULL
              AND c.occurred_at BETWEEN e.occurred_at - %(crowd_within)s
                                    AND e.occurred_at + %(crowd_within)s
            ORDER BY c.occurred_at LIMIT 1000
        ) o
    ) ELSE 0 END,
    e.is_machine, e.machine_reason, e.machine_rules, delivered.at
FROM unnest(%(messages)s::bigint[]) AS m (id) CROSS JOIN LATERAL (
    SELECT min(d.occurred_at) AS at FROM webhooks_event d
    WHERE d.message_id = m.id AND d.type = 'delivered' AND d.standing = ''
) AS delivered CROSS JOIN LATERAL (
    SELECT * FROM webhooks_event e
    WHERE e.message_id = m.id AND e.standing = '' AND e.type IN ('opened', 'clicked')
    ORDER BY e.occurred_at, e.id LIMIT {MOST_LOOKS}
) AS e
ORDER BY m.id
"""  # noqa: S608 (a number of our own)
"""What was judged before there were rules, and called a machine, was told so: nothing is lost."""

LONELY = """
SELECT e.id, NULL::bigint, e.type, e.occurred_at, e.url, COALESCE(host(e.ip), ''), e.user_agent,
    CASE WHEN e.machine_rules = 0 THEN NULLIF(e.is_machine, false) ELSE e.machine_told END,
    e.reason, 0, e.is_machine, e.machine_reason, e.machine_rules, NULL::timestamptz
FROM webhooks_event e WHERE e.id = ANY(%s)
"""
"""Of copies and orphans: each is judged alone."""

_GIVEN = """
given AS (
    SELECT * FROM unnest(%(ids)s::bigint[], %(machines)s::boolean[], %(reasons)s::text[],
        %(told)s::boolean[], %(rules)s::smallint[]) AS g (id, is_machine, reason, told, rules)
)
"""


def _facts(name: str, column: str) -> str:
    events = re.sub(r"\bis_machine\b", column, MARKS[name])
    return f"min(occurred_at) FILTER (WHERE {events}) AS {column}_{name}"


_FACTS = ",\n        ".join(
    _facts(name, column) for name in LOOK_MARKS for column in ("was", "becomes")
)
_OLD = ", ".join(f"m.{name}" for name in ("sent_at", "bounce_class", *MARKS))


def _new(name: str) -> str:
    if name not in LOOK_MARKS:
        return f"m.{name}"
    return (
        f"CASE WHEN m.{name} IS NOT DISTINCT FROM f.was_{name} THEN f.becomes_{name}"
        f" ELSE LEAST(m.{name}, f.becomes_{name}) END"
    )


_NEW = ",\n        ".join(
    f"{_new(name)} AS new_{name}" for name in ("sent_at", "bounce_class", *MARKS)
)
_SET = ", ".join(f"{name} = b.new_{name}" for name in LOOK_MARKS)
_CHANGED = " OR ".join(f"m.{name} IS DISTINCT FROM ({_new(name)})" for name in LOOK_MARKS)

REVISE = f"""
WITH {_GIVEN}, told AS (
    SELECT e.message_id, e.type, e.occurred_at, e.is_machine AS was,
        CASE WHEN g.id IS NULL THEN e.is_machine ELSE g.is_machine END AS becomes
    FROM webhooks_event e LEFT JOIN given g ON g.id = e.id
    WHERE e.message_id = ANY(%(messages)s) AND e.standing = ''
      AND e.type IN ('delivered', 'opened', 'clicked')
), facts AS (
    SELECT message_id,
        {_FACTS}
    FROM told GROUP BY 1
), found AS MATERIALIZED (
    SELECT m.id, m.campaign_id, m.subscriber_id, m.provider_id,
        m.provider_id AS new_provider_id, m.mailbox, {_OLD},
        {_NEW}
    FROM delivery_message m JOIN facts f ON f.message_id = m.id
    WHERE {_CHANGED}
), moved AS (
    UPDATE delivery_message m SET {_SET} FROM found b WHERE m.id = b.id
    RETURNING b.*
), {DELTAS}
"""  # noqa: S608 (names of our own)
"""Before the verdicts are written. A time that a revised event gave goes to the next that gives it;
one that came from elsewhere, or from events that are no longer kept, stays.
"""

JUDGE = f"""
WITH {_GIVEN}
UPDATE webhooks_event e
SET is_machine = g.is_machine, machine_reason = g.reason, machine_told = g.told,
    machine_rules = g.rules
FROM given g WHERE e.id = g.id
"""  # noqa: S608 (names of our own)

DISENGAGE = """
UPDATE subscribers_subscriber s SET engaged_at = (
    SELECT max(LEAST(e.occurred_at, now())) FROM webhooks_event e
    WHERE e.subscriber_id = s.id AND e.type IN ('opened', 'clicked')
      AND e.is_machine IS NOT TRUE
)
FROM (
    SELECT s.id FROM subscribers_subscriber s JOIN (
        SELECT e.subscriber_id, max(e.occurred_at) AS at FROM webhooks_event e
        WHERE e.id = ANY(%s) GROUP BY 1
    ) AS revised ON s.id = revised.subscriber_id AND s.engaged_at <= revised.at
    ORDER BY s.id FOR NO KEY UPDATE OF s
) AS touched WHERE s.id = touched.id
"""
"""Who was last seen by what is a machine's after all was last seen before."""

ENGAGE = """
UPDATE subscribers_subscriber s SET engaged_at = GREATEST(s.engaged_at, seen.at)
FROM (
    SELECT s.id, revised.at FROM subscribers_subscriber s JOIN (
        SELECT e.subscriber_id, LEAST(max(e.occurred_at), now()) AS at FROM webhooks_event e
        WHERE e.id = ANY(%s) GROUP BY 1
    ) AS revised ON s.id = revised.subscriber_id
    WHERE s.engaged_at IS NULL OR s.engaged_at < revised.at
    ORDER BY s.id FOR NO KEY UPDATE OF s
) AS seen WHERE s.id = seen.id
"""
