"""Prepared statements, for the few that run many times a second.

Planning such a statement costs PostgreSQL more than running it. Django's cursors write values
into the text, so that every statement is new to the server; here they travel apart, and the plan
is made once for each connection (`plan_cache_mode` in the settings) and again after ANALYZE.
"""

from __future__ import annotations

from django.db import connection
from django.db.backends.postgresql.base import ServerBindingCursor
from django.db.backends.utils import CursorWrapper


def prepared_cursor() -> CursorWrapper:
    """Return a cursor of the default database that prepares what it executes.

    Behind PgBouncer it prepares nothing and does the same. Values are typed by PostgreSQL, so a
    statement casts them where its text leaves the type open.
    """
    ours = connection.cursor()
    cursor = ServerBindingCursor(ours.connection)  # type: ignore[call-arg]  # Not in the stubs.
    return type(ours)(cursor, ours.db)
