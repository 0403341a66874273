"""The SQL that makes people up. Chance is a hash of (row, question, seed): the same every time.

`crowd` is a temporary table with all there is to know of a person, also what no other table has:
how much they care (`interest`), until when (`cares_until`), when in the day they read (`hour`), and
with which campaign it ends for them (`ends_with`).
"""

from __future__ import annotations

DRAW = """
    CREATE OR REPLACE FUNCTION pg_temp.draw(key bigint, question integer) RETURNS float8
    LANGUAGE sql IMMUTABLE AS
    $$ SELECT (hashint8extended($1, $2 + {seed}::bigint) & 9007199254740991)::float8
              / 9007199254740992 $$
"""
"""From 0 to 1, 1 left out."""

PICK = """
    CREATE OR REPLACE FUNCTION pg_temp.pick(options text[], chance float8) RETURNS text
    LANGUAGE sql IMMUTABLE AS
    $$ SELECT options[1 + floor(chance * cardinality(options))::integer] $$
"""

PLACES = """
    CREATE TEMPORARY TABLE places ON COMMIT DROP AS
    SELECT place.*, lag(upto, 1, 0::bigint) OVER (ORDER BY number)::float8 / total AS low,
        upto::float8 / total AS high
    FROM (
        SELECT row.*, sum(weight) OVER (ORDER BY number) AS upto, sum(weight) OVER () AS total
        FROM unnest(
            %(weights)s::int[], %(languages)s::text[], %(countries)s::text[], %(zones)s::text[],
            %(cities)s::text[], %(first)s::text[], %(last)s::text[]
        ) WITH ORDINALITY AS row(
            weight, language, country, time_zone, cities, first_names, last_names, number)
    ) AS place
"""

CROWD = """
    CREATE TEMPORARY TABLE crowd ON COMMIT DROP AS
    SELECT person.*, known.*, fate.*,
        CASE fate.status WHEN 'active' THEN NULL
            ELSE first_campaign + floor(pg_temp.draw(id, 21) * (%(campaigns)s - first_campaign + 1))
        END::integer AS ends_with,
        sha256(%(outer)s::bytea || sha256(%(inner)s::bytea || convert_to(email, 'UTF8')))
            AS address_key
    FROM (
        SELECT %(first)s::bigint + n AS id, place.language, place.country, place.time_zone,
            coalesce(pg_temp.pick(string_to_array(place.cities, ' '),
                pg_temp.draw(%(first)s::bigint + n, 2)), '') AS city,
            pg_temp.pick(string_to_array(place.first_names, ' '),
                pg_temp.draw(%(first)s::bigint + n, 3)) AS first_name,
            pg_temp.pick(string_to_array(place.last_names, ' '),
                pg_temp.draw(%(first)s::bigint + n, 4)) AS last_name,
            %(now)s::timestamptz - interval '1095 days'
                * power(1 - (n + pg_temp.draw(%(first)s::bigint + n, 5)) / %(people)s, 1.3)
                AS created_at
        FROM generate_series(0, %(people)s - 1) AS n
        JOIN places AS place ON pg_temp.draw(%(first)s::bigint + n, 1) >= place.low
            AND pg_temp.draw(%(first)s::bigint + n, 1) < place.high
    ) AS person
    CROSS JOIN LATERAL (SELECT pg_temp.draw(id, 6) AS chance) AS provider
    CROSS JOIN LATERAL (
        SELECT {domain} AS domain
    ) AS place_of_mail
    CROSS JOIN LATERAL (
        SELECT lower(split_part(first_name, '/', -1) || '.' || split_part(last_name, '/', -1))
                || id || '@' || domain AS email,
            CASE {mailbox} ELSE 'other' END AS mailbox,
            0.04 + 0.9 * power(pg_temp.draw(id, 8), 2) AS interest,
            CASE WHEN pg_temp.draw(id, 9) < 0.5 THEN 'infinity'::timestamptz
                ELSE created_at + pg_temp.draw(id, 10) * (%(now)s::timestamptz - created_at)
            END AS cares_until,
            (ARRAY[7, 8, 8, 9, 12, 13, 17, 19, 20, 20, 21, 22])
                [1 + floor(pg_temp.draw(id, 11) * 12)::integer] AS hour,
            greatest(1, least(%(campaigns)s, ceil(
                extract(epoch FROM created_at - %(begin)s::timestamptz)
                / extract(epoch FROM %(gap)s::interval))))::integer AS first_campaign
    ) AS known
    CROSS JOIN LATERAL (
        SELECT CASE WHEN chance < 0.87 THEN 'active' WHEN chance < 0.935 THEN 'unsubscribed'
                WHEN chance < 0.975 THEN 'bounced' WHEN chance < 0.99 THEN 'complained'
                WHEN chance < 0.993 THEN 'blocked' ELSE 'active' END AS status
        FROM (SELECT pg_temp.draw(id, 20)) AS draw(chance)
    ) AS fate
"""

SUBSCRIBERS = """
    INSERT INTO subscribers_subscriber (
        id, email, address_key, mailbox, status, status_changed_at, first_name, last_name, language,
        time_zone, country, attributes, tags, engaged_at, source, created_at, updated_at
    )
    SELECT id, email, address_key, mailbox, status,
        CASE WHEN status = 'active' THEN created_at ELSE greatest(created_at, {ended_at}) END,
        split_part(first_name, '/', 1), split_part(last_name, '/', 1), language, time_zone, country,
        jsonb_strip_nulls(jsonb_build_object(
            'plan', CASE WHEN chance < 0.7 THEN 'free' WHEN chance < 0.92 THEN 'pro'
                ELSE 'team' END,
            'city', nullif(city, ''),
            'points', floor(5000 * power(pg_temp.draw(id, 31), 3)),
            'orders', CASE WHEN pg_temp.draw(id, 32) < 0.4
                THEN floor(1 + 20 * power(pg_temp.draw(id, 33), 4)) END,
            'birthday', CASE WHEN pg_temp.draw(id, 34) < 0.6 THEN (
                date '1945-01-01' + floor(22000 * pg_temp.draw(id, 35))::integer)::text END,
            'is_member', pg_temp.draw(id, 36) < 0.3
        )),
        CASE WHEN pg_temp.draw(id, 37) < 0.25 THEN ARRAY(
            SELECT DISTINCT pg_temp.pick(%(tags)s::text[], pg_temp.draw(id, 40 + number))
            FROM generate_series(1, 1 + floor(3 * pg_temp.draw(id, 38))::integer) AS number
        ) ELSE '{{}}' END,
        last_seen, %(source)s, created_at, greatest(created_at, last_seen)
    FROM crowd LEFT JOIN last_seen USING (id) CROSS JOIN LATERAL (
        SELECT pg_temp.draw(id, 30) AS chance
    ) AS plan
    ORDER BY id
"""

LAST_SEEN = """
    CREATE TEMPORARY TABLE last_seen ON COMMIT DROP AS
    SELECT subscriber_id AS id, max(greatest(opened_at, clicked_at)) AS last_seen,
        count(delivered_at) AS received, count(opened_at) AS opened, count(clicked_at) AS clicked,
        max(delivered_at) AS last_received_at, max(opened_at) AS last_opened_at,
        max(clicked_at) AS last_clicked_at
    FROM delivery_message WHERE campaign_id = ANY(%s)
    GROUP BY 1
"""

ENGAGEMENT = """
    INSERT INTO subscribers_engagement (
        subscriber_id, received, opened, clicked, last_received_at, last_opened_at, last_clicked_at
    )
    SELECT id, received, opened, clicked, last_received_at, last_opened_at, last_clicked_at
    FROM last_seen ORDER BY id
"""
"""What can be counted; scores and stages are the nightly scoring's."""

SUBSCRIPTIONS = """
    INSERT INTO subscribers_subscription
        (subscriber_id, list_id, status, source, created_at, changed_at)
    SELECT id, %(list)s, standing, %(source)s, created_at,
        CASE WHEN standing = 'unsubscribed' THEN greatest(created_at, coalesce({ended_at},
            created_at + pg_temp.draw(id, 50 + %(number)s) * (%(now)s::timestamptz - created_at)))
            ELSE created_at END
    FROM crowd CROSS JOIN LATERAL (
        SELECT CASE WHEN status IN ('unsubscribed', 'complained') THEN 'unsubscribed'
            WHEN chance < 0.04 THEN 'unsubscribed' WHEN chance < 0.055 THEN 'pending'
            ELSE 'active' END AS standing
        FROM (SELECT pg_temp.draw(id, 60 + %(number)s)) AS draw(chance)
    ) AS list
    WHERE pg_temp.draw(id, 70 + %(number)s) < %(share)s
    ORDER BY id
"""

SUPPRESSIONS = """
    INSERT INTO subscribers_suppression (address_key, reason, source, created_at)
    SELECT address_key, status, %(source)s, greatest(created_at, {ended_at})
    FROM crowd WHERE status <> 'active'
    UNION ALL
    SELECT sha256(('forgotten ' || %(first)s + n)::bytea), 'unsubscribed', %(source)s,
        %(now)s::timestamptz - pg_temp.draw(n, 80) * interval '900 days'
    FROM generate_series(1, %(people)s / 200) AS n
    ORDER BY 4
"""
"""Of those who left, and of some who were erased since."""

ENDED_AT = "%(begin)s::timestamptz + ends_with * %(gap)s::interval + interval '3 hours'"
"""When it ended for somebody: with the campaign `ends_with`."""

ELIGIBLE = """
    SELECT count(*) FROM crowd
    WHERE first_campaign <= %(number)s AND created_at < %(launched)s
      AND coalesce(ends_with, 2147483647) >= %(number)s
"""

MAILING = """
    WITH sent AS (
        INSERT INTO delivery_message (
            campaign_id, subscriber_id, email, address_key, stream, mailbox, status, due_at,
            attempts, provider_id, created_at, sent_at, delivered_at, deferred_at, bounced_at,
            bounce_class, opened_at, person_opened_at, machine_opened_at, clicked_at,
            person_clicked_at, machine_clicked_at, unsubscribed_at, complained_at
        )
        SELECT %(campaign)s, id, email, address_key, 'marketing', mailbox, 'sent', %(launched)s,
            1, (%(accounts)s::bigint[])[1 + (pg_temp.draw(key, 100) * 2)::integer %% 2],
            %(launched)s, sent.at, delivered.at,
            CASE WHEN NOT is_bounced AND pg_temp.draw(key, 101) < 0.02
                THEN sent.at + interval '30 seconds' END,
            CASE WHEN is_bounced THEN sent.at + interval '4 seconds' END, bounce_class,
            opened.at, opened.at,
            CASE WHEN mailbox = 'apple' AND pg_temp.draw(key, 102) < 0.7
                THEN delivered.at + interval '9 seconds' END,
            clicked.at, clicked.at,
            CASE WHEN mailbox = 'other' AND pg_temp.draw(key, 105) < 0.03
                THEN delivered.at + interval '2 seconds' END,
            CASE WHEN is_last AND status = 'unsubscribed'
                THEN coalesce(opened.at, delivered.at) + interval '5 minutes' END,
            CASE WHEN is_last AND status = 'complained'
                THEN delivered.at + interval '2 hours' * pg_temp.draw(key, 106) END
        FROM (
            SELECT crowd.*, id * 1000 + %(number)s AS key,
                coalesce(ends_with = %(number)s, false) AS is_last
            FROM crowd
            WHERE first_campaign <= %(number)s AND created_at < %(launched)s
              AND coalesce(ends_with, 2147483647) >= %(number)s
        ) AS person
        CROSS JOIN LATERAL (
            SELECT %(launched)s + interval '45 minutes' * pg_temp.draw(key, 107) AS at OFFSET 0
        ) AS sent
        CROSS JOIN LATERAL (
            SELECT CASE WHEN is_last AND status = 'bounced' THEN 'hard'
                WHEN pg_temp.draw(key, 108) < 0.004 THEN 'soft' ELSE '' END AS bounce_class
            OFFSET 0
        ) AS bounce
        CROSS JOIN LATERAL (SELECT bounce_class <> '' AS is_bounced) AS bounced
        CROSS JOIN LATERAL (
            SELECT CASE WHEN NOT is_bounced
                THEN sent.at + interval '90 seconds' * power(pg_temp.draw(key, 109), 4)
                    + interval '1 second' END AS at
            OFFSET 0
        ) AS delivered
        CROSS JOIN LATERAL (
            SELECT CASE WHEN sent.at < cares_until AND pg_temp.draw(key, 110) < interest
                THEN CASE WHEN pg_temp.draw(key, 111) < 0.3
                    THEN delivered.at + interval '3 hours' * power(pg_temp.draw(key, 112), 2)
                    ELSE (date_trunc('day', (delivered.at - hour * interval '1 hour')
                            AT TIME ZONE coalesce(nullif(time_zone, ''), 'UTC'))
                        + interval '1 day' + hour * interval '1 hour'
                        + interval '55 minutes' * pg_temp.draw(key, 112))
                        AT TIME ZONE coalesce(nullif(time_zone, ''), 'UTC')
                    END END AS at
            OFFSET 0
        ) AS wanted
        CROSS JOIN LATERAL (
            SELECT CASE WHEN wanted.at < %(now)s THEN wanted.at END AS at
        ) AS opened
        CROSS JOIN LATERAL (
            SELECT CASE WHEN is_last AND status = 'unsubscribed' OR pg_temp.draw(key, 103) < 0.17
                THEN opened.at + interval '4 minutes' * (0.05 + pg_temp.draw(key, 104)) END AS at
            OFFSET 0
        ) AS clicked
        WHERE is_last OR pg_temp.draw(key, 113) < %(share)s
        RETURNING *
    ), happened AS (
        INSERT INTO webhooks_event (
            account_id, dedupe_key, type, occurred_at, message_id, campaign_id, subscriber_id,
            recipient, url, ip, user_agent, is_machine, bounce_class, reason, country, device,
            client, os, received_at
        )
        SELECT provider_id, 'made-up-' || to_hex(sent.id) || suffix, type, what.at, sent.id,
            campaign_id, subscriber_id, sent.email,
            CASE WHEN type = 'clicked'
                THEN pg_temp.pick(%(urls)s::text[], pg_temp.draw(sent.id, 120)) ELSE '' END,
            CASE WHEN is_reading THEN ('198.51.100.' || subscriber_id %% 256)::inet END,
            CASE WHEN NOT is_reading THEN '' WHEN is_machine THEN 'Mozilla/5.0'
                ELSE (%(agents)s::text[])[program] END,
            is_machine, CASE WHEN type = 'bounced' THEN sent.bounce_class ELSE '' END,
            CASE WHEN type <> 'bounced' THEN '' WHEN sent.bounce_class = 'hard'
                THEN '550 5.1.1 No such mailbox' ELSE '452 4.2.2 Mailbox full' END,
            CASE WHEN is_reading AND NOT is_machine THEN crowd.country ELSE '' END,
            CASE WHEN is_reading AND NOT is_machine THEN (%(devices)s::text[])[program] ELSE '' END,
            CASE WHEN is_reading AND NOT is_machine THEN (%(clients)s::text[])[program] ELSE '' END,
            CASE WHEN is_reading AND NOT is_machine THEN (%(systems)s::text[])[program] ELSE '' END,
            what.at + interval '2 seconds'
        FROM sent JOIN crowd ON crowd.id = subscriber_id
        CROSS JOIN LATERAL (
            VALUES ('delivered', 'd', delivered_at, NULL::boolean),
                ('deferred', 'l', deferred_at, NULL), ('bounced', 'b', bounced_at, NULL),
                ('opened', 'm', machine_opened_at, true), ('opened', 'o', opened_at, false),
                ('opened', 'p', CASE WHEN pg_temp.draw(sent.id, 121) < 0.4
                    THEN nullif(least(opened_at + interval '30 hours' * pg_temp.draw(sent.id, 122),
                        %(now)s), %(now)s) END, false),
                ('clicked', 'n', machine_clicked_at, true), ('clicked', 'c', clicked_at, false),
                ('unsubscribed', 'u', unsubscribed_at, NULL),
                ('complained', 's', complained_at, NULL)
        ) AS what (type, suffix, at, is_machine)
        CROSS JOIN LATERAL (
            SELECT type IN ('opened', 'clicked') AS is_reading,
                (%(places)s::int[])[1 + floor(pg_temp.draw(subscriber_id, 123)
                    * cardinality(%(places)s::int[]))::integer] AS program
            OFFSET 0
        ) AS reading
        WHERE what.at IS NOT NULL
        ORDER BY what.at
        RETURNING 1
    )
    SELECT (SELECT count(*) FROM sent), (SELECT count(*) FROM happened)
"""
"""One campaign: a message to everybody chosen, what became of it, and the events that say so.

OFFSET 0 has an expression computed once; else it is put in wherever its name stands.
"""
