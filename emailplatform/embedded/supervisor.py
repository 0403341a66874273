"""The process that keeps one server for its users: `python -m emailplatform.embedded.supervisor`.

Started by the first user (joining.py), which hands it the supervisor lock and a pipe for the
verdict on the start. It has no other parent than init, adopts a server that outlived a supervisor,
restarts one that dies, and stops it as soon as it can have the users' lock for itself.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from emailplatform.embedded import EmbeddedError, locks, sockets
from emailplatform.embedded.postgres import Postgres
from emailplatform.embedded.redis import Redis
from emailplatform.embedded.sockets import State

Server = Postgres | Redis
KINDS: dict[str, type[Postgres] | type[Redis]] = {"DATABASE_URL": Postgres, "REDIS_URL": Redis}
PAUSE_S = 0.2
PAUSE_AFTER_FAILURE_S = 5.0
TRIES = 5
START_S = 60.0
"""How long a start may take: a PostgreSQL that was killed replays its journal first."""
LOG_BYTES = 5_000_000


class Supervisor:
    """Keeps `server` running until its users are gone or somebody tells it to stop."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.pid = 0
        self.told_to_stop = False
        self.users_path = server.place.home / "users.lock"
        self.users = locks.open_lock(self.users_path)

    def start(self) -> None:
        """Adopt the running server or start one; return when it is ready. Raises EmbeddedError."""
        tries = 0
        logged = _size(self.server.place.log)
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline and not self.told_to_stop:
            state = self.server.state()
            if state is State.READY:
                self.pid = sockets.listener(self.server.socket)
                return
            if state is State.DOWN and not self._is_alive():
                if tries == TRIES:
                    break
                time.sleep(PAUSE_S * tries)  # children of a killed PostgreSQL need a moment to end
                tries += 1
                self.pid = self._launch()
            time.sleep(0.02)
        self.stop()
        raise EmbeddedError(self._why(logged))

    def watch(self) -> None:
        """Restart the server whenever it dies, until nobody needs it."""
        while not self._is_over():
            time.sleep(PAUSE_S)
            if self._is_alive():
                continue
            try:
                self.start()
            except (EmbeddedError, OSError) as error:
                print(error, file=sys.stderr, flush=True)  # noqa: T201  stderr is the log
                time.sleep(PAUSE_AFTER_FAILURE_S)

    def stop(self) -> None:
        """Stop the server, politely first."""
        for how, seconds in self.server.stopping:
            deadline = time.monotonic() + seconds
            if self._is_alive():
                os.kill(self.pid, how)
            while self._is_alive() and time.monotonic() < deadline:
                time.sleep(0.02)

    def _launch(self) -> int:
        argv = self.server.prepare()
        place = self.server.place
        started = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            cwd=place.data,
            user=place.user,
            group=place.group,
            extra_groups=place.extra_groups,
        )
        started.returncode = 0  # buried by _is_alive, not by subprocess
        return started.pid

    def _is_alive(self) -> bool:
        """Say whether the server's process lives; bury dead children on the way."""
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:  # there are none: an adopted server is init's child
            pass
        try:
            if self.pid:
                os.kill(self.pid, 0)
        except ProcessLookupError:
            self.pid = 0
        return self.pid > 0 and not _is_zombie(self.pid)

    def _is_over(self) -> bool:
        """Say whether to end: told to, the folder was deleted, or no user is left.

        In the last case the users' lock is ours from here on, so newcomers wait.
        """
        deleted = not locks.is_current(self.users, self.users_path)
        return self.told_to_stop or deleted or locks.take(self.users, locks.EXCLUSIVE)

    def _why(self, logged: int) -> str:
        with self.server.place.log.open("rb") as log:
            log.seek(logged)
            end = log.read()[-2000:].decode(errors="replace")
        known = self.server.explain(end)
        last = " / ".join(end.strip().splitlines()[-3:])
        return f"{self.server.title} did not start: {known or last or self.server.place.log}"


def main(variable: str, var: str, durable: str, *descriptors: str) -> None:
    """Leave the caller's session, start the server, say "ready" or an error, watch.

    The descriptors are of the supervisor lock, ours until the server is stopped, and of the pipe
    to say it into.
    """
    if os.fork():
        os._exit(0)
    os.setsid()
    lock, verdict = map(int, descriptors)
    for descriptor in (lock, verdict):
        os.set_inheritable(descriptor, False)
    with os.fdopen(verdict, "w", encoding="utf-8") as say:
        try:
            supervisor = _supervisor(KINDS[variable](Path(var), durable=durable == "durable"))
            supervisor.start()
        except (EmbeddedError, OSError) as error:
            say.write(str(error))
            return
        say.write("ready")
    supervisor.watch()
    supervisor.stop()
    os.close(lock)  # before the users' lock: who waits for that finds this one free


def _supervisor(server: Server) -> Supervisor:
    """Return the supervisor, with the log as stderr and SIGTERM as the word to stop."""
    supervisor = Supervisor(server)
    log = server.place.log
    if _size(log) > LOG_BYTES:
        log.rename(log.with_suffix(".log.1"))
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)

    def stop(*_: object) -> None:
        supervisor.told_to_stop = True

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    return supervisor


def _is_zombie(pid: int) -> bool:
    """Say whether the process is dead and not buried: in a container, init may never do it."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[:1] == ["Z"]


def _size(log: Path) -> int:
    return log.stat().st_size if log.exists() else 0


if __name__ == "__main__":
    main(*sys.argv[1:])
