"""SQL that sets providers' lists against ours. An address counts once, however often it stands."""

CLOSES = "x.stream = '' AND x.list_id IS NULL AND x.expires_at IS NULL"

COMPARE = f"""
    WITH there AS (
        SELECT address_key, array_agg(reason::text) AS reasons
        FROM delivery_listedaddress WHERE provider_id = %(provider)s GROUP BY address_key
    ), here AS (
        SELECT x.address_key, array_agg(x.reason::text) AS reasons
        FROM subscribers_suppression x WHERE {CLOSES} GROUP BY x.address_key
    )
    SELECT count(there.address_key), count(here.address_key),
        count(*) FILTER (WHERE there.address_key IS NULL),
        count(*) FILTER (WHERE NOT there.reasons && here.reasons)
    FROM there FULL JOIN here USING (address_key)
"""  # noqa: S608 (constants)
"""provider -> there, here, only here, for differing reasons."""

ONLY_HERE = f"""
    SELECT DISTINCT ON (x.address_key) x.address_key, person.email, x.reason
    FROM subscribers_suppression x
    JOIN subscribers_subscriber person ON person.address_key = x.address_key
    WHERE {CLOSES} AND x.reason = ANY(%(reasons)s) AND x.address_key > %(after)s
      AND NOT EXISTS (
          SELECT FROM delivery_listedaddress listed
          WHERE listed.provider_id = %(provider)s AND listed.address_key = x.address_key
      )
    ORDER BY x.address_key, array_position(%(reasons)s, x.reason::text)
    LIMIT %(limit)s
"""  # noqa: S608 (constants)
"""Those whom a provider can be told of, since their address is known; by key, `limit` at most."""

LET_BACK = """
    SELECT chain, max(at) FROM subscribers_consentrecord
    WHERE chain = ANY(%(keys)s) AND action = 'let_back' AND lists = '{}' GROUP BY chain
"""
"""Of these keys those that were let back in, and when last."""
