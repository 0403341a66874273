"""The SQL of raw requests, of silence and of counters of requests."""

from __future__ import annotations

from webhooks.marks import MARKS

STORE = """
INSERT INTO webhooks_rawrequest (account_id, headers, body, replay_key, is_late)
VALUES (%s, %s, %s, %s, %s)
ON CONFLICT (account_id, replay_key) WHERE replay_key IS NOT NULL DO NOTHING
"""

COUNT_SILENCE = f"""
INSERT INTO webhooks_silence AS known (account_id, stream, mailbox, hour, sent, silent)
SELECT provider_id, stream, mailbox, date_trunc('hour', sent_at), count(*),
    count(*) FILTER (WHERE num_nonnulls({", ".join(MARKS)}) = 0)
FROM delivery_message
WHERE sent_at >= %s AND sent_at < %s AND status = 'sent' AND provider_id IS NOT NULL
GROUP BY 1, 2, 3, 4
ON CONFLICT (hour, account_id, stream, mailbox)
DO UPDATE SET sent = excluded.sent, silent = excluded.silent
"""  # noqa: S608 (names of our own)
"""Of hours gone by, so nothing is added to them; an index on ranges of pages finds them."""

LAGS = """
SELECT account_id,
    extract(epoch FROM percentile_cont(0.5) WITHIN GROUP (ORDER BY applied_at - received_at)),
    extract(epoch FROM max(applied_at - received_at)), count(*)
FROM webhooks_rawrequest
WHERE id > (SELECT COALESCE(max(id), 0) - %s FROM webhooks_rawrequest)
  AND received_at > %s AND applied_at IS NOT NULL
GROUP BY 1
"""
"""Of the last so many requests: a figure of now, at the same price however many there were."""

QUEUE = """
SELECT count(*), min(due_at) FILTER (WHERE due_at <= %(now)s), (
    SELECT count(*) FROM (
        SELECT 1 FROM webhooks_rawrequest WHERE status = 'pending' AND due_at <= %(now)s LIMIT 1000
    ) due
) - (
    SELECT count(*) FROM (
        SELECT 1 FROM webhooks_rawrequest WHERE status = 'pending' AND due_at <= %(now)s
        LIMIT 1000 FOR KEY SHARE SKIP LOCKED
    ) free
)
FROM webhooks_rawrequest WHERE status = 'pending'
"""
"""How many wait, since when the oldest that is due, and how many a worker holds just now."""

LOCK_DUE = """
SELECT id, octet_length(body) FROM webhooks_rawrequest
WHERE status = 'pending' AND due_at <= %s
ORDER BY due_at, id FOR UPDATE SKIP LOCKED
"""
"""To be read in steps: what is not read is not locked."""

READ = """
SELECT id, account_id, headers::text, body, received_at, is_late, due_at = received_at, attempts
FROM webhooks_rawrequest WHERE id = ANY(%s) ORDER BY due_at, id
"""

FINISH_PLAIN = """
UPDATE webhooks_rawrequest r SET status = 'applied', error = '', traceback = '', applied_at = %s
FROM unnest(%s::bigint[]) AS o (id) WHERE r.id = o.id AND r.status = 'pending'
"""

FINISH = """
UPDATE webhooks_rawrequest r
SET status = o.status, error = o.error, traceback = o.traceback,
    due_at = COALESCE(o.due_at, r.due_at),
    attempts = r.attempts + o.failures,
    applied_at = CASE o.status WHEN 'applied' THEN %s ELSE r.applied_at END
FROM unnest(%s::bigint[], %s::text[], %s::text[], %s::timestamptz[], %s::int[], %s::text[])
    AS o (id, status, error, due_at, failures, traceback)
WHERE r.id = o.id AND r.status = 'pending'
"""

COUNT = """
INSERT INTO webhooks_webhookcount AS counted (account_id, outcome, hour, requests)
SELECT %s, %s, date_trunc('hour', %s::timestamptz), %s
WHERE set_config('synchronous_commit', 'off', true) IS NOT NULL
ON CONFLICT (account_id, outcome, hour)
DO UPDATE SET requests = counted.requests + excluded.requests
"""
"""Its own transaction if none is open, and then one that does not wait for the disk."""

NAMING = """
SELECT id FROM webhooks_rawrequest
WHERE encode(body, 'escape') ~* %(pattern)s OR headers::text ~* %(pattern)s
   OR error ~* %(pattern)s OR traceback ~* %(pattern)s
"""
"""“escape” leaves ASCII as it is, backslashes doubled, whatever bytes are in between."""
