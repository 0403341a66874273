"""The SQL of address checks: facts are kept by domain and joined to people by its index."""

CLAIM_DUE = """
UPDATE subscribers_domain SET due_at = %(until)s
WHERE name IN (
    SELECT name FROM subscribers_domain WHERE due_at <= %(now)s
    ORDER BY due_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED
)
RETURNING name
"""

FORGET_UNUSED = """
DELETE FROM subscribers_domain AS d
WHERE d.name = ANY(%(names)s::text[]) AND NOT EXISTS (
    SELECT FROM subscribers_subscriber AS s WHERE split_part(s.email, '@', 2) = d.name
)
RETURNING name
"""

REGISTER = """
INSERT INTO subscribers_domain (name)
SELECT DISTINCT split_part(s.email, '@', 2) COLLATE "C" AS name FROM subscribers_subscriber AS s
WHERE %(list)s::bigint IS NULL OR EXISTS (
    SELECT FROM subscribers_subscription AS u
    WHERE u.subscriber_id = s.id AND u.list_id = %(list)s AND u.status <> 'unsubscribed'
)
ORDER BY name
ON CONFLICT DO NOTHING
"""

WANT = """
WITH used AS (
    SELECT DISTINCT split_part(s.email, '@', 2) AS name FROM subscribers_subscriber AS s
    WHERE %(list)s::bigint IS NULL OR EXISTS (
        SELECT FROM subscribers_subscription AS u
        WHERE u.subscriber_id = s.id AND u.list_id = %(list)s AND u.status <> 'unsubscribed'
    )
), wanted AS (
    SELECT name FROM subscribers_domain JOIN used USING (name)
    WHERE %(before)s::timestamptz IS NULL OR checked_at IS NULL OR checked_at < %(before)s
    ORDER BY checked_at NULLS FIRST, name
    LIMIT %(limit)s
)
UPDATE subscribers_domain AS d SET wanted_by_id = %(run)s FROM wanted WHERE d.name = wanted.name
"""

_HOLD = """
, locked AS (
    SELECT id FROM subscribers_subscription WHERE id IN (SELECT id FROM wrong)
    ORDER BY id FOR UPDATE
)
UPDATE subscribers_subscription AS u
SET status = 'held', held_for = wrong.kind, changed_at = %(now)s
FROM wrong JOIN locked USING (id)
WHERE u.id = wrong.id AND u.status = 'active' AND u.cleared_at IS NULL
"""

HOLD_DOMAINS = f"""
WITH wrong AS (
    SELECT DISTINCT ON (u.id) u.id, held.kind
    FROM subscribers_domain AS d
    JOIN subscribers_subscriber AS s ON split_part(s.email, '@', 2) = d.name
    JOIN subscribers_subscription AS u
        ON u.subscriber_id = s.id AND u.status = 'active' AND u.cleared_at IS NULL
    JOIN unnest(%(lists)s::bigint[], %(kinds)s::text[]) WITH ORDINALITY AS held(list, kind, place)
        ON held.list = u.list_id AND held.kind = ANY(d.flags)
    WHERE d.name = ANY(%(domains)s::text[]) AND d.flags <> '{{}}'
    ORDER BY u.id, held.place
)
{_HOLD}
"""  # noqa: S608 — nothing but the constant above
"""What lists hold back for their domains; of several flags the one that stands first is told."""

HOLD_ROLES = f"""
WITH wrong AS (
    SELECT u.id, 'role' AS kind
    FROM subscribers_subscription AS u JOIN subscribers_subscriber AS s ON s.id = u.subscriber_id
    WHERE u.list_id = ANY(%(lists)s::bigint[]) AND u.status = 'active' AND u.cleared_at IS NULL
        AND split_part(s.email, '@', 1) = ANY(%(roles)s::text[])
)
{_HOLD}
"""  # noqa: S608 — nothing but the constant above

HOLD_ADDRESSES = f"""
WITH wrong AS (
    SELECT u.id, held.kind
    FROM unnest(%(emails)s::text[], %(kinds)s::text[]) AS held(email, kind)
    JOIN subscribers_subscriber AS s ON s.email = held.email COLLATE "C"
    JOIN subscribers_subscription AS u ON u.subscriber_id = s.id AND u.list_id = %(list)s
        AND u.status = 'active' AND u.cleared_at IS NULL AND u.source = %(source)s
)
{_HOLD}
"""  # noqa: S608 — nothing but the constant above
"""Of one list, only those who came from one source: who was on it before stays as they are."""

RELEASE_DOMAINS = """
UPDATE subscribers_subscription AS u SET status = 'active', held_for = '', changed_at = %(now)s
FROM subscribers_subscriber AS s, subscribers_domain AS d
WHERE u.status = 'held' AND u.held_for = ANY(%(kinds)s::text[]) AND s.id = u.subscriber_id
    AND d.name = split_part(s.email, '@', 2) AND d.name = ANY(%(domains)s::text[])
    AND u.held_for <> ALL(d.flags)
"""

RELEASE_ACCEPTED = """
UPDATE subscribers_subscription AS u SET status = 'active', held_for = '', changed_at = %(now)s
WHERE u.status = 'held' AND NOT EXISTS (
    SELECT FROM unnest(%(lists)s::bigint[], %(kinds)s::text[]) AS held(list, kind)
    WHERE held.list = u.list_id AND held.kind = u.held_for
)
"""

COUNT_FLAGS = """
SELECT kind, count(*)
FROM subscribers_domain AS d
CROSS JOIN LATERAL unnest(
    CASE WHEN d.state = 'unknown' THEN d.flags || '{unknown}'::varchar[] ELSE d.flags END
) AS kind
JOIN subscribers_subscriber AS s ON split_part(s.email, '@', 2) = d.name
WHERE (d.flags <> '{}' OR d.state = 'unknown') AND (%(list)s::bigint IS NULL OR EXISTS (
    SELECT FROM subscribers_subscription AS u
    WHERE u.subscriber_id = s.id AND u.list_id = %(list)s AND u.status <> 'unsubscribed'
))
GROUP BY kind
"""
