"""Progress in a terminal: one line that moves, or plain lines where nobody watches."""

from __future__ import annotations

import time
from typing import TextIO

_WIDTH = 28
_EVERY_S = 0.1
_PLAIN_EVERY_S = 5.0


class Bar:
    """A labelled bar with count, speed and time left. `total` may grow or be unknown (0)."""

    def __init__(self, out: TextIO, label: str, total: int = 0) -> None:
        self.out, self.label, self.total = out, label, total
        self.done = 0
        self._started = self._shown = time.monotonic()
        self._is_watched = out.isatty()

    def show(self, done: int, total: int | None = None) -> None:
        """Say how many are done; drawn at most ten times a second."""
        self.done, self.total = done, self.total if total is None else total
        now = time.monotonic()
        if now - self._shown >= (_EVERY_S if self._is_watched else _PLAIN_EVERY_S):
            self._shown = now
            self._draw(self._line(now))

    def close(self) -> None:
        """Draw the last state and end the line."""
        line = self._line(time.monotonic())
        self.out.write(f"\r{line}\x1b[K\n" if self._is_watched else f"{line}\n")
        self.out.flush()

    def _draw(self, line: str) -> None:
        self.out.write(f"\r{line}\x1b[K" if self._is_watched else f"{line}\n")
        self.out.flush()

    def _line(self, now: float) -> str:
        seconds = max(now - self._started, 0.001)
        speed = self.done / seconds
        share = min(1.0, self.done / self.total) if self.total else 0.0
        filled = round(share * _WIDTH)
        bar = "█" * filled + "·" * (_WIDTH - filled)
        counted = f"{self.done:,} of {self.total:,}" if self.total else f"{self.done:,}"
        left = self.total - self.done
        rest = f", {duration(left / speed)} left" if left > 0 and speed else ""
        return f"{self.label:<22} {bar} {counted:>17}  {speed:,.0f}/s{rest}"


def duration(seconds: float) -> str:
    """Return a time span as people say it.

    >>> duration(0.4), duration(75), duration(7300)
    ('0 s', '1 min 15 s', '2 h 1 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
