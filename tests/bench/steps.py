"""How long each step of sending takes, measured from outside: the product knows nothing of it.

A clock costs 1 µs and a look at the CPU of PostgreSQL 25, so the first is put around what happens
once per call or conversation, and the second around what asks the database.
"""

from __future__ import annotations

import functools
import os
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from django.db import connection

from delivery import breaking, composing, routing
from delivery.providers.anymail import AnymailProvider
from delivery.providers.smtp import SMTP
from delivery.querysets import HandoffQuerySet, MessageQuerySet

PLACES: tuple[tuple[str, Any, str], ...] = (
    ("route", routing, "choose"),
    ("claim", MessageQuerySet, "claim"),
    ("take off", HandoffQuerySet, "take_off"),
    ("record", MessageQuerySet, "record"),
    ("close", HandoffQuerySet, "close"),
    ("close", HandoffQuerySet, "renew"),
    ("close", breaking, "succeeded"),
)
PLACES_WITHOUT_DATABASE: tuple[tuple[str, Any, str], ...] = (
    ("compose", composing, "compose"),
    ("call", AnymailProvider, "_deliver"),
    ("call", SMTP, "_deliver"),
)


class Steps:
    """Seconds per step, of all threads of this process: by the clock, of CPU, of the database's."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._wall: defaultdict[str, float] = defaultdict(float)
        self._cpu: defaultdict[str, float] = defaultdict(float)
        self._database: defaultdict[str, float] = defaultdict(float)

    def watch(self) -> None:
        """Put a clock around every step, for the rest of this process."""
        for step, owner, name in PLACES:
            setattr(owner, name, self._timed(step, getattr(owner, name), _backend_cpu_s))
        for step, owner, name in PLACES_WITHOUT_DATABASE:
            setattr(owner, name, self._timed(step, getattr(owner, name), float))

    def seconds(self) -> dict[str, tuple[float, float, float]]:
        """Return step -> seconds (by the clock, of our CPU, of our PostgreSQL backend's CPU)."""
        return {
            step: (wall, self._cpu[step], self._database[step]) for step, wall in self._wall.items()
        }

    def _timed(
        self, step: str, function: Callable[..., Any], database_cpu_s: Callable[[], float]
    ) -> Callable[..., Any]:
        @functools.wraps(function)
        def timed(*args: Any, **kwargs: Any) -> Any:
            database = database_cpu_s()
            wall, cpu = time.perf_counter(), time.thread_time()
            try:
                return function(*args, **kwargs)
            finally:
                spent = time.perf_counter() - wall, time.thread_time() - cpu
                self._add(step, *spent, max(0.0, database_cpu_s() - database))

        return timed

    def _add(self, step: str, wall: float, cpu: float, database: float) -> None:
        with self._lock:
            self._wall[step] += wall
            self._cpu[step] += cpu
            self._database[step] += database


def _backend_cpu_s() -> float:
    """Return the CPU seconds that this thread's PostgreSQL backend has had, by Linux's scheduler.

    0.0 without a connection, or where the kernel does not say.
    """
    if connection.connection is None or connection.connection.closed:
        return 0.0
    try:
        file = os.open(f"/proc/{connection.connection.info.backend_pid}/schedstat", os.O_RDONLY)
    except OSError:
        return 0.0
    try:
        return int(os.read(file, 100).split()[0]) / 1e9
    finally:
        os.close(file)
