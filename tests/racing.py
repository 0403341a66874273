"""Two callers at once in the order a test wants: the second comes before the first has ended."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from django.db import connection, transaction

Result = TypeVar("Result")
PATIENCE_S = 10


def overtaken(first: Callable[[], object], second: Callable[[], Result]) -> Result:
    """Do `first`, commit it only once `second` waits for a lock of it; return what `second` did.

    Asks for a test with `transaction=True`. Fails if `second` needs no lock and so cannot be late.
    """
    with ThreadPoolExecutor(1) as other:
        with transaction.atomic():
            first()
            late = other.submit(_closing, second)
            deadline = time.monotonic() + PATIENCE_S
            while not _somebody_waits():
                assert not late.done(), f"it waited for nobody: {late.exception() or late.result()}"
                assert time.monotonic() < deadline, "it never came to a lock"
                time.sleep(0.01)
        return late.result(PATIENCE_S)


def _closing(call: Callable[[], Result]) -> Result:
    try:
        return call()
    finally:
        connection.close()


def _somebody_waits() -> bool:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted"
            " AND pg_backend_pid() = ANY(pg_blocking_pids(pid)))"
        )
        found: bool = cursor.fetchone()[0]
        return found
