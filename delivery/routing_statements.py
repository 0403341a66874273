"""The SQL of routing: stamps of what is queued, health and reputation of accounts."""

STAMP = """
WITH part AS (
    SELECT m.id, m.due_at FROM delivery_message m
    WHERE m.status = 'queued' AND {lane} AND m.mailbox = %(mailbox)s AND m.route = %(route)s
      AND (m.due_at, m.id) > (%(due_at)s, %(id)s)
    ORDER BY m.due_at, m.id LIMIT %(limit)s FOR UPDATE OF m SKIP LOCKED
), person AS (
    SELECT m.id, m.email, m.mailbox, s.engaged_at, s.created_at
    FROM part JOIN delivery_message m ON m.id = part.id
    LEFT JOIN subscribers_subscriber s ON s.id = m.subscriber_id
), stamped AS (
    SELECT person.id, {stamp} AS route FROM person
), changed AS (
    UPDATE delivery_message m SET route = stamped.route FROM stamped
    WHERE m.id = stamped.id AND m.route <> stamped.route RETURNING 1
)
SELECT (SELECT count(*) FROM changed), part.due_at, part.id
FROM part ORDER BY part.due_at DESC, part.id DESC LIMIT 1
"""
"""A part of a lane, by the key of its index. What others have locked they are handing over."""

SENDERS = """
SELECT sender FROM (
    SELECT split_part(lower(x.from_email), '@', 2) AS sender, m.due_at, m.id
    FROM delivery_message m JOIN delivery_mail x ON x.message_id = m.id
    WHERE m.status = 'queued' AND m.campaign_id IS NULL AND m.stream = %(stream)s
      AND m.mailbox = %(mailbox)s AND m.route = %(route)s AND m.due_at <= %(now)s
      AND split_part(lower(x.from_email), '@', 2) <> ALL(%(but)s::text[])
    ORDER BY m.due_at, m.id LIMIT %(limit)s
) AS first GROUP BY sender ORDER BY min(due_at), min(id)
"""
"""The domains that the first mails of a lane come from."""

HEALTH = """
SELECT a.id, c.calls, c.good, c.latency_s
FROM delivery_provideraccount a CROSS JOIN LATERAL (
    SELECT COALESCE(sum(weight), 0)::float AS calls,
        COALESCE(sum(weight) FILTER (WHERE trouble IN ('', 'rejected', 'throttled')), 0)::float
            AS good,
        EXTRACT(EPOCH FROM avg(took) FILTER (WHERE status <> 'unknown'))::float AS latency_s
    FROM (
        SELECT h.status, h.trouble, h.finished_at - h.in_flight_at AS took,
            power(0.5::float8, EXTRACT(EPOCH FROM %(now)s - h.started_at)::float8 / 600) AS weight
        FROM delivery_handoff h
        WHERE h.provider_id = a.id AND h.started_at > %(since)s AND h.in_flight_at IS NOT NULL
          AND h.finished_at IS NOT NULL
        ORDER BY h.started_at DESC LIMIT %(most)s
    ) AS recent
) AS c
"""
"""Each account's last calls; their weight halves every ten minutes.

What our own dead workers left has no `trouble`: it is not the provider's.
"""

REPUTATION = """
INSERT INTO delivery_providerreputation AS kept
    (provider_id, hour, sent, bounced, complained, deferred, calls, failed_calls)
SELECT provider_id, hour, sum(sent), sum(bounced), sum(complained), sum(deferred), sum(calls),
    sum(failed_calls)
FROM (
    -- Of campaigns, and of mail sent by API.
    SELECT provider_id, hour, sent, bounced, complained, deferred, 0 AS calls, 0 AS failed_calls
    FROM delivery_campaignstat WHERE hour >= %(since)s
    UNION ALL
    SELECT a.id, h.hour, 0, 0, 0, 0, h.calls, h.failed
    FROM delivery_provideraccount a CROSS JOIN LATERAL (
        SELECT date_trunc('hour', h.started_at) AS hour, count(*) AS calls,
            count(*) FILTER (WHERE h.trouble IN ('unavailable', 'account', 'silent')) AS failed
        FROM delivery_handoff h
        WHERE h.provider_id = a.id AND h.started_at >= %(calls_since)s
          AND h.in_flight_at IS NOT NULL
        GROUP BY 1
    ) AS h
) AS counted
GROUP BY 1, 2
ON CONFLICT (provider_id, hour) DO UPDATE SET
    sent = excluded.sent, bounced = excluded.bounced, complained = excluded.complained,
    deferred = excluded.deferred,
    calls = CASE WHEN kept.hour >= %(calls_since)s THEN excluded.calls ELSE kept.calls END,
    failed_calls = CASE WHEN kept.hour >= %(calls_since)s
        THEN excluded.failed_calls ELSE kept.failed_calls END
"""
"""Every hour since then, counted anew; calls only since `calls_since`: they end soon."""
