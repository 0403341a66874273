"""Places where a worker can be told to die, for drills: `CRASH_AT=answered manage.py dispatch`.

CRASH_AT names one of POINTS, and with a colon when: `answered:3` at the third time, `answered:0.05`
each time with that chance. CRASH_SIGNAL is KILL, or STOP: the worker then sleeps until somebody
sends it SIGCONT. Only a local installation takes it. Unset, a point costs one comparison.
"""

from __future__ import annotations

import os
import random
import signal
from dataclasses import dataclass

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

POINTS = {
    "expanding": "an audience was queued, not committed",
    "claiming": "messages were taken, not committed",
    "claimed": "messages are taken, nothing is composed",
    "composed": "the call is composed, not yet said to begin",
    "in_flight": "the call is said to begin, nothing was sent",
    "answered": "the provider has answered, nothing of it is written",
    "recording": "some answers are written",
    "recorded": "all answers are written, the hand-off is still open",
    "splitting": "half of a refused call was passed on, not committed",
}
"""Name -> what has happened when a worker comes there."""
SIGNALS = {"KILL": signal.SIGKILL, "STOP": signal.SIGSTOP}


@dataclass
class Trap:
    """One place to die at, and how often it was passed."""

    name: str
    signal: signal.Signals
    nth: int = 1
    chance: float = 0.0
    passed: int = 0

    def is_sprung(self) -> bool:
        """Count one more passing; say whether it is the last."""
        self.passed += 1
        if self.chance:
            return random.random() < self.chance  # noqa: S311
        return self.passed == self.nth


def read(text: str, how: str = "KILL") -> Trap | None:
    """Return the trap that CRASH_AT and CRASH_SIGNAL ask for. Raises ImproperlyConfigured."""
    if not text:
        return None
    name, _, when = text.partition(":")
    if name not in POINTS:
        raise ImproperlyConfigured(f"CRASH_AT names {name!r}; use one of {', '.join(POINTS)}.")
    if how not in SIGNALS:
        raise ImproperlyConfigured(f"CRASH_SIGNAL is {how!r}; use KILL or STOP.")
    try:
        number = float(when or 1)
    except ValueError:
        number = 0.0
    if number <= 0 or (number > 1 and number != int(number)):
        raise ImproperlyConfigured(f"CRASH_AT is {text!r}; write {name}, {name}:3 or {name}:0.05.")
    if number < 1:
        return Trap(name, SIGNALS[how], chance=number)
    return Trap(name, SIGNALS[how], nth=int(number))


_trap = read(settings.CRASH_AT, settings.CRASH_SIGNAL)


def point(name: str) -> None:
    """Die here, if that is asked for."""
    if _trap is not None and _trap.name == name and _trap.is_sprung():
        os.kill(os.getpid(), _trap.signal)
