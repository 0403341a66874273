"""Child processes of the benchmark: started, heard, stopped together, their memory noted."""

from __future__ import annotations

import json
import queue
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Self

from emailplatform import embedded
from emailplatform.processes import ProcessGroup
from tests.bench.machine import tree_peak_mb

PATIENCE_S = 120.0
LOOK_EVERY_S = 0.5
MODULE = (sys.executable, "-m")


class Failed(Exception):
    """A process did not do what it is there for; no figure can be had."""


class Processes:
    """What runs beside the benchmark itself. Leaving the context ends all of it."""

    def __init__(self) -> None:
        self.peaks: dict[str, float] = {}
        """Kind of process -> most MB that one of them had."""
        self._group = ProcessGroup(self._hear, inherit=embedded.descriptors())
        self._lines: defaultdict[str, queue.Queue[str]] = defaultdict(queue.Queue)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._group.stop_all()

    def start(self, name: str, argv: Sequence[str]) -> None:
        self._lines.pop(name, None)
        self._group.start(name, argv)

    def line(self, name: str, beginning: str, seconds: float = PATIENCE_S) -> str:
        """Return the next line that a process writes with this beginning. Raises Failed."""
        deadline = time.monotonic() + seconds
        heard: list[str] = []
        while True:
            try:
                line = self._lines[name].get(timeout=LOOK_EVERY_S)
            except queue.Empty:
                if time.monotonic() < deadline and self._group.is_alive(name):
                    continue
                raise Failed(f"{name} did not say {beginning!r}, but: {heard[-20:]}") from None
            if line.startswith(beginning):
                return line
            heard.append(line)

    def report(self, name: str, seconds: float = PATIENCE_S) -> dict[str, Any]:
        """Return the JSON object that a process prints when it is done."""
        found: dict[str, Any] = json.loads(self.line(name, "{", seconds))
        return found

    def stop(self, name: str) -> None:
        """Stop a process, its memory noted under the first word of its name."""
        self._note(name)
        self._group.stop(name)

    def stop_and_report(self, name: str) -> dict[str, Any]:
        """Stop a process that reports as it ends; return what it says."""
        self.stop(name)
        return self.report(name)

    def _note(self, name: str) -> None:
        kind = name.split()[0]
        peak = tree_peak_mb(self._group.pid(name))
        self.peaks[kind] = max(self.peaks.get(kind, 0.0), peak)

    def _hear(self, name: str, line: str) -> None:
        self._lines[name].put(line)
