"""Processes that send say that they are there, so that each knows how many they are.

That matters while Redis is away: then every process may use its share of each limit, no more.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Collection, Sequence
from datetime import UTC, datetime

from delivery.models import Worker
from delivery.querysets import LIVE_FOR
from delivery.windows import Share

BEAT_EVERY_S = 3.0
LOOK_EVERY_S = 2.0
"""How old the list of the others may be."""
JOIN_S = 2 * LOOK_EVERY_S
"""For so long a new process takes no share: the others may not count it yet."""


class Attendance:
    """This process among those that send."""

    def __init__(self, kind: str = "celery") -> None:
        self.kind = kind
        self._lock = threading.Lock()
        self._streams: set[str] = set()
        self._pid = 0
        self._beaten_at = self._joined_at = self._looked_at = float("-inf")
        self._started_at = datetime.now(UTC)
        self._names: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return f"{socket.gethostname()}:{os.getpid()}"

    def beat(self, streams: Collection[str], *, has_redis: bool) -> None:
        """Write that this process lives and what it sends, every BEAT_EVERY_S at most."""
        moment = time.monotonic()
        with self._lock:
            is_new = not set(streams) <= self._streams or os.getpid() != self._pid
            if not is_new and moment - self._beaten_at < BEAT_EVERY_S:
                return
            if moment - self._beaten_at > LIVE_FOR.total_seconds() / 2 or os.getpid() != self._pid:
                # The others may have taken it for dead: it joins anew, as the youngest.
                self._joined_at, self._started_at = moment, datetime.now(UTC)
            self._streams |= set(streams)
            self._pid, self._beaten_at = os.getpid(), moment
        Worker.objects.beat(
            {
                "name": self.name[:200],
                "kind": self.kind,
                "streams": sorted(self._streams),
                "host": socket.gethostname()[:150],
                "pid": os.getpid(),
                "has_redis": has_redis,
                "started_at": self._started_at,
            }
        )

    def share(self) -> tuple[Share | None, Sequence[str]]:
        """Return its share, and of whom it is one; None: the others do not know of it yet."""
        self.beat((), has_redis=False)
        moment = time.monotonic()
        if moment - self._looked_at > LOOK_EVERY_S:
            self._names, self._looked_at = tuple(Worker.objects.names()), moment
        if moment - self._joined_at < JOIN_S or self.name not in self._names:
            return None, self._names
        return Share(len(self._names), self._names.index(self.name)), self._names


here = Attendance()
