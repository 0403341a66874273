"""Connections kept open: one for each process, thread and account.

Clients of providers are not safe between threads, and a socket shared after a fork gives one
process the answer meant for another. So a connection belongs to one thread, is forgotten in a
forked child, and is closed after any error, after IDLE_S unused, and when its account changed.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar, cast

from delivery.providers.base import Account

IDLE_S = 50.0
"""Below the keep-alive of the providers: the first call on a socket they closed is in doubt."""


class Closable(Protocol):
    """Anything that can be hung up on."""

    def close(self) -> Any: ...


Connection = TypeVar("Connection", bound=Closable)


@dataclass(slots=True)
class _Kept:
    account: Account
    connection: Closable
    used_at: float


_local = threading.local()


def _forget() -> None:
    _local.__dict__.clear()


# The child must not use the sockets it inherits, nor say goodbye on them: they are the parent's.
# Only the thread that forked lives on in the child; the others' connections are out of reach.
os.register_at_fork(after_in_child=_forget)


@contextmanager
def kept(account: Account, kind: str, connect: Callable[[], Connection]) -> Iterator[Connection]:
    """Lend this thread's connection for the account; made by `connect()` if there is none.

    Any error that leaves the block closes it. Not reentrant: one call at a time.
    """
    pool = _pool()
    key = (kind, account.id)
    entry = pool.pop(key, None)
    if entry and (entry.account != account or time.monotonic() - entry.used_at > IDLE_S):
        _close(entry.connection)
        entry = None
    connection = cast("Connection", entry.connection) if entry else connect()
    try:
        yield connection
    except BaseException:
        _close(connection)
        raise
    pool[key] = _Kept(account, connection, time.monotonic())


def close_all() -> None:
    """Hang up on all connections of this thread."""
    pool = _pool()
    while pool:
        _close(pool.popitem()[1].connection)


def _pool() -> dict[tuple[str, int], _Kept]:
    pool: dict[tuple[str, int], _Kept] = _local.__dict__.setdefault("pool", {})
    return pool


def _close(connection: Closable) -> None:
    try:
        connection.close()
    except (OSError, ValueError):
        return  # It is being thrown away: how its end fails says nothing.
