"""Ends processes whose owner is gone. `Guard` is the owner's side; run as a script, the other one.

The script reads process ids from its standard input, one a line: `+123` to guard one, `-123` to
forget it. When the owner ends, however it does, the input ends, and what is left is stopped: by
SIGTERM, once (a second one can deadlock Celery's beat), then SIGKILL to its process group.

The kernel could watch the owner too (PR_SET_PDEATHSIG), but only on Linux, with one signal for
each thread of the owner that dies, and without the second step.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable


class Guard:
    """Tells a process of its own whom to end if this one dies; starts it again if it is killed.

    Processes get `patience_s` seconds to end when asked.
    """

    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s
        self._guarded: set[int] = set()
        self._process: subprocess.Popen[bytes] | None = None

    def add(self, pid: int) -> None:
        self._guarded.add(pid)
        self._tell(f"+{pid}\n")

    def forget(self, pid: int) -> None:
        self._guarded.discard(pid)
        self._tell(f"-{pid}\n")

    def look(self) -> None:
        """Start the process again if it is gone."""
        if self._guarded and (self._process is None or self._process.poll() is not None):
            self._start()

    def dismiss(self) -> None:
        """End the process. Whom it still guards it ends too."""
        if self._process and self._process.stdin:
            self._process.stdin.close()
            self._process.wait()
        self._process = None

    def _tell(self, line: str) -> None:
        self.look()
        if self._process is None or self._process.stdin is None:
            return
        try:
            self._process.stdin.write(line.encode())
        except BrokenPipeError:
            self._process.wait()
            self.look()

    def _start(self) -> None:
        self.dismiss()
        self._process = subprocess.Popen(  # noqa: S603
            [sys.executable, "-I", "-S", __file__, str(self._patience_s)],
            stdin=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,
        )
        for pid in self._guarded:
            self._tell(f"+{pid}\n")


def main(patience_s: float) -> None:
    """Guard until the input ends, then end who is guarded."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    guarded: set[int] = set()
    for line in sys.stdin:
        change = guarded.add if line.startswith("+") else guarded.discard
        change(int(line[1:]))
    end(guarded, patience_s)


def end(guarded: set[int], patience_s: float) -> None:
    """Ask every process to end; kill what is left of their groups after `patience_s` at most."""
    alive = {pid for pid in guarded if _send(os.kill, pid, signal.SIGTERM)}
    deadline = time.monotonic() + patience_s
    while alive and time.monotonic() < deadline:
        time.sleep(0.1)
        alive = {pid for pid in alive if _send(os.kill, pid, 0)}
    for pid in guarded:
        _send(os.killpg, pid, signal.SIGKILL)


def _send(how: Callable[[int, int], None], pid: int, number: int) -> bool:
    """Send a signal; say whether there was anybody to get it."""
    try:
        how(pid, number)
    except OSError:
        return False
    return True


if __name__ == "__main__":
    main(float(sys.argv[1]))
