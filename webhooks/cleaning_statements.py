"""The SQL that finds whom the rules of hygiene speak of, and why."""

from __future__ import annotations

from subscribers.score_statements import LAST_SIGN

_OPEN = """
    p.status = 'active' AND NOT EXISTS (
        SELECT 1 FROM subscribers_hygieneact a
        WHERE a.subscriber_id = p.id AND a.rule_id = %(rule)s
          AND a.done_at IS NOT NULL AND (a.ended_at IS NULL OR a.ended_at > %(now)s - %(grace)s))
"""
"""Mailable, and not dealt with by this rule: nor lately forgiven."""

_BOUNCED = """
    SELECT m.subscriber_id, count(*) AS bounces, max(m.bounced_at) AS last_at
    FROM delivery_message m
    WHERE m.bounce_class = %(bounce_class)s AND m.bounced_at >= %(now)s - %(days)s
      AND m.sent_at >= %(now)s - %(days)s - interval '14 days' AND m.subscriber_id IS NOT NULL
    GROUP BY 1
"""

FIND = {
    "hard_bounce": f"""
        SELECT p.id, 'A mail bounced for good on ' || to_char(b.last_at, 'YYYY-MM-DD')
        FROM ({_BOUNCED}) AS b JOIN subscribers_subscriber p ON p.id = b.subscriber_id
        WHERE {_OPEN}
    """,  # noqa: S608 (names of our own)
    "soft_bounces": f"""
        SELECT p.id, b.bounces || ' soft bounces in ' || %(whole_days)s
            || ' days, nothing delivered since'
        FROM ({_BOUNCED}) AS b JOIN subscribers_subscriber p ON p.id = b.subscriber_id
        WHERE b.bounces >= %(count)s AND p.soft_bounces >= %(count)s AND {_OPEN}
    """,  # noqa: S608 (names of our own)
    "silent": f"""
        SELECT p.id, CASE WHEN e.at IS NULL
            THEN 'Never opened or clicked; ' || e.received || ' mails since '
                || to_char(e.first_received_at, 'YYYY-MM-DD')
            ELSE 'Last sign of life on ' || to_char(e.at, 'YYYY-MM-DD')
                || '; mailed since, last on ' || to_char(e.last_received_at, 'YYYY-MM-DD') END
        FROM (
            SELECT {LAST_SIGN} AS at, * FROM subscribers_engagement
            WHERE received >= %(count)s AND first_received_at < %(now)s - %(days)s
              AND last_received_at >= %(now)s - %(days)s
        ) AS e JOIN subscribers_subscriber p ON p.id = e.subscriber_id
        WHERE COALESCE(e.at, e.first_received_at) < %(now)s - %(days)s AND {_OPEN}
    """,  # noqa: S608 (names of our own)
    "unanswered": f"""
        SELECT DISTINCT ON (p.id) p.id, 'Asked since ' || to_char(t.done_at, 'YYYY-MM-DD')
            || ', mailed on ' || to_char(e.last_received_at, 'YYYY-MM-DD') || ', no answer'
        FROM subscribers_hygieneact t JOIN subscribers_hygienerule r ON r.id = t.rule_id
        JOIN subscribers_engagement e ON e.subscriber_id = t.subscriber_id
        JOIN subscribers_subscriber p ON p.id = t.subscriber_id
        WHERE r.kind = 'silent' AND r.action = 'tag' AND t.done_at < %(now)s - %(days)s
          AND t.ended_at IS NULL AND e.last_received_at > t.done_at
          AND COALESCE({LAST_SIGN.replace("last_", "e.last_")} <= t.done_at, true) AND {_OPEN}
        ORDER BY p.id, t.done_at
    """,  # noqa: S608 (names of our own)
}
"""Kind of rule -> (person, why). All take mail that went there: nobody is judged unasked."""

FOUND = """
INSERT INTO subscribers_hygieneact (run_id, rule_id, subscriber_id, reason, lists)
SELECT %(run)s, %(rule)s, found.id, left(found.reason, 200), '{{}}'
FROM ({find}) AS found (id, reason)
ON CONFLICT (run_id, subscriber_id) DO NOTHING
"""

TAG = """
WITH acts AS (
    UPDATE subscribers_hygieneact a SET done_at = %(now)s
    FROM subscribers_subscriber p
    WHERE a.run_id = %(run)s AND a.rule_id = %(rule)s AND a.done_at IS NULL
      AND p.id = a.subscriber_id AND p.status = 'active'
    RETURNING a.subscriber_id
)
UPDATE subscribers_subscriber p SET tags = p.tags || %(tag)s::varchar, updated_at = %(now)s
FROM acts WHERE p.id = acts.subscriber_id AND NOT p.tags @> ARRAY[%(tag)s]::varchar[]
"""

_UNTAGGED = """
UPDATE subscribers_subscriber p SET tags = array_remove(p.tags, over.tag), updated_at = %(now)s
FROM over WHERE p.id = over.subscriber_id AND over.tag <> ''
"""

ANSWERED = f"""
WITH over AS (
    UPDATE subscribers_hygieneact a SET ended_at = %(now)s
    FROM subscribers_engagement e, subscribers_hygienerule r
    WHERE a.done_at IS NOT NULL AND a.ended_at IS NULL AND r.id = a.rule_id AND r.action = 'tag'
      AND e.subscriber_id = a.subscriber_id AND {LAST_SIGN} > a.done_at
    RETURNING a.subscriber_id, r.tag
)
{_UNTAGGED}
"""  # noqa: S608 (names of our own)
"""Who has shown a sign of life loses the tag."""

UNTAG = f"""
WITH over AS (
    UPDATE subscribers_hygieneact a SET ended_at = %(now)s FROM subscribers_hygienerule r
    WHERE a.run_id = %(run)s AND r.id = a.rule_id AND r.action = 'tag'
      AND a.done_at IS NOT NULL AND a.ended_at IS NULL
    RETURNING a.subscriber_id, r.tag
)
{_UNTAGGED}
"""  # noqa: S608 (names of our own)
