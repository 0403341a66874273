"""How long each step of sending takes, measured from outside: the product knows nothing of it."""

from __future__ import annotations

import functools
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from django.db import connection

from delivery import composing, routing
from delivery.models import ProviderAccount
from delivery.providers.anymail import AnymailProvider
from delivery.providers.smtp import SMTP
from delivery.querysets import HandoffQuerySet, MessageQuerySet

PLACES: tuple[tuple[str, Any, str], ...] = (
    ("route", routing, "choose"),
    ("claim", MessageQuerySet, "claim"),
    ("compose", composing, "compose"),
    ("take off", HandoffQuerySet, "take_off"),
    ("record", MessageQuerySet, "record"),
    ("close", HandoffQuerySet, "close"),
    ("close", HandoffQuerySet, "renew"),
    ("close", ProviderAccount, "warm"),
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
            setattr(owner, name, self._timed(step, getattr(owner, name)))
        for provider in (AnymailProvider, SMTP):
            provider.send = self._timed_each("call", provider.send)  # type: ignore[method-assign]

    def seconds(self) -> dict[str, tuple[float, float, float]]:
        """Return step -> seconds (by the clock, of our CPU, of our PostgreSQL backend's CPU)."""
        return {
            step: (wall, self._cpu[step], self._database[step]) for step, wall in self._wall.items()
        }

    def _timed(self, step: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def timed(*args: Any, **kwargs: Any) -> Any:
            database = _backend_cpu_s()
            wall, cpu = time.perf_counter(), time.thread_time()
            try:
                return function(*args, **kwargs)
            finally:
                spent = time.perf_counter() - wall, time.thread_time() - cpu
                self._add(step, *spent, max(0.0, _backend_cpu_s() - database))

        return timed

    def _timed_each(
        self, step: str, function: Callable[..., Iterator[Any]]
    ) -> Callable[..., Iterator[Any]]:
        """Time a generator: only while it works, not while its results are used."""

        @functools.wraps(function)
        def timed(*args: Any, **kwargs: Any) -> Iterator[Any]:
            results = function(*args, **kwargs)
            step_on = self._timed(step, lambda: next(results, None))
            while (result := step_on()) is not None:
                yield result

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
        found = Path(f"/proc/{connection.connection.info.backend_pid}/schedstat").read_text()
    except OSError:
        return 0.0
    return int(found.split()[0]) / 1e9
