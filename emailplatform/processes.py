"""Child processes that live and die together: started, restarted, never left behind."""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Self

from emailplatform.guard import Guard

STOP_S = 15.0
"""How long a process may take to end when asked, before it is killed."""
STEADY_S = 30.0
"""A process that ran this long starts again at once; one that did not waits ever longer."""
MAX_PAUSE_S = 30.0
ROOT = Path(__file__).resolve().parent.parent

Sink = Callable[[str, str], None]
"""Takes a process's name and a line it has written."""


@dataclass
class Child:
    """One process with what is needed to start it again."""

    name: str
    argv: list[str]
    env: dict[str, str]
    process: subprocess.Popen[bytes]
    started_at: float
    failures: int = 0
    due_at: float | None = None


class ProcessGroup:
    """Processes by name, run in the checkout. Leaving the context stops them all.

    They are stopped as well when this process ends in any other way (guard.py). They keep the
    descriptors `inherit` open. Each line they write goes to `sink`, called in a thread per process.
    """

    def __init__(self, sink: Sink, *, inherit: Sequence[int] = ()) -> None:
        self._sink = sink
        self._inherit = tuple(inherit)
        self._children: dict[str, Child] = {}
        self._guard = Guard(STOP_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop_all()

    def start(self, name: str, argv: Sequence[str], env: Mapping[str, str] | None = None) -> None:
        """Start a process. `env` is added to the environment of this one."""
        if self.is_alive(name):
            raise ValueError(f"{name} is running already.")
        environment = {**os.environ, "PYTHONUNBUFFERED": "1", **(env or {})}
        process = self._spawn(name, argv, environment)
        child = Child(name, list(argv), environment, process, time.monotonic())
        self._children[name] = child

    def pid(self, name: str) -> int:
        """Return the process id of the process now running under the name."""
        return self._children[name].process.pid

    def is_alive(self, name: str) -> bool:
        """Say whether the process runs."""
        child = self._children.get(name)
        return child is not None and child.process.poll() is None

    def restart(self, name: str) -> None:
        """Start the process again, stopping it first if it runs."""
        child = self._children[name]
        self._stop([child])
        child.process = self._spawn(name, child.argv, child.env)
        child.started_at, child.due_at = time.monotonic(), None

    def tend(self) -> list[str]:
        """Start again what has died and is due; return a sentence for each that was found dead.

        A process that dies soon after its start waits 1, 2, 4 … seconds, at most MAX_PAUSE_S.
        """
        said = []
        now = time.monotonic()
        self._guard.look()
        for child in list(self._children.values()):
            if child.process.poll() is None:
                continue
            if child.due_at is None:
                said.append(self._plan(child, now))
            elif now >= child.due_at:
                self.restart(child.name)
        return said

    def stop(self, name: str) -> None:
        """Stop one process and forget it."""
        self._stop([self._children.pop(name)])

    def stop_all(self) -> None:
        """Ask all processes to end, together; kill those that have not after STOP_S."""
        children = list(self._children.values())
        self._children.clear()
        self._stop(children)
        self._guard.dismiss()

    def _plan(self, child: Child, now: float) -> str:
        self._bury(child.process)
        child.failures = 0 if now - child.started_at > STEADY_S else child.failures + 1
        pause = min(2.0 ** (child.failures - 1), MAX_PAUSE_S) if child.failures else 0.0
        child.due_at = now + pause
        when = f"in {pause:.0f} s" if pause else "now"
        return f"{child.name} ended ({_how(child.process.returncode)}); it starts again {when}."

    def _spawn(
        self, name: str, argv: Sequence[str], env: Mapping[str, str]
    ) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            argv,
            env=env,
            cwd=ROOT,
            pass_fds=self._inherit,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            # A session of its own: Ctrl-C in the terminal reaches only us, and we stop it once.
            start_new_session=True,
        )
        self._guard.add(process.pid)
        assert process.stdout  # noqa: S101  for the type: it is a pipe
        threading.Thread(target=self._read, args=(name, process.stdout), daemon=True).start()
        return process

    def _read(self, name: str, output: IO[bytes]) -> None:
        with output:
            for line in output:
                self._sink(name, line.decode(errors="replace").rstrip())

    def _stop(self, children: list[Child]) -> None:
        running = [child.process for child in children if child.process.poll() is None]
        for process in running:
            process.terminate()
        deadline = time.monotonic() + STOP_S
        for process in running:
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            self._bury(process)

    def _bury(self, process: subprocess.Popen[bytes]) -> None:
        """Kill what a process that has just ended left behind: workers keep ports and locks."""
        self._guard.forget(process.pid)
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):  # the latter: on macOS, a group of zombies
            return


def _how(returncode: int) -> str:
    return f"signal {-returncode}" if returncode < 0 else f"exit code {returncode}"
