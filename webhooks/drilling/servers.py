"""The drill's own PostgreSQL and Redis, as something to break."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from emailplatform.embedded import sockets
from emailplatform.embedded.sockets import State
from emailplatform.embedded.supervisor import KINDS

_PATIENCE_S = 60.0
_POLITE = {"DATABASE_URL": signal.SIGINT, "REDIS_URL": signal.SIGTERM}
"""What each takes as: let nobody finish, but leave the data in order."""


class Server:
    """The embedded server behind DATABASE_URL or REDIS_URL, data in `folder`."""

    def __init__(self, variable: str, folder: Path) -> None:
        self._server = KINDS[variable](folder, durable=True)
        self._polite = _POLITE[variable]

    def restart(self) -> None:
        """Stop it in an orderly way; return when its supervisor has started it again."""
        self._end(self._polite)

    def crash(self) -> None:
        """Kill it; return when its supervisor has started it again."""
        self._end(signal.SIGKILL)

    @contextmanager
    def away(self) -> Iterator[None]:
        """Stop it, and let nobody start it again before the end of the block."""
        server = sockets.listener(self._server.socket)
        supervisor = _parent(server)
        os.kill(supervisor, signal.SIGSTOP)
        try:
            os.kill(server, self._polite)
            self._wait(lambda: self._server.state() is State.DOWN)
            yield
        finally:
            os.kill(supervisor, signal.SIGCONT)
            self._wait(lambda: self._server.state() is State.READY)

    def _end(self, how: signal.Signals) -> None:
        before = sockets.listener(self._server.socket)
        os.kill(before, how)
        self._wait(
            lambda: (
                self._server.state() is State.READY
                and sockets.listener(self._server.socket) != before
            )
        )

    def _wait(self, is_so: Callable[[], bool]) -> None:
        stop_at = time.monotonic() + _PATIENCE_S
        while not is_so():
            if time.monotonic() > stop_at:
                raise TimeoutError(f"{self._server.title} does not come back.")
            time.sleep(0.02)


def _parent(pid: int) -> int:
    stat = Path(f"/proc/{pid}/stat")
    if stat.exists():
        return int(stat.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[1])
    asked = ["ps", "-o", "ppid=", "-p", str(pid)]
    return int(subprocess.run(asked, capture_output=True, text=True, check=True).stdout)  # noqa: S603
