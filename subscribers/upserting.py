"""Many people at once, set by set: a temporary table, COPY, and one statement per question.

Everything here runs inside the caller's transaction; the temporary table ends with it, so it works
behind PgBouncer and for any number of imports at a time.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import connection

from subscribers.consents import INTO_RECORD
from subscribers.models import Import
from subscribers.parsing import Person, Refused
from subscribers.querysets.suppressions import REASON_OF

_COLUMNS = ", ".join(Person._fields)
_CREATE = """
    CREATE TEMPORARY TABLE IF NOT EXISTS staged (
        email text COLLATE "C", address_key bytea, mailbox text, first_name text, last_name text,
        language text, time_zone text, country text, attributes jsonb, tags text[]
    ) ON COMMIT DROP
"""
_SETTINGS = "SET LOCAL random_page_cost = 1; SET LOCAL synchronous_commit = off"
"""Else a table of millions is read as a whole to find ten thousand of its rows.

And nobody waits for the disk: a chunk that a crash of the server takes back is done again, since
the place in the file goes with it. The commit that ends the import waits, for all of them.
"""
_MERGED = {
    **{
        name: f"coalesce(nullif(excluded.{name}, ''), known.{name})"
        for name in ("first_name", "last_name", "language", "time_zone", "country")
    },
    "attributes": "known.attributes || excluded.attributes",
    "tags": "CASE WHEN known.tags @> excluded.tags::varchar[] THEN known.tags ELSE"
    " (SELECT (array_agg(DISTINCT tag))[:100] FROM"
    " unnest(known.tags || excluded.tags::varchar[]) AS tag) END",
}
"""Field -> what a known person has afterwards: the file adds and overwrites, it never empties."""
_SAYS_SOMETHING_NEW = (
    f"({', '.join(f'known.{name}' for name in _MERGED)})"
    f" IS DISTINCT FROM ({', '.join(_MERGED.values())})"
)
_GONE = "('unsubscribed', 'complained')"
_STANDING = f"""
    CASE WHEN status IN {_GONE} OR EXISTS (
        SELECT 1 FROM subscribers_suppression x
        WHERE x.list_id = %(list)s AND x.address_key = {{key}}
          AND (x.expires_at IS NULL OR x.expires_at > %(now)s)
    ) THEN 'unsubscribed' ELSE 'active' END
"""  # noqa: S608 (constants)
"""Who said no (to this list, or to all) is on no list: nobody puts them there but themselves."""

_RECORD = f"""
    {INTO_RECORD}
    SELECT %(chain)s, 0, NULL, people, 'imported', ARRAY[%(list)s::bigint], 'import', %(source)s,
        '', NULL, %(now)s, %(details)s::jsonb, ''::bytea, ''::bytea
    FROM (
        SELECT range_agg(int8range(subscriber_id, subscriber_id, '[]')) AS people
        FROM {{rows}} WHERE status = 'active'
    ) AS batch WHERE people IS NOT NULL
"""  # noqa: S608 — nothing but a constant
"""One row of the record of consent for all whom a statement put on the list."""


@dataclass(slots=True)
class Counts:
    """What became of staged people."""

    duplicates: int = 0
    created: int = 0
    updated: int = 0
    unchanged: int = 0
    subscribed: int = 0
    unmailable: int = 0
    held: int = 0


def stage(people: Sequence[Person]) -> None:
    """Put people, every address once, into the temporary table `staged`."""
    with connection.cursor() as cursor:
        cursor.execute(_CREATE)
        cursor.execute("TRUNCATE staged")
        cursor.execute(_SETTINGS)
        with cursor.copy(f"COPY staged ({_COLUMNS}) FROM STDIN") as copy:
            for person in people:
                copy.write_row(person)


def store_refused(source: int, rows: Iterable[Refused]) -> None:
    """Write the error file's rows."""
    into = "COPY subscribers_refusedrow (source_id, line, reason, content) FROM STDIN"
    with connection.cursor() as cursor, cursor.copy(into) as copy:
        for line, reason, content in rows:
            copy.write_row((source, line, reason, content))


def upsert(import_: Import, staged: int, now: datetime) -> Counts:
    """Write the staged people, and their subscriptions, as the import wants it; return the counts.

    Rows are taken in the order of addresses, so imports that meet cannot lock each other out.
    """
    counts = Counts(duplicates=_drop_repeated(import_))
    if import_.known == Import.Known.SKIP:
        counts.unchanged = _drop_known()
    written = _write(import_, now)
    counts.created, counts.updated, counts.subscribed, counts.unmailable = written
    known = staged - counts.duplicates - counts.unchanged - counts.created
    if known:
        counts.unchanged += known - counts.updated
        if import_.list_id is not None:
            counts.subscribed += _subscribe_known(import_, now)
        counts.unmailable = _count_unmailable(import_.list_id)
    return counts


@contextmanager
def shadowed_seen() -> Iterator[None]:
    """Let this transaction remember addresses in a temporary table instead of the real one.

    PostgreSQL looks for tables among the temporary ones first.
    """
    _changed(
        "CREATE TEMPORARY TABLE subscribers_seenaddress"
        " (LIKE subscribers_seenaddress INCLUDING INDEXES) ON COMMIT DROP"
    )
    yield
    _changed("DROP TABLE pg_temp.subscribers_seenaddress")


def take_off(import_: Import, now: datetime) -> int:
    """Delete the subscriptions an import made that nobody touched since; return how many."""
    row: tuple[int] = _row(
        f"""
        WITH gone AS (
            DELETE FROM subscribers_subscription
            WHERE list_id = %(list)s AND source = %(source)s AND status IN ('active', 'held')
                AND changed_at = created_at
            RETURNING subscriber_id, 'active' AS status
        ), recorded AS ({_RECORD.replace("'imported'", "'taken_off'").format(rows="gone")})
        SELECT count(*) FROM gone
        """,  # noqa: S608 — nothing but the constants above
        _facts(import_, now),
    )
    return row[0]


def estimate(source: int, into: int | None, known: str) -> Counts:
    """Return what `upsert` would come to, having written nothing (in `shadowed_seen`)."""
    duplicates = _drop_seen(source)
    is_skip, is_update = known == Import.Known.SKIP, known == Import.Known.UPDATE
    created, changed, there, subscribed, unmailable = _row(
        f"""
        SELECT count(*) FILTER (WHERE known.id IS NULL),
            count(*) FILTER (WHERE known.id IS NOT NULL AND {_SAYS_SOMETHING_NEW}),
            count(known.id),
            count(*) FILTER (
                WHERE is_taken AND there.id IS NULL AND person.status NOT IN {_GONE}
            ),
            count(*) FILTER (
                WHERE is_taken AND (person.status <> 'active' OR there.status = 'unsubscribed'
                    OR suppression.id IS NOT NULL)
            )
        FROM staged AS excluded
        LEFT JOIN subscribers_subscriber AS known ON known.email = excluded.email
        LEFT JOIN LATERAL ({REASON_OF.format(key="excluded.address_key")}) AS suppression ON true
        LEFT JOIN subscribers_subscription AS there
            ON there.subscriber_id = known.id AND there.list_id = %(list)s
        CROSS JOIN LATERAL (
            SELECT coalesce(known.status, suppression.reason, 'active') AS status,
                known.id IS NULL OR NOT %(is_skip)s AS is_taken
        ) AS person
        """,  # noqa: S608 — nothing but our own column names
        {"list": into, "is_skip": is_skip},
    )
    updated = changed if is_update else 0
    return Counts(
        duplicates, created, updated, there - updated, subscribed if into else 0, unmailable
    )


def source_of(import_: Import) -> str:
    """Return what people and subscriptions say of where they came from."""
    return f"import {import_.pk}: {import_.filename}"[:100]


def _changed(sql: str, params: Sequence[Any] | dict[str, Any] = ()) -> int:
    with connection.cursor() as cursor:
        cursor.execute(sql, params)
        count: int = cursor.rowcount
        return count


def _row(sql: str, params: Sequence[Any] | dict[str, Any] = ()) -> tuple[Any, ...]:
    with connection.cursor() as cursor:
        cursor.execute(sql, params)
        row: tuple[Any, ...] = cursor.fetchone()
        return row


def _drop_repeated(import_: Import) -> int:
    """Drop and count the addresses this import has met before.

    Whom it made itself it knows by their source; only others it met need remembering.
    """
    return _changed(
        """
        WITH known AS (
            SELECT email, substring(staged.address_key for 16) AS key,
                person.source = %(source)s AS is_ours
            FROM staged JOIN subscribers_subscriber AS person USING (email)
        ), fresh AS (
            INSERT INTO subscribers_seenaddress (source_id, key)
            SELECT %(import)s, key FROM known WHERE NOT is_ours ORDER BY key
            ON CONFLICT DO NOTHING
            RETURNING key
        )
        DELETE FROM staged WHERE email IN (
            SELECT email FROM known LEFT JOIN fresh USING (key) WHERE is_ours OR fresh.key IS NULL
        )
        """,
        {"source": source_of(import_), "import": import_.pk},
    )


def _drop_seen(source: int) -> int:
    """Do as `_drop_repeated` in a dry run, which makes nobody: remember every address."""
    return _changed(
        """
        WITH fresh AS (
            INSERT INTO subscribers_seenaddress (source_id, key)
            SELECT %s, substring(address_key for 16) FROM staged ORDER BY 2
            ON CONFLICT DO NOTHING
            RETURNING key
        )
        DELETE FROM staged WHERE substring(address_key for 16) NOT IN (SELECT key FROM fresh)
        """,
        [source],
    )


def _drop_known() -> int:
    return _changed(
        "DELETE FROM staged USING subscribers_subscriber AS known WHERE known.email = staged.email"
    )


def _write(import_: Import, now: datetime) -> tuple[int, int, int, int]:
    """Write people; put the new ones on the list.

    Returns how many were created and updated, and of the created, how many are subscribed and how
    many may not be mailed.
    """
    updates = ", ".join(f"{name} = {merged}" for name, merged in _MERGED.items())
    known = (
        f"UPDATE SET {updates}, updated_at = excluded.updated_at WHERE {_SAYS_SOMETHING_NEW}"
        if import_.known == Import.Known.UPDATE
        else "NOTHING"
    )
    row: tuple[int, int, int, int] = _row(
        f"""
        WITH written AS (
            INSERT INTO subscribers_subscriber AS known (
                {_COLUMNS}, status, source, created_at, updated_at, status_changed_at
            )
            SELECT staged.*, coalesce(suppression.reason, 'active'),
                %(source)s, %(now)s, %(now)s, %(now)s
            FROM staged
            LEFT JOIN LATERAL ({REASON_OF.format(key="staged.address_key")}) AS suppression ON true
            ORDER BY email
            ON CONFLICT (email) DO {known}
            RETURNING id, status, address_key, xmax = 0 AS is_new
        ), subscribed AS (
            INSERT INTO subscribers_subscription (
                subscriber_id, list_id, status, source, created_at, changed_at
            )
            SELECT id, %(list)s, {_STANDING.format(key="written.address_key")}, %(source)s,
                %(now)s, %(now)s
            FROM written WHERE is_new AND %(list)s::bigint IS NOT NULL
            RETURNING subscriber_id, status
        ), recorded AS ({_RECORD.format(rows="subscribed")})
        SELECT count(*) FILTER (WHERE is_new), count(*) FILTER (WHERE NOT is_new),
            (SELECT count(*) FROM subscribed WHERE status = 'active'),
            count(*) FILTER (WHERE is_new AND status <> 'active')
        FROM written
        """,  # noqa: S608 — nothing but our own column names
        _facts(import_, now),
    )
    return row


def _subscribe_known(import_: Import, now: datetime) -> int:
    """Put staged people who were there before on a list; return how many are newly subscribed.

    A subscription that ended, or waits for confirmation, stays as it is.
    """
    row: tuple[int] = _row(
        f"""
        WITH written AS (
            INSERT INTO subscribers_subscription (
                subscriber_id, list_id, status, source, created_at, changed_at
            )
            SELECT id, %(list)s, {_STANDING.format(key="person.address_key")}, %(source)s,
                %(now)s, %(now)s
            FROM staged JOIN subscribers_subscriber AS person USING (email)
            WHERE NOT EXISTS (
                SELECT FROM subscribers_subscription AS there
                WHERE there.subscriber_id = person.id AND there.list_id = %(list)s
            )
            ORDER BY id
            ON CONFLICT (subscriber_id, list_id) DO NOTHING
            RETURNING subscriber_id, status
        ), recorded AS ({_RECORD.format(rows="written")})
        SELECT count(*) FROM written WHERE status = 'active'
        """,  # noqa: S608 — nothing but the constants above
        _facts(import_, now),
    )
    return row[0]


def _facts(import_: Import, now: datetime) -> dict[str, Any]:
    return {
        "source": source_of(import_),
        "now": now,
        "list": import_.list_id,
        "chain": hashlib.sha256(b"import %d" % import_.pk).digest(),
        "details": json.dumps({"import": import_.pk, "user": import_.created_by_id}),
    }


def _count_unmailable(into: int | None) -> int:
    row: tuple[int] = _row(
        """
        SELECT count(*)
        FROM staged
        JOIN subscribers_subscriber AS person USING (email)
        LEFT JOIN subscribers_subscription AS subscription
            ON subscription.subscriber_id = person.id AND subscription.list_id = %s
        WHERE person.status <> 'active' OR subscription.status IN ('unsubscribed', 'held')
            OR EXISTS (SELECT FROM subscribers_suppression x
                       WHERE x.address_key = person.address_key AND x.stream IN ('', 'marketing')
                         AND (x.list_id IS NULL OR x.list_id = subscription.list_id)
                         AND (x.expires_at IS NULL OR x.expires_at > now()))
        """,
        [into],
    )
    return row[0]
