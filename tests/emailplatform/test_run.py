"""`manage.py run`: everything starts, comes back, and stops, with real processes."""

import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.emailplatform.embedding import ROOT, Users, environment, eventually, kill

pytestmark = pytest.mark.crash


class Run:
    """A running `manage.py run` and what it says."""

    def __init__(self, var: Path) -> None:
        self.port, sandbox = _free_port(), _free_port()
        self.log = var.with_name("run.log")
        self.env = environment(
            var, LOCAL="on", SANDBOX_PORT=str(sandbox), SANDBOX_SMTP_PORT=str(_free_port())
        )
        self.env.pop("PUBLIC_URL", None)
        self.start()

    def start(self) -> None:
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "manage.py", "run", "--port", str(self.port)],
                env=self.env,
                cwd=ROOT,
                stdout=log,
                stderr=log,
            )

    def wait_for(self, words: str) -> None:
        eventually(lambda: words in self.said() or self.process.poll() is not None, 180)
        assert words in self.said(), self.said()

    def said(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    def pid_of(self, word: str) -> int:
        """Return the process id of the child in whose command line the word is, 0 for none."""
        for child in psutil.Process(self.process.pid).children():
            try:
                if word in child.cmdline():
                    return int(child.pid)
            except psutil.Error:  # it has just died
                continue
        return 0


@pytest.fixture
def run(users: Users) -> Iterator[Run]:
    run = Run(users.var)
    yield run
    run.process.kill()
    run.process.wait()
    eventually(lambda: not users.supervisors(), 60)


def test_everything_starts_comes_back_and_stops_at_one_interrupt(run, users):
    run.wait_for(f"Open http://127.0.0.1:{run.port}/admin/")
    with urllib.request.urlopen(f"http://127.0.0.1:{run.port}/health") as answer:
        assert answer.status == 200
    everything = psutil.Process(run.process.pid).children(recursive=True)
    beat = run.pid_of("beat")

    kill(beat)
    run.wait_for("beat ended (signal 9)")
    eventually(lambda: run.pid_of("beat") not in {0, beat})
    run.process.send_signal(signal.SIGINT)

    assert run.process.wait(120) == 0
    assert "Stopped. Everything is kept for the next run." in run.said()
    assert not [child for child in everything if child.is_running()]
    eventually(lambda: not users.supervisors())


def test_a_second_run_finds_everything_and_a_kill_leaves_nothing(run, users):
    run.wait_for("Open http://127.0.0.1:")
    run.process.terminate()
    assert run.process.wait(120) == 0
    run.start()
    run.wait_for("Open http://127.0.0.1:")
    assert "password" not in run.said()
    everything = psutil.Process(run.process.pid).children(recursive=True)
    assert len(everything) >= 5
    again = subprocess.run(
        [sys.executable, "manage.py", "run"],
        env=environment(users.var, LOCAL="on"),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    kill(run.process.pid)

    assert again.stderr == "CommandError: It runs already, from this folder: stop that one first.\n"
    eventually(lambda: not [child for child in everything if child.is_running()], 90)
    eventually(lambda: not users.supervisors())
    assert (users.postgres, users.redis) == (0, 0)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])
