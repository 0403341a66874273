"""Real users of the embedded servers, each a process of its own, for the tests beside this file."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import psycopg
from redis import Redis

from emailplatform.embedded import sockets

ROOT = Path(__file__).resolve().parents[2]
USE = """
import sys
from pathlib import Path
from emailplatform import embedded
try:
    embedded.use(Path("/nowhere"))
except embedded.EmbeddedError as error:
    sys.exit(str(error))
"""
STAY = "print('ready', flush=True); sys.stdin.read()"
CHILD = """
import subprocess
with subprocess.Popen(["sleep", "60"], pass_fds=embedded.descriptors()) as child:
    print(child.pid, flush=True)
"""


def environment(var: Path, **more: str) -> dict[str, str]:
    """Return an environment in which `use` starts servers under `var`."""
    ours = {"DATABASE_URL", "REDIS_URL", "EMBEDDED_DATABASE_URL", "EMBEDDED_REDIS_URL"}
    kept = {name: value for name, value in os.environ.items() if name not in ours}
    return {**kept, "VAR_DIR": str(var), "EMBEDDED_FSYNC": "off", **more}


class Users:
    """Starts users of the servers under `var`; ends them all, and the servers with them."""

    def __init__(self, var: Path) -> None:
        self.var = var
        self.processes: list[subprocess.Popen[str]] = []

    @property
    def postgres(self) -> int:
        """The process id of the PostgreSQL that answers, or 0."""
        return sockets.listener(self.home("postgres") / "socket/.s.PGSQL.5432")

    @property
    def redis(self) -> int:
        """The process id of the Redis that answers, or 0."""
        return sockets.listener(self.home("redis") / "socket/redis.sock")

    def home(self, name: str) -> Path:
        return (self.var / name).resolve()

    def begin(self, code: str = STAY, **more: str) -> subprocess.Popen[str]:
        """Start a user and do not wait for it."""
        user = subprocess.Popen(
            [sys.executable, "-c", USE + code],
            env=environment(self.var, **more),
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.processes.append(user)
        return user

    def arrive(self, code: str = STAY, **more: str) -> subprocess.Popen[str]:
        """Start a user and return when it has its servers."""
        return self.greeted(self.begin(code, **more))

    @staticmethod
    def greeted(user: subprocess.Popen[str]) -> subprocess.Popen[str]:
        assert user.stdout
        assert user.stderr
        if user.stdout.readline() != "ready\n":
            raise AssertionError(user.stderr.read())
        return user

    def refusal(self, **more: str) -> str:
        """Return what a user is told who does not get its servers."""
        _out, said = self.begin("", **more).communicate(timeout=60)
        return said.strip()

    def supervisor(self, variable: str) -> psutil.Process:
        """Return the one supervisor process of the server behind the variable."""
        (found,) = self.supervisors(variable)
        return found

    def supervisors(self, variable: str = "") -> list[psutil.Process]:
        return [
            process
            for process in psutil.process_iter(["cmdline"])
            if (line := process.info["cmdline"] or [])
            and "emailplatform.embedded.supervisor" in line
            and str(self.var) in line
            and variable in {"", *line}
        ]

    def leave(self) -> None:
        """End every user with SIGKILL and return when the servers are gone too."""
        for user in self.processes:
            user.kill()
            user.communicate()
        self.processes.clear()
        eventually(lambda: not self.supervisors())

    def query(self, sql: str) -> list[tuple[object, ...]]:
        folder = self.home("postgres") / "socket"
        where = {"host": str(folder), "user": "emailplatform", "dbname": "emailplatform"}
        with psycopg.connect(**where, port=5432, autocommit=True) as connection:  # type: ignore[arg-type]
            cursor = connection.execute(sql.encode())
            return cursor.fetchall() if cursor.description else []

    def cache(self) -> Redis:
        return Redis(unix_socket_path=str(self.home("redis") / "socket/redis.sock"))


def kill(pid: int) -> None:
    """End a process as a crash would."""
    assert pid > 0
    os.kill(pid, signal.SIGKILL)


def eventually(is_so: Callable[[], object], seconds: float = 30.0) -> None:
    """Return as soon as `is_so()` is true; fail after `seconds`."""
    deadline = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > deadline:
            raise AssertionError("It did not happen in time.")
        time.sleep(0.02)
