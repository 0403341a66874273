"""Many people at once, set by set: a temporary table, COPY, and one statement per question.

Everything here runs inside the caller's transaction; the temporary table ends with it, so it works
behind PgBouncer and for any number of imports at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import connection

from subscribers.models import Import
from subscribers.parsing import Person, Refused

_COLUMNS = ", ".join(Person._fields)
_CREATE = """
    CREATE TEMPORARY TABLE staged (
        email text, address_key bytea, mailbox text, first_name text, last_name text,
        language text, time_zone text, country text, attributes jsonb, tags text[]
    ) ON COMMIT DROP
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
"""Who said no: nobody puts them on a list but they themselves."""


@dataclass(slots=True)
class Counts:
    """What became of staged people."""

    duplicates: int = 0
    created: int = 0
    updated: int = 0
    unchanged: int = 0
    subscribed: int = 0
    unmailable: int = 0


def stage(people: Sequence[Person]) -> None:
    """Put people, every address once, into the temporary table `staged`."""
    with connection.cursor() as cursor:
        cursor.execute(_CREATE)
        with cursor.copy(f"COPY staged ({_COLUMNS}) FROM STDIN") as copy:
            for person in people:
                copy.write_row(person)


def store_refused(source: int, rows: Iterable[Refused]) -> None:
    """Write the error file's rows."""
    into = "COPY subscribers_refusedrow (source_id, line, reason, content) FROM STDIN"
    with connection.cursor() as cursor, cursor.copy(into) as copy:
        for line, reason, content in rows:
            copy.write_row((source, line, reason, content))


def upsert(import_: Import, now: datetime) -> Counts:
    """Write the staged people, and their subscriptions, as the import wants it; return the counts.

    Rows are taken in the order of addresses, so imports that meet cannot lock each other out.
    """
    counts = Counts(duplicates=_drop_seen(import_.pk))
    if import_.known == Import.Known.SKIP:
        counts.unchanged = _drop_known()
    is_update = import_.known == Import.Known.UPDATE
    counts.created, counts.updated, untouched = _write_people(import_, is_update, now)
    counts.unchanged += untouched
    if import_.list_id is not None:
        counts.subscribed = _subscribe(import_.list_id, _source(import_), now)
    counts.unmailable = _count_unmailable(import_.list_id)
    return counts


def _source(import_: Import) -> str:
    return f"import {import_.pk}: {import_.filename}"[:100]


def _changed(sql: str, params: Sequence[Any] = ()) -> int:
    with connection.cursor() as cursor:
        cursor.execute(sql, params)
        count: int = cursor.rowcount
        return count


def _row(sql: str, params: Sequence[Any] = ()) -> tuple[Any, ...]:
    with connection.cursor() as cursor:
        cursor.execute(sql, params)
        row: tuple[Any, ...] = cursor.fetchone()
        return row


def _drop_seen(source: int) -> int:
    """Remember the addresses of this import; drop and count those it has met before."""
    return _changed(
        """
        WITH fresh AS (
            INSERT INTO subscribers_seenaddress (source_id, key)
            SELECT %s, substring(address_key for 16) FROM staged
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


def _write_people(import_: Import, is_update: bool, now: datetime) -> tuple[int, int, int]:
    """Return how many people were created, updated and left as they are."""
    updates = ", ".join(f"{name} = {merged}" for name, merged in _MERGED.items())
    known = (
        f"UPDATE SET {updates}, updated_at = excluded.updated_at WHERE {_SAYS_SOMETHING_NEW}"
        if is_update
        else "NOTHING"
    )
    row: tuple[int, int, int] = _row(
        f"""
        WITH written AS (
            INSERT INTO subscribers_subscriber AS known (
                {_COLUMNS}, status, source, created_at, updated_at, status_changed_at
            )
            SELECT staged.*, coalesce(suppression.reason, 'active'), %s, %s, %s, %s
            FROM staged LEFT JOIN subscribers_suppression AS suppression USING (address_key)
            ORDER BY email
            ON CONFLICT (email) DO {known}
            RETURNING xmax = 0 AS is_new
        )
        SELECT count(*) FILTER (WHERE is_new), count(*) FILTER (WHERE NOT is_new),
            (SELECT count(*) FROM staged) - count(*)
        FROM written
        """,  # noqa: S608 — nothing but our own column names
        [_source(import_), now, now, now],
    )
    return row


def _subscribe(into: int, source: str, now: datetime) -> int:
    """Put the staged people on a list; return how many are newly subscribed.

    A subscription that ended, or waits for confirmation, stays as it is.
    """
    row: tuple[int] = _row(
        f"""
        WITH written AS (
            INSERT INTO subscribers_subscription (
                subscriber_id, list_id, status, source, created_at, changed_at
            )
            SELECT person.id, %s,
                CASE WHEN person.status IN {_GONE} THEN 'unsubscribed' ELSE 'active' END,
                %s, %s, %s
            FROM staged JOIN subscribers_subscriber AS person USING (email)
            ORDER BY person.id
            ON CONFLICT (subscriber_id, list_id) DO NOTHING
            RETURNING status
        )
        SELECT count(*) FROM written WHERE status = 'active'
        """,  # noqa: S608 — nothing but the constant above
        [into, source, now, now],
    )
    return row[0]


def _count_unmailable(into: int | None) -> int:
    row: tuple[int] = _row(
        """
        SELECT count(*)
        FROM staged
        JOIN subscribers_subscriber AS person USING (email)
        LEFT JOIN subscribers_subscription AS subscription
            ON subscription.subscriber_id = person.id AND subscription.list_id = %s
        WHERE person.status <> 'active' OR subscription.status = 'unsubscribed'
            OR EXISTS (SELECT FROM subscribers_suppression AS suppression
                       WHERE suppression.address_key = person.address_key)
        """,
        [into],
    )
    return row[0]
