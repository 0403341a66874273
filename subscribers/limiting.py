"""Questions whose answer people wait for: quick plans, and an end when it takes too long."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import OperationalError, connection, transaction

from emailplatform.errors import InvalidInput


class TooSlow(InvalidInput):
    """A question about people took longer than it may."""

    code = "too_slow"


_BEGIN = """
    SELECT set_config('statement_timeout', %s, true), set_config('jit', 'off', true),
        set_config('work_mem', '64MB', true)
"""
_END = """
    SELECT set_config('statement_timeout', %s, true), set_config('jit', %s, true),
        set_config('work_mem', %s, true)
"""
_KNOWN = """
    SELECT current_setting('statement_timeout'), current_setting('jit'), current_setting('work_mem')
"""


@contextmanager
def limited(timeout_ms: int) -> Iterator[None]:
    """Run one question about many people; raises TooSlow after `timeout_ms`.

    Compiling the plan costs more than it saves below a second. Hash tables of a million people
    fit into 64 MB, and do not into the usual four.
    """
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(_KNOWN)
            before = cursor.fetchone()
            cursor.execute(_BEGIN, [str(timeout_ms)])
            yield
            cursor.execute(_END, before)
    except OperationalError as error:
        if getattr(error.__cause__, "sqlstate", "") == "57014":
            raise TooSlow("Counting takes too long: make the rules simpler.") from error
        raise
