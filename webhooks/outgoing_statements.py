"""The SQL of `webhooks.querysets.outgoing`."""

from __future__ import annotations

LAST_EVENT = "SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM webhooks_event_id_seq"

SETTLE = """
WITH at_work AS (
    SELECT coalesce(array_agg(virtualtransaction), '{}') AS writers
    FROM pg_locks
    WHERE locktype = 'relation' AND mode = 'RowExclusiveLock'
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
        AND relation = 'webhooks_event'::regclass
        AND set_config('synchronous_commit', 'off', true) IS NOT NULL
)
INSERT INTO webhooks_horizon AS h (id, settled, seen, writers)
SELECT 1, 0, %s, writers FROM at_work
ON CONFLICT (id) DO UPDATE SET
    settled = GREATEST(h.settled, h.seen), seen = excluded.seen, writers = excluded.writers
WHERE NOT h.writers && (SELECT writers FROM at_work) AND h.seen <= excluded.seen
RETURNING settled, seen
"""
"""Numbers of events are given out before their transactions commit, so a higher one may be seen
first. `seen` was the highest number given out before `writers` were all those at work on the table:
once none of them is any more, everything up to `seen` is committed or will never be. A caller
who looked before the one that wrote `seen` knows nothing of writers since, and changes nothing.

A transaction locks the table before it draws a number, and lets go of it after it is seen to have
ended. Other tables and databases of the server hold nothing back.
"""

SETTLED = "SELECT settled, seen FROM webhooks_horizon WHERE id = 1"

_WANTED = """
    e.standing = ''
    AND (cardinality(o.types) = 0 OR e.type = ANY(o.types))
    AND (o.campaign_id IS NULL OR e.campaign_id = o.campaign_id)
    AND (o.stream = '' OR EXISTS (
        SELECT 1 FROM delivery_message m WHERE m.id = e.message_id AND m.stream = o.stream))
"""

FEED = f"""
WITH open AS MATERIALIZED (
    SELECT id, types, campaign_id, stream, fed_id,
        LEAST(fed_id + %(chunk)s, %(settled)s) AS until
    FROM webhooks_endpoint WHERE is_enabled AND fed_id < %(settled)s
    ORDER BY id FOR NO KEY UPDATE SKIP LOCKED
), new AS (
    INSERT INTO webhooks_delivery (endpoint_id, event_id, type, due_at)
    SELECT o.id, e.id, e.type, %(now)s
    FROM open o JOIN webhooks_event e ON e.id > o.fed_id AND e.id <= o.until AND {_WANTED}
    ORDER BY o.id, e.id
    ON CONFLICT (endpoint_id, event_id) DO NOTHING
)
UPDATE webhooks_endpoint ep SET fed_id = o.until FROM open o WHERE ep.id = o.id
"""  # noqa: S608 (names of our own)
"""What is queued and how far that went are one transaction: none is lost, none queued twice."""

REPLAY = f"""
INSERT INTO webhooks_delivery AS d (endpoint_id, event_id, type, due_at)
SELECT o.id, e.id, e.type, %(now)s
FROM webhooks_endpoint o
JOIN webhooks_event e ON e.received_at >= %(since)s AND e.id <= o.fed_id AND {_WANTED}
WHERE o.id = %(endpoint)s
ON CONFLICT (endpoint_id, event_id) DO UPDATE
SET status = 'pending', due_at = excluded.due_at, attempts = 0, leased_until = NULL, ended_at = NULL
WHERE d.status = 'failed'
"""  # noqa: S608 (names of our own)
"""What happened since then and was not delivered: given up, or never queued."""

CLAIM = """
WITH open AS MATERIALIZED (
    SELECT ep.id, (
        SELECT count(*) FROM webhooks_delivery d
        WHERE d.endpoint_id = ep.id AND d.status = 'pending' AND d.leased_until > %(now)s
    ) AS under_way
    FROM webhooks_endpoint ep
    WHERE ep.is_enabled AND (ep.held_until IS NULL OR ep.held_until <= %(now)s)
      AND EXISTS (
        SELECT 1 FROM webhooks_delivery d
        WHERE d.endpoint_id = ep.id AND d.status = 'pending' AND d.due_at <= %(now)s)
    ORDER BY ep.id FOR NO KEY UPDATE SKIP LOCKED
), next AS MATERIALIZED (
    SELECT due.id, due.due_at, open.under_way
        + row_number() OVER (PARTITION BY open.id ORDER BY due.due_at, due.id) AS turn
    FROM open CROSS JOIN LATERAL (
        SELECT d.id, d.due_at FROM webhooks_delivery d
        WHERE d.endpoint_id = open.id AND d.status = 'pending' AND d.due_at <= %(now)s
        ORDER BY d.due_at, d.id
        LIMIT GREATEST(LEAST(%(each)s, %(at_once)s - open.under_way), 0) FOR UPDATE SKIP LOCKED
    ) AS due
), chosen AS MATERIALIZED (
    SELECT id FROM next ORDER BY turn, due_at, id LIMIT %(most)s
)
UPDATE webhooks_delivery d
SET due_at = %(lease)s, leased_until = %(lease)s, attempts = d.attempts + 1
FROM chosen WHERE d.id = chosen.id
RETURNING d.id, d.endpoint_id, d.event_id, d.type, d.attempts
"""
"""An endpoint is locked while its posts under way are counted, so there are never too many. If
not all can be taken, those with the fewest under way are, and of these what has waited longest.
"""

PUT_OFF = """
UPDATE webhooks_delivery d
SET due_at = %s, leased_until = NULL, attempts = d.attempts - 1
FROM unnest(%s::bigint[], %s::int[]) AS t (id, attempts)
WHERE d.id = t.id AND d.status = 'pending' AND d.attempts = t.attempts AND d.attempts > 0
"""

RECORD = """
WITH told AS MATERIALIZED (
    SELECT * FROM unnest(
        %s::bigint[], %s::int[], %s::text[], %s::timestamptz[], %s::timestamptz[], %s::int[],
        %s::int[], %s::text[], %s::text[]
    ) AS t (id, attempts, outcome, at, due_at, status, took_ms, answer, error)
), moved AS (
    UPDATE webhooks_delivery d
    SET status = t.outcome, due_at = COALESCE(t.due_at, d.due_at), leased_until = NULL,
        ended_at = CASE t.outcome WHEN 'pending' THEN NULL ELSE t.at END,
        last_status = t.status, last_error = t.error
    FROM told t
    -- Somebody else may have taken it after the lease; that it was delivered is true all the same.
    WHERE d.id = t.id AND d.status = 'pending'
      AND (d.attempts = t.attempts OR t.outcome = 'delivered')
)
INSERT INTO webhooks_deliverytry (delivery_id, at, status, took_ms, answer, error)
SELECT t.id, t.at, t.status, t.took_ms, t.answer, t.error
FROM told t WHERE EXISTS (SELECT 1 FROM webhooks_delivery d WHERE d.id = t.id)
"""

RATE = """
UPDATE webhooks_endpoint ep SET
    last_success_at = GREATEST(ep.last_success_at, s.good_at),
    last_failure_at = GREATEST(ep.last_failure_at, s.bad_at),
    last_error = CASE WHEN s.bad > 0 THEN s.error ELSE ep.last_error END,
    failing_since = CASE WHEN s.good_at IS NULL THEN COALESCE(ep.failing_since, s.bad_at) END,
    failures = CASE WHEN s.good_at IS NULL THEN LEAST(ep.failures + s.bad, 1000) ELSE 0 END,
    held_until = GREATEST(s.held_until, CASE
        WHEN s.good_at IS NULL AND ep.failures + s.bad >= 5 THEN s.bad_at + LEAST(
            interval '5 seconds' * 2 ^ (LEAST(ep.failures + s.bad, 20) - 5),
            interval '15 minutes')
        END)
FROM unnest(%s::bigint[], %s::timestamptz[], %s::timestamptz[], %s::int[], %s::text[],
    %s::timestamptz[]) AS s (id, good_at, bad_at, bad, error, held_until)
WHERE ep.id = s.id
"""
"""What failed five times in a row is left alone for a while, so that what waits behind it does not
use up its tries."""

FORGET = """
WITH old AS MATERIALIZED (
    SELECT id FROM webhooks_delivery WHERE ended_at < %s ORDER BY ended_at LIMIT %s
    FOR UPDATE SKIP LOCKED
), tries AS (
    DELETE FROM webhooks_deliverytry WHERE delivery_id IN (SELECT id FROM old)
)
DELETE FROM webhooks_delivery WHERE id IN (SELECT id FROM old)
"""
"""Django's foreign keys are checked at the end of the transaction, so the order does not matter."""

DROP_TRIES = """
DELETE FROM webhooks_deliverytry t USING webhooks_delivery d
WHERE t.delivery_id = d.id AND d.endpoint_id = %s
"""

DROP = "DELETE FROM webhooks_delivery WHERE endpoint_id = %s"
