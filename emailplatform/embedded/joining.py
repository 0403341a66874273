"""Becoming a user of an embedded server, and starting its supervisor if there is none."""

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from emailplatform.embedded import EmbeddedError, locks, postgres
from emailplatform.embedded.sockets import State
from emailplatform.embedded.supervisor import KINDS, Server

WAIT_S = 120.0
"""For a server that is being stopped or started by others."""


@dataclass(frozen=True)
class Joined:
    """Where the server is, and the lock that keeps it running while any process has it open."""

    url: str
    lock: int


def join(variable: str, var: Path, *, durable: bool) -> Joined:
    """Have the server behind `variable` run and return when it is ready. Raises EmbeddedError."""
    server = KINDS[variable](var, durable=durable)
    try:
        lock = locks.open_lock(server.place.home / "users.lock")
    except PermissionError as error:
        raise EmbeddedError(
            f"{server.place.home} belongs to somebody else. Run this as its owner, or set VAR_DIR."
        ) from error
    if not locks.wait_for(lock, locks.SHARED, WAIT_S):
        raise EmbeddedError(f"{server.title} takes too long to stop; see {server.place.log}.")
    os.set_inheritable(lock, True)
    _see_to_it(server, [variable, str(var), "durable" if durable else "volatile"])
    if variable == "DATABASE_URL":
        postgres.create_database(server.url)
    return Joined(server.url, lock)


def _see_to_it(server: Server, arguments: list[str]) -> None:
    """Wait until the server answers and has a supervisor; start that if nobody else does."""
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        supervisor = locks.open_lock(server.place.home / "supervisor.lock")
        try:
            if locks.take(supervisor, locks.EXCLUSIVE):
                _start_supervisor(arguments, supervisor)
        finally:
            os.close(supervisor)
        if server.state() is State.READY:
            return
        time.sleep(0.05)
    raise EmbeddedError(f"{server.title} does not answer; see {server.place.log}.")


def _start_supervisor(arguments: list[str], lock: int) -> None:
    """Start the supervisor with the lock as its own; return when its server is ready."""
    reader, writer = os.pipe()
    command = [sys.executable, "-m", "emailplatform.embedded.supervisor", *arguments]
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONSAFEPATH"}
    with os.fdopen(reader, encoding="utf-8") as verdict:
        try:
            subprocess.run(
                [*command, str(lock), str(writer)],
                pass_fds=(lock, writer),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                cwd=Path(__file__).parents[2],
                env=environment,
                check=True,
            )
        except subprocess.CalledProcessError as error:
            raise EmbeddedError(f"Its supervisor could not be started ({error}).") from error
        finally:
            os.close(writer)
        said = verdict.read()
    if said not in {"ready", ""}:  # "": it was killed, so the lock is free and we try again
        raise EmbeddedError(said)
