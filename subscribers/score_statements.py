"""The formula of the score as SQL, and the statements that bring everybody's up to date.

heat = Σ weight · 2^(-age / half-life) over what a person did and what went wrong, kept as one
decaying number and the time it is of. score = 100 · (1 - 2^(-heat / HALF_SCORE)), not below 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

WEIGHTS: Mapping[str, float] = MappingProxyType(
    {"opened": 1, "clicked": 2, "replied": 4, "converted": 6, "bounced": -1, "complained": -30}
)
"""What one mail opened, one mail clicked in, one reply … adds to the heat on its day."""
HALF_SCORE = 5.0
"""The heat that makes a score of 50; twice as much makes 75."""
EVIDENCE = 5
"""So many opens and clicks, at least, make somebody's own best hour."""

_LN2 = 0.6931471805599453
_LONGEST = 50 / _LN2
"""In half-lives: what is older counts as nothing, before doubles run out of digits."""


def decay(since: str) -> str:
    """Return SQL of what is left at %(now)s of what was at `since`."""
    age = f"extract(epoch FROM %(now)s::timestamptz - {since})::float8 / %(half_life)s"
    return f"exp(-{_LN2} * LEAST(GREATEST({age}, 0), {_LONGEST}))"


def score(heat: str) -> str:
    """Return SQL of the score for a heat as of %(now)s."""
    bounded = f"LEAST(GREATEST({heat}, 0) / {HALF_SCORE}, 100)"
    return f"round(100 * (1 - exp(-{_LN2} * {bounded})))::smallint"


def weight(what: str) -> str:
    """Return SQL of the weight of a kind of deed; 0 for kinds that have none."""
    arms = " ".join(f"WHEN '{name}' THEN {number}" for name, number in WEIGHTS.items())
    return f"CASE {what} {arms} ELSE 0 END"


FUNCTIONS = """
CREATE FUNCTION subscribers_hour_in(moment timestamptz, zone text) RETURNS integer
LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN extract(hour FROM moment AT TIME ZONE coalesce(nullif(zone, ''), 'UTC'));
EXCEPTION WHEN invalid_parameter_value THEN
    RETURN extract(hour FROM moment AT TIME ZONE 'UTC');
END $$;

CREATE FUNCTION subscribers_count_hours(hours smallint[], came integer[], gone integer[])
RETURNS smallint[] LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE counted smallint[] := coalesce(hours, array_fill(0::smallint, ARRAY[24])); h integer;
BEGIN
    IF came IS NOT NULL THEN
        FOREACH h IN ARRAY came LOOP
            counted[h + 1] := least(counted[h + 1] + 1, 32767);
        END LOOP;
    END IF;
    IF gone IS NOT NULL THEN
        FOREACH h IN ARRAY gone LOOP
            counted[h + 1] := greatest(counted[h + 1] - 1, 0);
        END LOOP;
    END IF;
    RETURN counted;
END $$;

CREATE FUNCTION subscribers_best_hour(hours smallint[], least_evidence integer) RETURNS smallint
LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE best integer; most integer := 0; total integer := 0; here integer;
BEGIN
    IF hours IS NULL THEN RETURN NULL; END IF;
    FOR h IN 0..23 LOOP
        total := total + hours[h + 1];
        here := hours[(h + 23) % 24 + 1] + 2 * hours[h + 1] + hours[(h + 1) % 24 + 1];
        IF here > most THEN most := here; best := h; END IF;
    END LOOP;
    RETURN CASE WHEN total >= least_evidence THEN best END;
END $$;

ALTER TABLE subscribers_engagement SET (fillfactor = 75);
"""
"""A zone PostgreSQL does not know counts as UTC. Hours are smoothed over their neighbours (1-2-1).

A quarter of each page is left free: a change of score stays on its page and touches no index.
"""

NO_FUNCTIONS = """
DROP FUNCTION subscribers_hour_in(timestamptz, text);
DROP FUNCTION subscribers_count_hours(smallint[], integer[], integer[]);
DROP FUNCTION subscribers_best_hour(smallint[], integer);
ALTER TABLE subscribers_engagement RESET (fillfactor);
"""

LAST_SIGN = "GREATEST(last_opened_at, last_clicked_at, last_replied_at, last_converted_at)"

_SINCE = "(%(now)s::timestamptz - COALESCE(sign.at, e.first_received_at))"
_STAGE = f"""
    CASE WHEN sign.at IS NULL AND (
            e.first_received_at IS NULL OR {_SINCE} <= %(new)s::interval) THEN 'new'
        WHEN {_SINCE} <= %(active)s::interval AND sign.at IS NOT NULL THEN 'active'
        WHEN {_SINCE} <= %(cooling)s::interval THEN 'cooling'
        WHEN {_SINCE} <= %(dormant)s::interval THEN 'dormant'
        ELSE 'lost' END
"""


def _days(moment: str) -> str:
    return f"GREATEST(extract(epoch FROM %(now)s::timestamptz - {moment})::float8 / 86400, 0)"


FEATURES: Mapping[str, str] = MappingProxyType(
    {
        "silence": f"ln(1 + {_days('COALESCE(sign_at, first_received_at)')})",
        "never": "CASE WHEN sign_at IS NULL THEN 1.0 ELSE 0.0 END",
        "opens": "(LEAST(opened, received) + 0.5) / (received + 1.0)",
        "clicks": "(LEAST(clicked, received) + 0.5) / (received + 1.0)",
        "mails": "ln(1.0 + received)",
        "tenure": f"ln(1 + {_days('first_received_at')})",
    }
)
"""Name -> SQL over a row of received, opened, clicked, first_received_at and sign_at.

What the model of churn knows of a person as of %(now)s: recency, frequency, and since when.
"""


def _churn() -> str:
    terms = " + ".join(
        f"%({name})s * ({sql.replace('sign_at', 'sign.at')})" for name, sql in FEATURES.items()
    )
    return f"""
        CASE WHEN %(vouched)s AND e.first_received_at IS NOT NULL
             THEN 1 / (1 + exp(-LEAST(GREATEST(%(constant)s + {terms}, -30), 30))) END
    """


BRING_UP = f"""
WITH given AS MATERIALIZED (
    SELECT e.subscriber_id, e.stage AS old_stage,
        -- Who is scored for the first time comes from nowhere.
        CASE WHEN e.scored_at IS NULL THEN staged.stage ELSE e.stage END AS came_from,
        e.score AS old_score,
        {score("e.heat * " + decay("e.heat_at"))} AS score, staged.stage,
        {_churn()} AS churn, e.churn AS old_churn,
        e.score_noted, e.best_hour AS old_hour,
        CASE WHEN e.scored_at IS NULL OR e.heat_at >= %(since)s::timestamptz
             THEN subscribers_best_hour(e.hours::smallint[], {EVIDENCE}) ELSE e.best_hour
        END AS best_hour
    FROM subscribers_engagement e
    CROSS JOIN LATERAL (SELECT {LAST_SIGN} AS at) AS sign
    CROSS JOIN LATERAL (SELECT {_STAGE} AS stage) AS staged
    WHERE e.subscriber_id > %(first)s AND e.subscriber_id <= %(last)s
), moved AS (
    SELECT given.*,
        score_noted IS NULL OR abs(score - score_noted) >= %(step)s OR stage <> old_stage AS noted
    FROM given
    WHERE score <> old_score OR stage <> old_stage OR best_hour IS DISTINCT FROM old_hour
       OR score_noted IS NULL OR abs(score - score_noted) >= %(step)s
       OR (churn IS NULL) <> (old_churn IS NULL) OR abs(churn - old_churn) >= 0.02
), written AS (
    UPDATE subscribers_engagement e
    SET score = {score("e.heat * " + decay("e.heat_at"))}, stage = m.stage,
        stage_since = CASE WHEN m.stage = e.stage THEN e.stage_since ELSE %(now)s END,
        churn = m.churn, best_hour = m.best_hour, scored_at = %(now)s,
        score_noted = CASE WHEN m.noted THEN m.score ELSE e.score_noted END
    FROM moved m WHERE e.subscriber_id = m.subscriber_id
), kept AS (
    INSERT INTO subscribers_scoreday (subscriber_id, day, score, stage)
    SELECT subscriber_id, %(day)s, score, stage FROM moved WHERE noted ORDER BY subscriber_id
    ON CONFLICT (subscriber_id, day) DO UPDATE SET score = EXCLUDED.score, stage = EXCLUDED.stage
)
SELECT g.came_from, g.stage, count(*), count(m.subscriber_id)
FROM given g LEFT JOIN moved m USING (subscriber_id) GROUP BY 1, 2
"""  # noqa: S608 (numbers of our own)
"""Everybody's score, stage, churn and best hour as of now, in a range of ids.

Only what reads differently afterwards is written. Events that come at the same moment are not
undone: the score is computed once more from the row as it is then.
"""

REMEMBER = """
UPDATE subscribers_engagement e SET score_before = past.score
FROM (
    SELECT DISTINCT ON (subscriber_id) subscriber_id, score FROM subscribers_scoreday
    WHERE day > %(after)s AND day <= %(until)s ORDER BY subscriber_id, day DESC
) AS past
WHERE e.subscriber_id = past.subscriber_id AND e.score_before IS DISTINCT FROM past.score
"""
"""The score of 30 days ago changes for those who had a point in their history on that day."""

USUAL_HOUR = """
SELECT best_hour FROM subscribers_engagement WHERE best_hour IS NOT NULL
GROUP BY 1 ORDER BY count(*) DESC, 1 LIMIT 1
"""
