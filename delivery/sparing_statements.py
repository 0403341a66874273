"""The SQL of sparing people: who is left out at the start, and of a claim that looks once more."""

from delivery.statements import CLAIM

SET_ASIDE = """
    INSERT INTO delivery_message
        (campaign_id, subscriber_id, email, address_key, mailbox, status, error)
    SELECT %s, person.id, person.email, person.address_key, person.mailbox, 'skipped', %s
    FROM ({people}) AS person (id, email, address_key, mailbox)
    ON CONFLICT (campaign_id, subscriber_id) DO NOTHING
"""

SET_ASIDE_OFTEN = """
    WITH person (id, email, address_key, mailbox) AS ({people}), often AS (
        SELECT m.subscriber_id, count(*) AS times
        FROM delivery_message m
        WHERE m.subscriber_id > %s AND m.subscriber_id <= %s
          AND m.campaign_id IS NOT NULL AND m.campaign_id <> %s
          AND (m.sent_at > %s OR m.status IN ('sending', 'unknown'))
        GROUP BY m.subscriber_id HAVING count(*) >= %s
    )
    INSERT INTO delivery_message
        (campaign_id, subscriber_id, email, address_key, mailbox, status, error)
    SELECT %s, person.id, person.email, person.address_key, person.mailbox, 'skipped',
        'mailed ' || often.times || CASE often.times WHEN 1 THEN ' time' ELSE ' times' END
            || ' in ' || %s::integer || ' days'
    FROM often JOIN person ON person.id = often.subscriber_id
    ON CONFLICT (campaign_id, subscriber_id) DO NOTHING
"""
"""By the index of people's messages, once per range of people and not per person."""

_AT_CLAIM = """WHEN (
                SELECT count(*) FROM delivery_message o
                WHERE o.subscriber_id = s.id AND o.campaign_id <> %(campaign)s
                  AND (o.sent_at > %(now)s - %(cap_days)s::integer * interval '1 day'
                       OR o.status IN ('sending', 'unknown'))
            ) >= %(cap_mails)s::integer THEN %(had_enough)s::text
            WHEN s.paused_until > %(now)s THEN 'paused'"""

CLAIM_CAPPED = CLAIM.replace("WHEN s.paused_until > %(now)s THEN 'paused'", _AT_CLAIM, 1)
"""CLAIM for campaigns that spare who had enough: another campaign may have been quicker."""
