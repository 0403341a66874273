"""The SQL of sending: claim, record, sweep. Plans and figures: docs/benchmarks.md.

CLAIM, CLAIM_MAIL, PREPARE, TAKE_OFF, RECORD and CLOSE are prepared: PostgreSQL plans them without
knowing the values. The inner LIMIT tells it that few rows are wanted; the outer one stops the
locking after as many as are.
"""

CLAIM = """
WITH journal AS MATERIALIZED (
    SELECT nextval('delivery_handoff_id_seq') AS id
    WHERE (SELECT set_config('synchronous_commit', 'off', true)) = 'off'
), due AS (
    SELECT * FROM (
        SELECT m.id, m.subscriber_id, m.address_key, m.expires_at
        FROM delivery_message m
        WHERE m.status = 'queued' AND m.campaign_id = %(campaign)s AND m.mailbox = %(mailbox)s
          AND m.route = %(route)s AND m.due_at <= %(now)s
          AND EXISTS (
              SELECT 1 FROM campaigns_campaign c
              WHERE c.id = %(campaign)s AND c.status = 'sending'
          )
        ORDER BY m.due_at, m.id
        LIMIT 1000
        FOR UPDATE OF m SKIP LOCKED
    ) AS first LIMIT %(limit)s
), judged AS MATERIALIZED (
    SELECT due.id AS message_id, s.id, s.first_name, s.last_name, s.language, s.country,
        s.time_zone, s.attributes,
        CASE
            WHEN due.expires_at <= %(now)s THEN 'too late'
            WHEN s.id IS NULL THEN 'erased'
            WHEN EXISTS (
                SELECT 1 FROM subscribers_suppression x
                WHERE x.address_key = due.address_key AND x.reason = ANY(%(reasons)s::text[])
                  AND x.stream IN ('', 'marketing')
                  AND (x.list_id IS NULL OR x.list_id = ANY(%(lists)s::bigint[]))
                  AND (x.expires_at IS NULL OR x.expires_at > %(now)s)
            ) THEN 'suppressed'
            WHEN s.status <> 'active' THEN s.status
            WHEN EXISTS (
                SELECT 1 FROM subscribers_subscription u
                WHERE u.subscriber_id = s.id AND u.list_id = ANY(%(lists)s::bigint[])
                  AND u.status = 'unsubscribed' AND u.changed_at >= %(launched_at)s
            ) THEN 'left the list'
            WHEN s.paused_until > %(now)s THEN 'paused'
            WHEN s.days_between > 0 AND EXISTS (
                SELECT 1 FROM delivery_message o
                WHERE o.subscriber_id = s.id AND o.campaign_id <> %(campaign)s
                  AND (o.sent_at > %(now)s - s.days_between * interval '1 day'
                       OR o.status IN ('sending', 'unknown'))
            ) THEN 'too often'
            WHEN EXISTS (
                SELECT 1 FROM subscribers_subscription h
                WHERE h.subscriber_id = s.id AND h.status = 'held' AND NOT EXISTS (
                    SELECT 1 FROM subscribers_subscription a
                    WHERE a.subscriber_id = s.id AND a.status = 'active'
                      AND (a.list_id = ANY(%(lists)s::bigint[])
                           OR h.list_id <> ALL(%(lists)s::bigint[]))
                )
            ) THEN 'held'
            ELSE ''
        END AS obstacle
    FROM due LEFT JOIN subscribers_subscriber s ON s.id = due.subscriber_id
), taken AS (
    UPDATE delivery_message m
    SET status = CASE j.obstacle
            WHEN '' THEN 'sending' WHEN 'too late' THEN 'expired' ELSE 'skipped' END,
        handoff_id = CASE j.obstacle WHEN '' THEN journal.id ELSE m.handoff_id END,
        provider_id = CASE j.obstacle WHEN '' THEN %(provider)s::bigint ELSE m.provider_id END,
        attempts = LEAST(m.attempts + (j.obstacle = '')::int, 32767),
        error = j.obstacle
    FROM judged j, journal WHERE m.id = j.message_id
    RETURNING m.id, m.email, j.id AS subscriber_id, j.first_name, j.last_name, j.language,
              j.country, j.time_zone, j.attributes::text, m.deferrals, journal.id AS drawn,
              j.obstacle
)
SELECT * FROM taken ORDER BY id
"""

CLAIM_MAIL = """
WITH journal AS MATERIALIZED (
    SELECT nextval('delivery_handoff_id_seq') AS id
    WHERE (SELECT set_config('synchronous_commit', 'off', true)) = 'off'
), due AS (
    SELECT * FROM (
        SELECT m.id, m.address_key, m.expires_at
        FROM delivery_message m
        WHERE m.status = 'queued' AND m.campaign_id IS NULL AND m.stream = %(stream)s
          AND m.mailbox = %(mailbox)s AND m.route = %(route)s AND m.due_at <= %(now)s
        ORDER BY m.due_at, m.id
        LIMIT 1000
        FOR UPDATE OF m SKIP LOCKED
    ) AS first LIMIT %(limit)s
), judged AS MATERIALIZED (
    SELECT due.id AS message_id,
        CASE
            WHEN due.expires_at <= %(now)s THEN 'too late'
            WHEN EXISTS (
                SELECT 1 FROM subscribers_suppression x
                WHERE x.address_key = due.address_key AND x.reason = ANY(%(reasons)s::text[])
                  AND x.stream IN ('', %(stream)s) AND x.list_id IS NULL
                  AND (x.expires_at IS NULL OR x.expires_at > %(now)s)
            ) THEN 'suppressed'
            ELSE ''
        END AS obstacle
    FROM due
), taken AS (
    UPDATE delivery_message m
    SET status = CASE j.obstacle
            WHEN '' THEN 'sending' WHEN 'too late' THEN 'expired' ELSE 'skipped' END,
        handoff_id = CASE j.obstacle WHEN '' THEN journal.id ELSE m.handoff_id END,
        provider_id = CASE j.obstacle WHEN '' THEN %(provider)s::bigint ELSE m.provider_id END,
        attempts = LEAST(m.attempts + (j.obstacle = '')::int, 32767),
        error = j.obstacle
    FROM judged j, journal WHERE m.id = j.message_id
    RETURNING m.id, m.email, COALESCE(m.subscriber_id, 0) AS subscriber_id, '', '', '', '', '',
              '{}', m.deferrals, journal.id AS drawn, j.obstacle
)
SELECT * FROM taken ORDER BY id
"""
"""As CLAIM, for mail sent by API: there is no campaign, and the person may be unknown to us."""

CLAIM_MAIL_FROM = CLAIM_MAIL.replace(
    "AND m.due_at <= %(now)s",
    """AND m.due_at <= %(now)s
          AND (SELECT split_part(lower(x.from_email), '@', 2) FROM delivery_mail x
               WHERE x.message_id = m.id) = %(sender)s""",
    1,
)
"""The same, of one From domain only."""

_CAMPAIGN_WALK = """
WITH RECURSIVE lane AS (
    SELECT first.* FROM campaigns_campaign c CROSS JOIN LATERAL (
        SELECT m.campaign_id, m.mailbox, m.route FROM delivery_message m
        WHERE m.status = 'queued' AND m.campaign_id = c.id
        ORDER BY m.mailbox, m.route LIMIT 1
    ) AS first WHERE {states}
    UNION ALL
    SELECT next.* FROM lane CROSS JOIN LATERAL (
        SELECT m.campaign_id, m.mailbox, m.route FROM delivery_message m
        WHERE m.status = 'queued' AND m.campaign_id = lane.campaign_id
          AND (m.mailbox, m.route) > (lane.mailbox, lane.route)
        ORDER BY m.mailbox, m.route LIMIT 1
    ) AS next
)
"""
"""From lane to lane by the index, a few entries each: its prefix has as many values as lanes."""

CAMPAIGN_LANES = f"""{_CAMPAIGN_WALK.format(states="c.status = 'sending'")}
SELECT 'marketing', lane.mailbox, lane.campaign_id, lane.route
FROM lane CROSS JOIN LATERAL (
    SELECT 1 FROM delivery_message m
    WHERE m.status = 'queued' AND m.campaign_id = lane.campaign_id
      AND m.mailbox = lane.mailbox AND m.route = lane.route AND m.due_at <= %(now)s
    ORDER BY m.due_at, m.id LIMIT 1
) AS due
"""  # noqa: S608 (SQL of our own)

QUEUED_LANES = f"""{_CAMPAIGN_WALK.format(states="c.status IN ('sending', 'paused')")}
SELECT 'marketing', lane.mailbox, lane.campaign_id, lane.route FROM lane
"""  # noqa: S608 (SQL of our own)
"""Of campaigns, whether due or not."""

MAIL_LANES = """
WITH RECURSIVE lane AS (
    SELECT first.* FROM unnest(%(streams)s::text[]) AS s(stream) CROSS JOIN LATERAL (
        SELECT m.stream, m.mailbox, m.route FROM delivery_message m
        WHERE m.status = 'queued' AND m.campaign_id IS NULL AND m.stream = s.stream
        ORDER BY m.mailbox, m.route LIMIT 1
    ) AS first
    UNION ALL
    SELECT next.* FROM lane CROSS JOIN LATERAL (
        SELECT m.stream, m.mailbox, m.route FROM delivery_message m
        WHERE m.status = 'queued' AND m.campaign_id IS NULL AND m.stream = lane.stream
          AND (m.mailbox, m.route) > (lane.mailbox, lane.route)
        ORDER BY m.mailbox, m.route LIMIT 1
    ) AS next
)
SELECT lane.stream, lane.mailbox, NULL::bigint, lane.route
FROM lane CROSS JOIN LATERAL (
    SELECT 1 FROM delivery_message m
    WHERE m.status = 'queued' AND m.campaign_id IS NULL AND m.stream = lane.stream
      AND m.mailbox = lane.mailbox AND m.route = lane.route AND m.due_at <= %(now)s
    ORDER BY m.due_at, m.id LIMIT 1
) AS due
"""

_HEARD = """(COALESCE(
        m.delivered_at, m.deferred_at, m.opened_at, m.machine_opened_at, m.clicked_at,
        m.machine_clicked_at, m.unsubscribed_at, m.complained_at
    ) IS NOT NULL OR (m.bounced_at IS NOT NULL AND NOT EXISTS (
        -- What was refused before (a bounce as well) says nothing of a later try.
        SELECT 1 FROM delivery_attempt t WHERE t.message_id = m.id AND t.status = 'failed'
    )))"""

DOUBT_AGAIN = f"""
UPDATE delivery_message m
SET status = 'queued', route = -m.provider_id, doubts = m.doubts + 1, due_at = %(now)s,
    handoff_id = NULL, error = ''
FROM (
    SELECT m.id FROM delivery_message m
    LEFT JOIN delivery_handoff h ON h.id = m.handoff_id
    WHERE m.status = 'unknown' AND m.campaign_id IS NULL AND m.stream <> 'marketing'
      AND m.provider_id IS NOT NULL AND m.doubts < %(most)s AND m.expires_at > %(now)s
      AND m.email <> ''
      AND COALESCE(h.finished_at, m.created_at) < %(before)s AND NOT {_HEARD}
    ORDER BY m.id FOR UPDATE OF m SKIP LOCKED
) AS doubtful
WHERE m.id = doubtful.id AND m.status = 'unknown'
"""  # noqa: S608 (a constant)
"""The same provider, since it alone may have the first; the same ids, since they are the row's.

Its time begins when the doubt does, so that evidence which came while a dead worker's lease ran
out is looked at first. What was heard of is settled by that, never sent again.
"""

EXPIRE = """
UPDATE delivery_message m SET status = 'expired', error = 'too late'
FROM (
    SELECT id FROM delivery_message
    WHERE status = 'queued' AND expires_at <= %(now)s
    ORDER BY id LIMIT %(limit)s FOR UPDATE SKIP LOCKED
) AS late
WHERE m.id = late.id AND m.status = 'queued'
"""

_HEARD_OF = f"(o.status IN ('queued', 'unknown') AND {_HEARD})"
"""An event may have come before the answer: what was delivered was sent, whatever is said."""

RECORD = f"""
WITH outcome AS (
    SELECT row.id, row.status, row.provider_message_id, COALESCE(row.error, '') AS error,
        row.due_at, COALESCE(row.deferrals, 0) AS deferrals, COALESCE(row.fault, '') AS fault
    FROM unnest(
        %(ids)s::bigint[], %(statuses)s::text[], %(provider_ids)s::text[], %(errors)s::text[],
        %(due)s::timestamptz[], %(deferrals)s::int[], %(faults)s::text[]
    ) AS row(id, status, provider_message_id, error, due_at, deferrals, fault)
), told AS (
    UPDATE delivery_message m
    SET status = CASE WHEN {_HEARD_OF} THEN 'sent' ELSE o.status END,
        provider_message_id = o.provider_message_id,
        error = CASE WHEN o.status = 'sent' OR {_HEARD_OF} THEN '' ELSE o.error END,
        fault = o.fault, due_at = COALESCE(o.due_at, m.due_at),
        deferrals = m.deferrals + o.deferrals,
        sent_at = CASE WHEN o.status = 'sent' OR {_HEARD_OF}
            THEN %(now)s::timestamptz ELSE m.sent_at END
    FROM outcome o
    WHERE m.id = o.id AND m.handoff_id = %(handoff)s
      AND (m.status = 'sending' OR (m.status = 'unknown' AND (o.status = 'sent' OR {_HEARD_OF})))
    RETURNING m.id, m.campaign_id, m.provider_id, m.mailbox, m.status, m.error
), tried AS (
    INSERT INTO delivery_attempt (message_id, handoff_id, provider_id, status, error, at)
    SELECT id, %(handoff)s::bigint, provider_id, status, error, %(now)s::timestamptz
    FROM told WHERE status <> 'sent'
), refused AS (
    INSERT INTO delivery_refusal (message_id, provider_id, fault, said, at)
    SELECT t.id, t.provider_id, o.fault, t.error, %(now)s::timestamptz
    FROM told t JOIN outcome o ON o.id = t.id
    WHERE t.status = 'failed' AND t.provider_id IN (
        SELECT id FROM delivery_provideraccount WHERE kind = 'smtp'
    )
), counted AS (
    INSERT INTO delivery_campaignstat (campaign_id, provider_id, mailbox, hour, sent)
    SELECT campaign_id, provider_id, mailbox, date_trunc('hour', %(now)s::timestamptz), count(*)
    FROM told WHERE status = 'sent' GROUP BY 1, 2, 3
    ON CONFLICT (campaign_id, provider_id, mailbox, hour)
    DO UPDATE SET sent = delivery_campaignstat.sent + excluded.sent
)
SELECT count(*) FROM told
WHERE (SELECT set_config('synchronous_commit', 'off', true)) = 'off'
"""  # noqa: S608 (a constant)
"""One statement, so its own transaction, and one that does not wait for the disk.

A mail server that refuses tells nobody else: it is kept until it is taken for a bounce.
"""

PREPARE = """
INSERT INTO delivery_handoff
    (id, provider_id, campaign_id, stream, mailbox, reason, lease_until)
VALUES (%(id)s, %(provider)s, %(campaign)s, %(stream)s, %(mailbox)s, %(reason)s::jsonb,
        now() + %(lease)s)
"""
"""All that is known of a hand-off before its call."""

TAKE_OFF = """
UPDATE delivery_handoff
SET status = 'in_flight', size = %(size)s, in_flight_at = now(), lease_until = now() + %(lease)s
WHERE id = %(id)s AND status = 'preparing'
"""
"""Waits for the disk, and so for all that was committed before it: the claim does not."""

CLOSE = """
UPDATE delivery_handoff
SET status = %(status)s, accepted = %(accepted)s, error = %(error)s, trouble = %(trouble)s,
    finished_at = now()
WHERE id = %(id)s AND status = ANY(%(from)s::text[])
  AND (SELECT set_config('synchronous_commit', 'off', true)) = 'off'
"""
"""Does not wait for the disk either. What it ends was recorded before, so it is lost first."""

UNDER_WAY = """
SELECT (
    SELECT true FROM delivery_message WHERE status = 'queued' AND campaign_id = %(campaign)s
    ORDER BY mailbox, due_at, id LIMIT 1
) IS NOT NULL OR (
    SELECT true FROM delivery_message WHERE status = 'sending' AND campaign_id = %(campaign)s
    ORDER BY handoff_id LIMIT 1
) IS NOT NULL
"""
"""The orders are those of two partial indexes: nothing else is read, whatever is in the table."""

NEVER_LEFT = "The worker died before the call; nothing was sent."

SWEEP = f"""
WITH dead AS (
    SELECT id, status FROM delivery_handoff
    WHERE status IN ('preparing', 'in_flight') AND lease_until < now()
    FOR UPDATE SKIP LOCKED
), closed AS (
    UPDATE delivery_handoff h
    SET status = CASE dead.status WHEN 'preparing' THEN 'refused' ELSE 'unknown' END,
        finished_at = now(),
        error = CASE dead.status WHEN 'preparing'
            THEN '{NEVER_LEFT}'
            ELSE 'The worker died during the call; the provider may have accepted it.' END
    FROM dead WHERE h.id = dead.id
    RETURNING h.id, h.status
), freed AS (
    UPDATE delivery_message m
    SET status = CASE closed.status WHEN 'refused' THEN 'queued' ELSE 'unknown' END,
        error = CASE closed.status WHEN 'refused' THEN ''
            ELSE 'No answer was seen from the provider; it may have been sent.' END
    FROM closed WHERE m.handoff_id = closed.id AND m.status = 'sending'
    RETURNING m.id, m.handoff_id, m.provider_id, m.status, m.error
), tried AS (
    INSERT INTO delivery_attempt (message_id, handoff_id, provider_id, status, error)
    SELECT id, handoff_id, provider_id, status, error FROM freed
), spared AS (
    -- What never left is given back to the quota of its day.
    UPDATE delivery_dailycount d SET used = GREATEST(0, d.used - unused.count)
    FROM (
        SELECT h.provider_id, (h.started_at AT TIME ZONE 'UTC')::date AS day, count(*)
        FROM freed JOIN delivery_handoff h ON h.id = freed.handoff_id
        WHERE freed.status = 'queued' GROUP BY 1, 2
    ) AS unused
    WHERE d.account_id = unused.provider_id AND d.day = unused.day
)
SELECT count(*) FILTER (WHERE status = 'queued'), count(*) FILTER (WHERE status = 'unknown')
FROM freed
"""  # noqa: S608 (a constant)
