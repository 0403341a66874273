"""Count what is sent in windows: with Redis for all workers, without it each its own share.

Redis away: what every process had used by then is read from the journal of hand-offs, and each
goes on with its share of what is left. Redis back, or emptied: it learns from the journal what it
missed. So a limit holds through all of that, only not to the second: see docs/sending.md.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence

from django.conf import settings
from redis.exceptions import RedisError

from delivery.attending import Attendance, here
from delivery.models import Handoff
from delivery.windows import MemoryWindows, RedisWindows, Share, Taken, Unlearnt, Window

logger = logging.getLogger(__name__)

RETRY_S = 1.0
"""How often Redis is looked for while it is away; more rarely if looking takes long."""
SLOW_LOOK = 10.0
"""So many times as long as looking took, nobody looks again."""
SAY_EVERY_S = 60.0
AWAY = "Redis is away: limits are counted per worker."


class Meter:
    """Windows counted where that is possible just now."""

    def __init__(self, url: str, attendance: Attendance) -> None:
        self._shared = RedisWindows(url)
        self._own = MemoryWindows()
        self._attendance = attendance
        self._lock = threading.Lock()
        self._is_away = False
        self._retry_at = self._said_at = self._seen_at = float("-inf")
        self._retry_s = RETRY_S
        self._back_at: float | None = None
        """From when on Redis counts again: every other process has found it by then, too."""
        self._unsure: set[str] | None = None
        """Since Redis was away: the windows it was told about since. None: it was never away."""
        self._others: Sequence[str] = ()

    def take(self, windows: Sequence[Window], want: int) -> Taken:
        """Take up to `want` from every window, as many from each."""
        if self.has_redis():
            try:
                return self._take_shared(windows, want)
            except RedisError as error:
                self._lose(error)
        return self._take_own(windows, want)

    def peek(self, windows: Sequence[Window]) -> Sequence[int]:
        """Return how much room each window has; nothing while Redis is away."""
        if not self.has_redis():
            return ()
        try:
            return self._take_shared(windows, 0).rooms
        except RedisError as error:
            self._lose(error)
            return ()

    def give_back(self, taken: Taken, count: int) -> None:
        """Make room again for what was not used."""
        if not taken.windows or count <= 0:
            return
        if not taken.by_all:
            self._own.give_back(taken, count)
            return
        try:
            self._shared.give_back(taken, count)
        except RedisError as error:  # then it is only counted although it was not used
            self._lose(error)

    def renew(self, taken: Taken) -> None:
        """Let what was taken a while ago count from now on: the call begins only now."""
        if not taken.by_all:
            self._own.renew(taken)
            return
        try:
            self._shared.renew(taken)
        except RedisError as error:
            self._lose(error)

    def has_redis(self) -> bool:
        """Say whether Redis counts; look for it if it was away, or nobody asked it for a while."""
        moment = time.monotonic()
        if not self._is_away and moment - self._seen_at < SAY_EVERY_S / 20:
            return True
        if self._is_away and moment < self._retry_at:
            return False
        try:
            self._shared.store.get_connection().ping()
        except RedisError as error:
            self._lose(error, took_s=time.monotonic() - moment)
            return False
        return self._find(moment)

    def _take_shared(self, windows: Sequence[Window], want: int) -> Taken:
        if self._unsure is not None:
            for window in windows:
                if window.scope is not None and window.key not in self._unsure:
                    self._teach(window)
        for _ in windows:
            try:
                taken = self._shared.take(windows, want)
            except Unlearnt as unlearnt:
                self._teach(unlearnt.window)
            else:
                self._seen_at = time.monotonic()
                return taken
        return self._shared.take(windows, want)

    def _teach(self, window: Window) -> None:
        self._shared.learn(window, Handoff.objects.history(window))
        if self._unsure is not None:
            self._unsure.add(window.key)

    def _take_own(self, windows: Sequence[Window], want: int) -> Taken:
        share, others = self._attendance.share()
        if others != self._others:
            # Shares change: what each has used of its old one is in the journal.
            self._own.forget()
            self._others = others
        if share is None:
            tight = windows[0] if windows else None
            return Taken(0, tuple(windows), tight=tight, wait_s=0.5, by_all=False)
        return self._take_of(share, windows, want)

    def _take_of(self, share: Share, windows: Sequence[Window], want: int) -> Taken:
        for window in windows:
            if not self._own.knows(window):
                self._own.learn(window, Handoff.objects.history(window))
        return self._own.take(windows, want, share)

    def _lose(self, error: RedisError, took_s: float = 0.0) -> None:
        """Count per process from now on, and say so once a minute."""
        moment = time.monotonic()
        with self._lock:
            if not self._is_away:
                self._own.forget()
            self._is_away, self._back_at = True, None
            self._retry_s = max(RETRY_S, SLOW_LOOK * took_s)
            self._retry_at = time.monotonic() + self._retry_s
            if moment - self._said_at < SAY_EVERY_S:
                return
            self._said_at = moment
        logger.warning("%s (%s)", AWAY, type(error).__name__)

    def _find(self, moment: float) -> bool:
        """Redis answers. Use it as soon as all others must have found it as well."""
        with self._lock:
            self._seen_at = moment
            if not self._is_away:
                return True
            if self._back_at is None:
                self._back_at = moment + 2 * self._retry_s
            if moment < self._back_at:
                self._retry_at = min(self._back_at, moment + RETRY_S)
                return False
            self._is_away, self._back_at, self._unsure = False, None, set()
            self._said_at = float("-inf")
        logger.warning("Redis is back: limits are counted together again.")
        return True


meter = Meter(settings.REDIS_URL, here)
