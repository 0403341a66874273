"""The SQL by which events and messages become what is known of a person's engagement.

A batch notes in `webhooks_felt` what changed on messages: (person, what, at, +1 or -1). Marks move
to earlier times and back when a verdict is revised, so each change takes away what was and adds
what is: whatever the order, the sum is that over all messages. Times of the last sign go by events,
the latest wins. `webhooks_fresh` (see `event_statements`) has the new events.
"""

from __future__ import annotations

from subscribers.score_statements import decay, score, weight

LOCK = 7_204_001
"""Number of the advisory lock: shared by who applies events, alone for who counts anew."""

MAKE_ROOM = f"""
SELECT pg_advisory_xact_lock_shared({LOCK});
SET LOCAL client_min_messages = warning;
CREATE TEMPORARY TABLE IF NOT EXISTS webhooks_fresh (
    account_id bigint, dedupe_key text, type text, occurred_at timestamptz, message_id bigint,
    campaign_id bigint, subscriber_id bigint, is_machine boolean, bounce_class text,
    standing text, recipient text, ip inet
) ON COMMIT DELETE ROWS;
CREATE TEMPORARY TABLE IF NOT EXISTS webhooks_felt (
    subscriber_id bigint, what text, at timestamptz, by smallint
) ON COMMIT DELETE ROWS;
DELETE FROM webhooks_fresh;
DELETE FROM webhooks_felt;
"""  # noqa: S608 (names of our own)

ALONE = f"SELECT pg_advisory_xact_lock({LOCK})"

_COUNTED = ("received", "opened", "clicked", "replied", "converted")
_SEEN = ("received", "opened", "clicked", "replied", "converted")


def _received(new: str, quiet: str) -> str:
    """Return SQL of when a mail counts as received, or NULL."""
    return (
        f"CASE WHEN {new}delivered_at IS NOT NULL THEN {new}delivered_at"
        f" WHEN {new}sent_at < {quiet}.swept_until AND {new}bounced_at IS NULL"
        f" AND {new}dropped_at IS NULL THEN {new}sent_at END"
    )


def _bounced(new: str) -> str:
    return f"CASE WHEN {new}bounce_class IN ('hard', 'soft') THEN {new}bounced_at END"


FELT = f"""
felt AS (
    INSERT INTO webhooks_felt (subscriber_id, what, at, by)
    SELECT moved.subscriber_id, mark.what, change.at, change.by
    FROM moved
    LEFT JOIN webhooks_quietaccount was ON was.account_id = moved.provider_id
    LEFT JOIN webhooks_quietaccount becomes ON becomes.account_id = moved.new_provider_id
    CROSS JOIN LATERAL (VALUES
        ('received', {_received("", "was")}, {_received("new_", "becomes")}),
        ('opened', opened_at, new_opened_at),
        ('clicked', clicked_at, new_clicked_at),
        ('bounced', {_bounced("")}, {_bounced("new_")}),
        ('complained', complained_at, new_complained_at)
    ) AS mark (what, old, new)
    CROSS JOIN LATERAL (VALUES (mark.old, -1), (mark.new, 1)) AS change (at, by)
    WHERE moved.subscriber_id IS NOT NULL AND change.at IS NOT NULL
      AND CASE mark.what WHEN 'received' THEN (mark.old IS NULL) <> (mark.new IS NULL)
          ELSE mark.old IS DISTINCT FROM mark.new END
)
"""  # noqa: S608 (names of our own)
"""What the marks of moved messages (`old`, `new_…`) mean for their people."""

_TOLD = """
    SELECT {person} AS subscriber_id, told.what, occurred_at AS at, 1 AS by FROM {events}
    CROSS JOIN LATERAL (VALUES
        (CASE WHEN type IN ('replied', 'converted') THEN type END),
        ('seen_' || CASE type WHEN 'delivered' THEN 'received' ELSE type END)
    ) AS told (what)
    WHERE {person} IS NOT NULL AND told.what IS NOT NULL AND (
        type IN ('delivered', 'replied', 'converted')
        OR (type IN ('opened', 'clicked') AND is_machine IS NOT TRUE))
"""

_FRESH = _TOLD.format(person="subscriber_id", events="webhooks_fresh")

_TOOK = f"""
took AS (
    SELECT subscriber_id, what, at, by FROM webhooks_felt WHERE what NOT LIKE 'unseen%%'
    UNION ALL {_FRESH}
)
"""  # noqa: S608 (names of our own)

_SUMS = ",\n        ".join(
    [
        *(f"COALESCE(sum(by) FILTER (WHERE what = '{each}'), 0) AS {each}" for each in _COUNTED),
        "min(LEAST(at, %(now)s)) FILTER (WHERE what = 'seen_received') AS first_received_at",
        *(
            f"max(LEAST(at, %(now)s)) FILTER (WHERE what = 'seen_{each}') AS last_{each}_at"
            for each in _SEEN
        ),
        f"COALESCE(sum(by * {weight('what')} * {decay('at')}), 0) AS heat",
        "array_agg(hour) FILTER (WHERE by > 0 AND hour IS NOT NULL) AS came",
        "array_agg(hour) FILTER (WHERE by < 0 AND hour IS NOT NULL) AS gone",
    ]
)
_SUMMED = f"""
summed AS (
    SELECT subscriber_id,
        {_SUMS}
    FROM (
        SELECT t.*, CASE WHEN t.what IN ('opened', 'clicked')
            THEN subscribers_hour_in(t.at, p.time_zone) END AS hour
        FROM took t LEFT JOIN subscribers_subscriber p
            -- No look at people whose hour nobody asks for.
            ON p.id = CASE WHEN t.what IN ('opened', 'clicked') THEN t.subscriber_id END
    ) AS took
    GROUP BY 1
)
"""  # noqa: S608 (names of our own)

GREET = f"""
WITH {_TOOK}
INSERT INTO subscribers_engagement (subscriber_id, heat_at)
SELECT t.subscriber_id, %(now)s FROM (
    SELECT DISTINCT subscriber_id FROM took OFFSET 0
) AS t JOIN subscribers_subscriber p ON p.id = t.subscriber_id
WHERE NOT EXISTS (
    SELECT 1 FROM subscribers_engagement e WHERE e.subscriber_id = t.subscriber_id)
ORDER BY 1
ON CONFLICT DO NOTHING
"""  # noqa: S608 (names of our own)
"""A row for everybody who has none yet."""

_HEAT = f"e.heat * {decay('e.heat_at')} + f.heat"
_ADDED = ", ".join(f"{each} = GREATEST(e.{each} + f.{each}, 0)" for each in _COUNTED)
_LATEST = ", ".join(
    f"last_{each}_at = GREATEST(e.last_{each}_at, f.last_{each}_at)" for each in _SEEN
)

FEEL = f"""
WITH {_TOOK}, {_SUMMED}
UPDATE subscribers_engagement e
SET {_ADDED},
    first_received_at = LEAST(e.first_received_at, f.first_received_at), {_LATEST},
    heat = {_HEAT}, heat_at = %(now)s, score = {score(_HEAT)},
    hours = CASE WHEN f.came IS NULL AND f.gone IS NULL THEN e.hours
        ELSE subscribers_count_hours(e.hours::smallint[], f.came, f.gone) END
FROM (
    SELECT summed.* FROM summed JOIN subscribers_engagement e USING (subscriber_id)
    -- In order, so that two who apply never wait for each other in a circle.
    ORDER BY subscriber_id FOR NO KEY UPDATE OF e
) AS f
WHERE e.subscriber_id = f.subscriber_id
"""  # noqa: S608 (names of our own)

REVERDICT = """
UPDATE webhooks_fresh f SET is_machine = e.is_machine FROM webhooks_event e
WHERE e.id = ANY(%s) AND e.dedupe_key = f.dedupe_key
  AND e.account_id IS NOT DISTINCT FROM f.account_id
"""
"""What a batch brought is felt by its last verdict."""

RESEE = """
INSERT INTO webhooks_felt (subscriber_id, what, at, by)
SELECT subscriber_id, %s || type, occurred_at, 1 FROM webhooks_event
WHERE id = ANY(%s) AND subscriber_id IS NOT NULL AND type IN ('opened', 'clicked')
"""

UNSEE = """
UPDATE subscribers_engagement e
SET last_opened_at = CASE WHEN e.last_opened_at <= u.opened THEN (
        SELECT max(LEAST(o.occurred_at, %(now)s)) FROM webhooks_event o
        WHERE o.subscriber_id = e.subscriber_id AND o.type = 'opened'
          AND o.is_machine IS NOT TRUE) ELSE e.last_opened_at END,
    last_clicked_at = CASE WHEN e.last_clicked_at <= u.clicked THEN (
        SELECT max(LEAST(o.occurred_at, %(now)s)) FROM webhooks_event o
        WHERE o.subscriber_id = e.subscriber_id AND o.type = 'clicked'
          AND o.is_machine IS NOT TRUE) ELSE e.last_clicked_at END
FROM (
    SELECT subscriber_id, max(at) FILTER (WHERE what = 'unseen_opened') AS opened,
        max(at) FILTER (WHERE what = 'unseen_clicked') AS clicked
    FROM webhooks_felt WHERE what LIKE 'unseen%%' GROUP BY 1
) AS u
WHERE e.subscriber_id = u.subscriber_id
  AND (e.last_opened_at <= u.opened OR e.last_clicked_at <= u.clicked)
"""
"""Whose last sign was a machine's after all was last seen before."""

# --- Anew --------------------------------------------------------------------------------

_EVERYTHING = f"""
took AS (
    SELECT m.subscriber_id, mark.what, mark.at, 1 AS by
    FROM delivery_message m
    LEFT JOIN webhooks_quietaccount q ON q.account_id = m.provider_id
    CROSS JOIN LATERAL (VALUES
        ('received', {_received("m.", "q")}),
        ('opened', m.opened_at), ('seen_opened', m.opened_at),
        ('clicked', m.clicked_at), ('seen_clicked', m.clicked_at),
        ('bounced', {_bounced("m.")}), ('complained', m.complained_at),
        ('seen_received', CASE WHEN m.sent_at < q.swept_until THEN m.sent_at END)
    ) AS mark (what, at)
    WHERE m.subscriber_id > %(first)s AND m.subscriber_id <= %(last)s AND mark.at IS NOT NULL
    UNION ALL
    SELECT * FROM (
        {_TOLD.format(person="e.subscriber_id", events="webhooks_event e")}
    ) AS told WHERE subscriber_id > %(first)s AND subscriber_id <= %(last)s
)
"""  # noqa: S608 (names of our own)

_RIGHT = {
    **{each: f"COALESCE(f.{each}, 0)" for each in _COUNTED},
    **{each: f"f.{each}" for each in ("first_received_at", *(f"last_{kind}_at" for kind in _SEEN))},
}
_DIFFERS = f"""
    ({", ".join(f"e.{each}" for each in _RIGHT)}) IS DISTINCT FROM ({", ".join(_RIGHT.values())})
    OR abs(e.heat * {decay("e.heat_at")} - COALESCE(f.heat, 0))
       > 1e-6 * (1 + abs(COALESCE(f.heat, 0)))
"""
_HOURS = "CASE WHEN f.came IS NOT NULL THEN subscribers_count_hours(NULL, f.came, NULL) END"

GREET_AGAIN = f"""
WITH {_EVERYTHING}
INSERT INTO subscribers_engagement (subscriber_id, heat_at)
SELECT t.subscriber_id, %(now)s FROM (
    SELECT DISTINCT subscriber_id FROM took t WHERE NOT EXISTS (
        SELECT 1 FROM subscribers_engagement e WHERE e.subscriber_id = t.subscriber_id)
) AS t
JOIN subscribers_subscriber p ON p.id = t.subscriber_id
ORDER BY 1
ON CONFLICT DO NOTHING
"""  # noqa: S608 (names of our own)

_COMPARED = f"""
WITH {_EVERYTHING}, {_SUMMED}, compared AS MATERIALIZED (
    SELECT f.*, e.subscriber_id AS person, {_HOURS} AS hours, {_DIFFERS} AS differs,
        e.hours::smallint[] IS DISTINCT FROM ({_HOURS}) AS moved
    FROM subscribers_engagement e LEFT JOIN summed f USING (subscriber_id)
    WHERE e.subscriber_id > %(first)s AND e.subscriber_id <= %(last)s
)
"""  # noqa: S608 (names of our own)

REBUILD = f"""
{_COMPARED}, written AS (
    UPDATE subscribers_engagement e
    SET {", ".join(f"{each} = {right}" for each, right in _RIGHT.items())}, hours = f.hours,
        heat = COALESCE(f.heat, 0), heat_at = %(now)s, score = {score("COALESCE(f.heat, 0)")}
    FROM compared f WHERE e.subscriber_id = f.person AND (f.differs OR f.moved)
)
SELECT count(*) FILTER (WHERE differs), (array_agg(person ORDER BY person)
    FILTER (WHERE differs))[:5] FROM compared
"""  # noqa: S608 (names of our own)
"""Everything in a range of ids counted from messages and events; returns who was wrong.

Hours of the day alone are no mistake: who has moved to another time zone since is counted anew.
"""

CHECK = f"""
{_COMPARED}, missing AS (
    SELECT DISTINCT subscriber_id FROM took t WHERE NOT EXISTS (
        SELECT 1 FROM subscribers_engagement e WHERE e.subscriber_id = t.subscriber_id)
), wrong AS (
    SELECT person FROM compared WHERE differs UNION ALL SELECT subscriber_id FROM missing
)
SELECT count(*), (array_agg(person ORDER BY person))[:5] FROM wrong
"""  # noqa: S608 (names of our own)

# --- Where nobody tells of deliveries ----------------------------------------------------

SWEEP = """
WITH passed AS (
    SELECT m.* FROM delivery_message m
    WHERE m.provider_id = %(account)s AND m.sent_at >= %(since)s AND m.sent_at < %(until)s
      AND m.subscriber_id IS NOT NULL
)
INSERT INTO webhooks_felt (subscriber_id, what, at, by)
SELECT subscriber_id, mark.what, sent_at, 1 FROM passed
CROSS JOIN LATERAL (VALUES
    ('received', delivered_at IS NULL AND bounced_at IS NULL AND dropped_at IS NULL),
    ('seen_received', true)
) AS mark (what, holds)
WHERE mark.holds
"""
