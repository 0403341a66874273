"""The SQL of a batch of events, put together from the table in `webhooks.marks`.

The statements of a batch share temporary tables: `webhooks_heard`, what arrived,
`webhooks_fresh`, what of it was new, and `webhooks_felt` (see `feeling_statements`). All are
emptied by the end of the transaction.
"""

from __future__ import annotations

import re

from delivery.counting import COUNTED
from webhooks.feeling_statements import FELT
from webhooks.marks import COMPLAINTS, HARMFUL, MARKS, NO_EVIDENCE, WORST_FIRST

HEARD = """
    request_id bigint, may_wait boolean, account_id bigint, dedupe_key text, type text,
    occurred_at timestamptz, message_id bigint, recipient text, provider_message_id text,
    url text, ip inet, user_agent text, is_machine boolean, bounce_class text, reason text,
    complaint_type text, country text, device text, client text, browser text, os text,
    machine_reason text, machine_told boolean, machine_rules smallint,
    person_id bigint
"""

MAKE_ROOM = f"""
SET LOCAL client_min_messages = warning;
CREATE TEMPORARY TABLE IF NOT EXISTS webhooks_heard ({HEARD}) ON COMMIT DELETE ROWS;
DELETE FROM webhooks_heard;
"""  # noqa: S608 (names of our own)

COPY_HEARD = "COPY webhooks_heard FROM STDIN"


def _texts(values: tuple[str, ...]) -> str:
    return ", ".join(f"'{value}'" for value in values)


HOLD_BACK = """
WITH held AS (
    DELETE FROM webhooks_heard h
    WHERE h.may_wait AND h.message_id IS NOT NULL
      AND NOT EXISTS (SELECT 1 FROM delivery_message m WHERE m.id = h.message_id)
    RETURNING h.request_id
)
SELECT request_id, count(*) FROM held GROUP BY 1
"""

_TRIED = """
            m.attempts > 1 AND EXISTS (
                SELECT 1 FROM delivery_attempt t LEFT JOIN delivery_handoff c ON c.id = t.handoff_id
                WHERE t.message_id = m.id AND t.provider_id = h.account_id
                  AND (c.id IS NULL OR c.in_flight_at IS NOT NULL)
            )
        """
"""A message remembers its last account alone: an earlier one must have been called with it."""

_COPY = """
            m.campaign_id IS NULL AND EXISTS (
                SELECT 1 FROM delivery_mail c, jsonb_each(c.copies) AS kind (name, people),
                    jsonb_array_elements(kind.people) AS person
                WHERE c.message_id = m.id AND lower(person->>0) = lower(h.recipient)
            )
        """
"""A mail sent by API may go to others as well: what is told of them says nothing of its person."""

TAKE_IN = f"""
WITH weighed AS MATERIALIZED (
    SELECT h.*, m.campaign_id,
        COALESCE(m.subscriber_id, CASE WHEN h.message_id IS NULL THEN h.person_id END)
            AS subscriber_id,
        CASE
        WHEN h.message_id IS NULL AND h.person_id IS NOT NULL THEN ''
        WHEN h.message_id IS NULL THEN 'unnamed'
        WHEN m.id IS NULL THEN 'orphan'
        -- Nobody can report on what it was never given, nor about another person's address.
        WHEN NOT (h.account_id IS NULL OR COALESCE(m.provider_id = h.account_id, false)
                  OR ({_TRIED})) THEN 'foreign'
        WHEN lower(m.email) = lower(h.recipient)
             OR (h.recipient = '' AND h.type NOT IN ({_texts(HARMFUL)})) THEN ''
        WHEN {_COPY} THEN 'copy'
        ELSE 'foreign' END AS standing
    FROM webhooks_heard h LEFT JOIN delivery_message m ON m.id = h.message_id
), new AS (
    INSERT INTO webhooks_event (
        account_id, dedupe_key, type, occurred_at, message_id, campaign_id, subscriber_id,
        recipient, provider_message_id, url, ip, user_agent, is_machine, bounce_class, reason,
        request_id, standing, complaint_type, country, device, client, browser, os,
        machine_reason, machine_told, machine_rules
    )
    SELECT account_id, dedupe_key, type, occurred_at,
        CASE WHEN standing IN ('', 'copy') THEN message_id END,
        CASE standing WHEN '' THEN campaign_id END,
        CASE standing WHEN '' THEN subscriber_id END,
        recipient, provider_message_id, url, ip, user_agent, is_machine, bounce_class, reason,
        request_id, standing, complaint_type, country, device, client, browser, os,
        machine_reason, machine_told, machine_rules
    FROM weighed
    ON CONFLICT (account_id, dedupe_key) DO NOTHING
    RETURNING account_id, dedupe_key, type, occurred_at, message_id, campaign_id, subscriber_id,
        is_machine, bounce_class, standing, recipient, ip
)
INSERT INTO webhooks_fresh SELECT * FROM new
"""  # noqa: S608 (names of our own)

UNMATCHED = """
SELECT f.standing, h.request_id, count(*)
FROM webhooks_fresh f JOIN webhooks_heard h USING (account_id, dedupe_key)
WHERE f.standing IN ('foreign', 'orphan') AND h.request_id IS NOT NULL
GROUP BY 1, 2
"""

TAKEN = """
SELECT account_id, count(*), (
    SELECT count(*) FROM webhooks_fresh f WHERE f.account_id = h.account_id
)
FROM webhooks_heard h WHERE account_id IS NOT NULL GROUP BY 1 ORDER BY 1
"""

COPIES_ENDED = f"""
SELECT DISTINCT type, account_id, recipient FROM webhooks_fresh
WHERE standing = 'copy' AND (
    type IN ({_texts(COMPLAINTS)}) OR (type IN ('bounced', 'dropped') AND bounce_class = 'hard'))
"""  # noqa: S608 (names of our own)

_RANKS = f"ARRAY[{_texts(WORST_FIRST)}]"
_EVIDENCE = f"type NOT IN ({_texts(NO_EVIDENCE)})"
_FACTS = ",\n        ".join(
    f"min(occurred_at) FILTER (WHERE standing = '' AND ({events})) AS {column}"
    for column, events in MARKS.items()
)
_OLD = ", ".join(f"m.{column}" for column in ("sent_at", "bounce_class", *MARKS))
_NEW = ",\n        ".join(f"LEAST(m.{column}, f.{column}) AS new_{column}" for column in MARKS)
_EARLIER = ", ".join(f"m.{column}" for column in MARKS)
_EARLIEST = ", ".join(f"LEAST(m.{column}, f.{column})" for column in MARKS)
_SET = ", ".join(f"{column} = b.new_{column}" for column in MARKS)
_TIMES = re.compile(r"[a-z_]+_at|bounce_class")
_COUNTERS = ",\n        ".join(
    "('{}', {}, {})".format(name, time, _TIMES.sub(lambda found: f"new_{found[0]}", time))
    for name, time in COUNTED.items()
)

DELTAS = f"""
{FELT}, changed AS (
    SELECT campaign_id, provider_id, new_provider_id, mailbox, counter.name,
        date_trunc('hour', counter.old) AS old, date_trunc('hour', counter.new) AS new
    FROM moved CROSS JOIN LATERAL (VALUES
        {_COUNTERS}
    ) AS counter (name, old, new)
    WHERE (provider_id, date_trunc('hour', counter.old))
          IS DISTINCT FROM (new_provider_id, date_trunc('hour', counter.new))
)
SELECT campaign_id, provider_id, mailbox, hour, name, sum(change)::int
FROM (
    SELECT campaign_id, new_provider_id AS provider_id, mailbox, name, new AS hour, 1 AS change
    FROM changed WHERE new IS NOT NULL AND new_provider_id IS NOT NULL
    UNION ALL
    SELECT campaign_id, provider_id, mailbox, name, old, -1
    FROM changed WHERE old IS NOT NULL AND provider_id IS NOT NULL
) AS change
GROUP BY 1, 2, 3, 4, 5 HAVING sum(change) <> 0
"""  # noqa: S608 (names of our own)

_IN_DOUBT = "(m.status = 'unknown' OR (m.status = 'queued' AND m.attempts > 0))"
"""Tried, and not known to be sent. `queued`: the call was refused, or so it seemed."""

MARK = f"""
WITH facts AS (
    SELECT message_id,
        {_FACTS},
        min(occurred_at) FILTER (WHERE {_EVIDENCE}) AS evidence_at,
        (array_agg(account_id ORDER BY occurred_at)
            FILTER (WHERE {_EVIDENCE} AND account_id IS NOT NULL))[1] AS witness_id,
        min(array_position({_RANKS}, bounce_class))
            FILTER (WHERE standing = '' AND type = 'bounced') AS bounce_rank
    FROM webhooks_fresh WHERE message_id IS NOT NULL GROUP BY 1
), found AS MATERIALIZED (
    SELECT m.id, m.campaign_id, m.subscriber_id, m.provider_id, m.mailbox, {_OLD},
        {_NEW},
        COALESCE(
            ({_RANKS})[LEAST(array_position({_RANKS}, m.bounce_class::text), f.bounce_rank)], ''
        ) AS new_bounce_class,
        settled.yes AS is_settled,
        CASE WHEN settled.yes THEN COALESCE(f.witness_id, m.provider_id)
            ELSE m.provider_id END AS new_provider_id,
        CASE WHEN settled.yes THEN COALESCE(
            m.sent_at,
            (SELECT h.in_flight_at FROM delivery_handoff h
             WHERE h.id = m.handoff_id AND h.provider_id = COALESCE(f.witness_id, h.provider_id)),
            f.evidence_at
        ) ELSE m.sent_at END AS new_sent_at
    FROM delivery_message m JOIN facts f ON m.id = f.message_id
    CROSS JOIN LATERAL (SELECT {_IN_DOUBT} AND f.evidence_at IS NOT NULL AS yes) AS settled
    WHERE settled.yes
       OR array_position({_RANKS}, m.bounce_class::text) > f.bounce_rank
       OR ({_EARLIER}) IS DISTINCT FROM ({_EARLIEST})
    -- In order, so that two who apply never wait for each other in a circle.
    ORDER BY m.id FOR UPDATE OF m
), moved AS (
    UPDATE delivery_message m
    SET {_SET}, bounce_class = b.new_bounce_class, sent_at = b.new_sent_at,
        provider_id = b.new_provider_id,
        status = CASE WHEN b.is_settled THEN 'sent' ELSE m.status END,
        error = CASE WHEN b.is_settled THEN '' ELSE m.error END
    FROM found b WHERE m.id = b.id
    RETURNING b.*
), {DELTAS}
"""  # noqa: S608 (names of our own)
"""Times fall to the earliest, bounce classes to the worst; what is in doubt, or queued again after
a call that seemed refused, becomes `sent` by evidence, and counts for the account that gave it.

A message that is still `sending` keeps its status: its sender is about to record the answer.
"""

CONSEQUENCES = f"""
SELECT f.type, f.account_id, f.campaign_id, m.subscriber_id, m.address_key, m.created_at, min((
    SELECT e.id FROM webhooks_event e
    WHERE e.message_id = f.message_id AND e.dedupe_key = f.dedupe_key LIMIT 1
))
FROM webhooks_fresh f JOIN delivery_message m ON m.id = f.message_id
WHERE f.standing = '' AND (f.type IN ('unsubscribed', {_texts(COMPLAINTS)})
   OR (f.type IN ('bounced', 'dropped') AND f.bounce_class = 'hard'))
GROUP BY 1, 2, 3, 4, 5, 6 ORDER BY m.address_key
"""  # noqa: S608 (names of our own)

ENGAGED = """
UPDATE subscribers_subscriber s SET engaged_at = GREATEST(s.engaged_at, engaged.at)
FROM (
    SELECT s.id, seen.at FROM (
        SELECT subscriber_id, LEAST(max(occurred_at), now()) AS at FROM webhooks_fresh
        WHERE type IN ('opened', 'clicked') AND is_machine IS NOT TRUE GROUP BY 1
    ) AS seen JOIN subscribers_subscriber s ON s.id = seen.subscriber_id
    WHERE s.engaged_at IS NULL OR s.engaged_at < seen.at
    -- In order, so that two who apply never wait for each other in a circle.
    ORDER BY s.id FOR NO KEY UPDATE OF s
) AS engaged
WHERE s.id = engaged.id
"""
"""The latest wins, so events may come in any order."""

SOFT_BOUNCES = """
WITH touched AS (
    SELECT DISTINCT s.id
    FROM webhooks_fresh f JOIN subscribers_subscriber s ON s.id = f.subscriber_id
    WHERE (f.type = 'bounced' AND f.bounce_class = 'soft')
       OR (f.type = 'delivered' AND s.soft_bounces > 0)
), counted AS (
    SELECT touched.id, (
        SELECT count(DISTINCT e.message_id) FROM webhooks_event e
        WHERE e.subscriber_id = touched.id AND e.type = 'bounced' AND e.bounce_class = 'soft'
          AND e.occurred_at > COALESCE(
              (SELECT max(d.occurred_at) FROM webhooks_event d
               WHERE d.subscriber_id = touched.id AND d.type = 'delivered'), '-infinity')
    ) AS bounces FROM touched
)
UPDATE subscribers_subscriber s SET soft_bounces = LEAST(counted.bounces, 32767)
FROM counted WHERE s.id = counted.id AND s.soft_bounces <> counted.bounces
RETURNING s.address_key, s.soft_bounces
"""

SETTLE = f"""
WITH found AS MATERIALIZED (
    SELECT m.id, COALESCE(m.sent_at, h.in_flight_at, e.occurred_at) AS new_sent_at
    FROM delivery_message m
    LEFT JOIN delivery_handoff h ON h.id = m.handoff_id
    CROSS JOIN LATERAL (
        SELECT min(e.occurred_at) AS occurred_at FROM webhooks_event e
        WHERE e.message_id = m.id AND e.type NOT IN ({_texts(NO_EVIDENCE)})
          AND NOT (e.type = 'bounced' AND EXISTS (
              -- It was refused before, which is a bounce as well: no word of a later try.
              SELECT 1 FROM delivery_attempt t WHERE t.message_id = m.id AND t.status = 'failed'
          ))
    ) AS e
    WHERE m.status = 'unknown' AND e.occurred_at IS NOT NULL
    ORDER BY m.id FOR UPDATE OF m SKIP LOCKED
), moved AS (
    UPDATE delivery_message m SET status = 'sent', error = '', sent_at = b.new_sent_at
    FROM found b WHERE m.id = b.id AND m.status = 'unknown'
    RETURNING m.campaign_id, m.provider_id, m.mailbox, m.sent_at
)
SELECT campaign_id, provider_id, mailbox, date_trunc('hour', sent_at), 'sent', count(*)::int
FROM moved WHERE provider_id IS NOT NULL GROUP BY 1, 2, 3, 4
"""  # noqa: S608 (names of our own)

_TOLD = ",\n        ".join(
    f"min(occurred_at) FILTER (WHERE {events}) AS {column}" for column, events in MARKS.items()
)
_KEPT = ", ".join(f"m.{column}" for column in MARKS)
_RIGHT = ", ".join(f"t.{column}" for column in MARKS)

DRIFTED = f"""
WITH told AS (
    SELECT message_id,
        {_TOLD},
        min(array_position({_RANKS}, bounce_class::text)) FILTER (WHERE type = 'bounced') AS rank
    FROM webhooks_event WHERE standing = '' AND message_id IS NOT NULL GROUP BY 1
)
SELECT m.campaign_id, count(*), (array_agg(m.id ORDER BY m.id))[:5]
FROM delivery_message m LEFT JOIN told t ON t.message_id = m.id
WHERE m.created_at >= %(since)s AND ({_KEPT}, m.bounce_class::text)
    IS DISTINCT FROM ({_RIGHT}, COALESCE(({_RANKS})[t.rank], ''))
GROUP BY 1 ORDER BY 1
"""  # noqa: S608 (names of our own)
"""Messages whose times are not what their events say: one reading of both tables.

Not of those whose events may have been ended by age.
"""
