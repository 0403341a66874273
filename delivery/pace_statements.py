"""The SQL of what is watched: how deep the queues are, how fast they empty."""

HISTORY = """
SELECT (floor(extract(epoch FROM in_flight_at) * 1000 / %(width_ms)s) * %(width_ms)s)::bigint AS at,
    SUM(CASE WHEN status IN ('done', 'refused') THEN accepted ELSE size END)::bigint
FROM delivery_handoff
WHERE provider_id = ANY(
        SELECT id FROM delivery_provideraccount
        WHERE id = COALESCE(%(provider_id)s::bigint, id))
  AND started_at > now() - interval '10 minutes' - %(seconds)s * interval '1 second'
  AND in_flight_at > now() - %(seconds)s * interval '1 second'
  AND stream = COALESCE(%(stream)s, stream) AND mailbox = COALESCE(%(mailbox)s, mailbox)
GROUP BY 1
"""

DEPTHS = """
WITH lane AS (
    SELECT * FROM unnest(
        %(streams)s::text[], %(mailboxes)s::text[], %(campaigns)s::bigint[], %(routes)s::int[]
    ) AS row(stream, mailbox, campaign, route)
), depth AS (
    SELECT lane.stream, lane.mailbox, due.count, due.oldest
    FROM lane CROSS JOIN LATERAL (
        SELECT count(*), min(due_at) AS oldest FROM (
            SELECT due_at FROM delivery_message m
            WHERE m.status = 'queued' AND m.campaign_id = lane.campaign
              AND m.mailbox = lane.mailbox AND m.route = lane.route AND m.due_at <= %(now)s
            ORDER BY m.due_at, m.id LIMIT %(counted)s + 1
        ) AS entry
    ) AS due WHERE lane.campaign IS NOT NULL
    UNION ALL
    SELECT lane.stream, lane.mailbox, due.count, due.oldest
    FROM lane CROSS JOIN LATERAL (
        SELECT count(*), min(due_at) AS oldest FROM (
            SELECT due_at FROM delivery_message m
            WHERE m.status = 'queued' AND m.campaign_id IS NULL AND m.stream = lane.stream
              AND m.mailbox = lane.mailbox AND m.route = lane.route AND m.due_at <= %(now)s
            ORDER BY m.due_at, m.id LIMIT %(counted)s + 1
        ) AS entry
    ) AS due WHERE lane.campaign IS NULL
)
SELECT stream, mailbox, LEAST(sum(count), %(counted)s)::int, sum(count) > %(counted)s, min(oldest)
FROM depth WHERE count > 0 GROUP BY 1, 2
"""
"""The index of the claim gives each lane's first entries: `counted` and one, no more."""

PACE = """
SELECT stream, mailbox,
    COALESCE(SUM(accepted) FILTER (WHERE started_at > now() - interval '1 minute'), 0)::int,
    COUNT(*) FILTER (WHERE status IN ('preparing', 'in_flight'))::int,
    COUNT(*) FILTER (WHERE status = 'unknown')::int
FROM delivery_handoff
WHERE provider_id = ANY(SELECT id FROM delivery_provideraccount)
  AND started_at > now() - %(window)s::interval
GROUP BY 1, 2
"""
