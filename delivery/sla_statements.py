"""The SQL of service levels: each mail is looked at once, and counted once."""

from __future__ import annotations

FINEST_S = 0.001
"""Where the first bucket begins."""
STEPS = 4
"""Buckets per doubling: what is read from them is at most 10 % off."""

BUCKET = f"""
LEAST(200, 1 + floor({STEPS} * GREATEST(0, ln(GREATEST({{seconds}}, {FINEST_S}) / {FINEST_S})
    / ln(2::float8))))::smallint
"""
"""In floating point: logarithms of numerics cost 100 times as much."""


def _bucket(duration: str) -> str:
    seconds = f"EXTRACT(EPOCH FROM {duration})::float8"
    return BUCKET.format(seconds=seconds)


_COUNT = """
INSERT INTO delivery_slastat AS known (type_id, hour, bucket, mails, late)
SELECT type_id, date_trunc('hour', wanted_at), bucket, sum(mails), sum(late) FROM {rows} AS rows
GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
ON CONFLICT (type_id, hour, bucket) DO UPDATE
SET mails = known.mails + excluded.mails, late = known.late + excluded.late
"""

EXAMINE = f"""
WITH mark AS (
    SELECT m.type_id, t.deadline, m.examined_until AS since,
        LEAST(m.examined_until + %(step)s, %(now)s - GREATEST(t.deadline, %(margin)s)) AS until
    FROM delivery_slamark m JOIN delivery_messagetype t ON t.id = m.type_id
    WHERE m.examined_until < %(now)s - GREATEST(t.deadline, %(margin)s)
    FOR UPDATE OF m SKIP LOCKED
), moved AS (
    UPDATE delivery_slamark m SET examined_until = mark.until
    FROM mark WHERE m.type_id = mark.type_id
), examined AS (
    SELECT m.id, m.type_id, m.wanted_at, m.sent_at, mark.deadline,
        (m.sent_at IS NULL OR m.sent_at > m.wanted_at + mark.deadline)::int AS late
    FROM mark JOIN delivery_message m ON m.type_id = mark.type_id
        AND m.wanted_at > mark.since AND m.wanted_at <= mark.until
    WHERE m.status NOT IN ('skipped', 'cancelled')
      AND NOT (m.status = 'failed' AND m.fault = 'address')
), breached AS (
    INSERT INTO delivery_slabreach
        (message_id, type_id, deadline, wanted_at, breached_at, accepted_at, closed_at)
    SELECT id, type_id, deadline, wanted_at, wanted_at + deadline, sent_at,
        CASE WHEN sent_at IS NOT NULL THEN %(now)s::timestamptz END
    FROM examined WHERE late = 1
    ON CONFLICT (message_id) DO NOTHING
), measured AS (
    SELECT type_id, wanted_at, 1 AS mails, late,
        CASE WHEN sent_at IS NULL THEN 0 ELSE {_bucket("sent_at - wanted_at")} END AS bucket
    FROM examined
), counted AS ({_COUNT.format(rows="measured")})
SELECT (SELECT count(*) FROM mark), count(*), COALESCE(sum(late), 0)::bigint FROM examined
"""  # noqa: S608 (names of our own)

SETTLE = f"""
WITH told AS (
    SELECT b.id, b.type_id, b.wanted_at, b.breached_at, m.sent_at
    FROM delivery_slabreach b JOIN delivery_message m ON m.id = b.message_id
    WHERE b.closed_at IS NULL
      AND (m.sent_at IS NOT NULL OR m.status IN ('failed', 'expired', 'skipped', 'cancelled'))
    ORDER BY b.id LIMIT %(limit)s FOR UPDATE OF b SKIP LOCKED
), kept AS (
    -- It was in doubt, and had been taken in time.
    DELETE FROM delivery_slabreach b USING told
    WHERE b.id = told.id AND told.sent_at <= told.breached_at
), closed AS (
    UPDATE delivery_slabreach b SET accepted_at = told.sent_at, closed_at = %(now)s
    FROM told
    WHERE b.id = told.id AND (told.sent_at IS NULL OR told.sent_at > told.breached_at)
), moved AS (
    SELECT type_id, wanted_at, 0 AS bucket, -1 AS mails, -1 AS late
    FROM told WHERE sent_at IS NOT NULL
    UNION ALL
    SELECT type_id, wanted_at, {_bucket("sent_at - wanted_at")}, 1, (sent_at > breached_at)::int
    FROM told WHERE sent_at IS NOT NULL
), counted AS ({_COUNT.format(rows="moved")})
SELECT count(*) FROM told
"""  # noqa: S608 (names of our own)

ALERT = """
WITH overdue AS (
    UPDATE delivery_slabreach b SET alerted_at = %(now)s
    FROM delivery_messagetype t
    WHERE t.id = b.type_id AND b.message_id IS NOT NULL AND b.alerted_at IS NULL
      AND (b.closed_at IS NULL OR b.closed_at = %(now)s)
      AND COALESCE(b.accepted_at, b.closed_at, %(now)s) - b.wanted_at > t.alert_after
    RETURNING b.type_id
)
SELECT t.id, t.name, t.label, t.alert_after,
    (SELECT count(*) FROM overdue o WHERE o.type_id = t.id),
    open.mails, open.oldest
FROM delivery_messagetype t CROSS JOIN LATERAL (
    SELECT count(*) AS mails, min(b.wanted_at) AS oldest FROM delivery_slabreach b
    WHERE b.closed_at IS NULL AND b.type_id = t.id AND b.message_id IS NOT NULL
      AND b.wanted_at < %(now)s - t.alert_after
) AS open
"""

STUCK = """
SELECT c.id, c.name, array_agg(lane.mailbox ORDER BY lane.mailbox), min(due.due_at)
FROM campaigns_campaign c
CROSS JOIN unnest(%(mailboxes)s::text[]) AS lane (mailbox)
CROSS JOIN LATERAL (
    SELECT m.due_at FROM delivery_message m
    WHERE m.campaign_id = c.id AND m.status = 'queued' AND m.mailbox = lane.mailbox
      AND m.due_at < %(before)s LIMIT 1
) AS due
WHERE c.status = 'sending' AND c.launched_at < %(before)s AND NOT EXISTS (
    SELECT FROM delivery_handoff h
    WHERE h.campaign_id = c.id AND h.mailbox = lane.mailbox AND h.accepted > 0
      AND h.finished_at > %(before)s
)
GROUP BY c.id, c.name
"""
"""Campaigns with a lane whose mail is due since before then, and none of it was taken since."""
