"""The way into the drill: servers, ports and a folder of its own, wiped before and after.

Whatever DATABASE_URL names, the drill never touches it: it kills servers.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from django.conf import settings

from emailplatform.embedded import EmbeddedError, joining, locks
from emailplatform.guard import Guard

INSIDE = "DRILL_INSIDE"
"""Set in the environment of the process that drills."""
_GIVEN = ("DATABASE_URL", "DATABASE_URL_FILE", "REDIS_URL", "REDIS_URL_FILE", "CELERY_BROKER_URL")
_NOBODY = ("postgresql:///not-needed", "unix:///not-needed")
"""What manage.py fills in for a command that needs no servers."""
_TIMES = {
    "PREPARE_LEASE_S": "2",
    "FLIGHT_LEASE_S": "3",
    "CONNECT_TIMEOUT_S": "1",
    "READ_TIMEOUT_S": "2",
    "FINAL_DOT_TIMEOUT_S": "2",
    "TICK_S": "1",
}
"""The providers are on this machine: a call that is silent for seconds is a fault of the drill."""
_WIPE_S = 30.0


class Refused(Exception):
    """The drill does not start; `str()` says why."""


def enter(arguments: Sequence[str], *, keep: bool) -> int:
    """Run `manage.py crash_drill` with these arguments inside; return its exit code.

    The folder stays with `keep` and after a failure: it is the evidence. Raises Refused.
    """
    _refuse_what_is_in_use()
    folder = Path(settings.VAR_DIR).resolve() / "drill"
    wipe(folder)
    durable = os.environ.get("EMBEDDED_FSYNC", "on").lower() != "off"
    try:
        database = joining.join("DATABASE_URL", folder, durable=durable)
        redis = joining.join("REDIS_URL", folder, durable=durable)
    except EmbeddedError as error:
        raise Refused(str(error)) from error
    environment = {
        **_without_what_is_given(),
        **_TIMES,
        **_places(folder),
        "DATABASE_URL": database.url,
        "REDIS_URL": redis.url,
        INSIDE: "yes",
    }
    command = [sys.executable, "manage.py", "crash_drill", *arguments]
    held = (database.lock, redis.lock)
    code = _run(command, environment, held)
    for lock in held:
        os.close(lock)
    if not code and not keep:
        wipe(folder)
    return code


def wipe(folder: Path) -> None:
    """Remove a drill's folder. Raises Refused while another drill uses it."""
    for name in ("postgres", "redis"):
        home = (folder / name).resolve()
        if not home.exists():
            continue
        # Held as long as the server runs, which is as long as anybody uses it.
        lock = locks.open_lock(home / "supervisor.lock")
        try:
            if not locks.wait_for(lock, locks.EXCLUSIVE, _WIPE_S):
                raise Refused(f"Another drill runs in {folder}. Let it end, or stop it.")
            shutil.rmtree(home)
        finally:
            os.close(lock)
    if folder.exists():
        shutil.rmtree(folder)


def _refuse_what_is_in_use() -> None:
    given = [name for name in _GIVEN if os.environ.get(name, "") not in {"", *_NOBODY}]
    if given:
        raise Refused(
            f"{', '.join(given)} is set. The drill crashes databases and kills workers, and uses"
            f" none but its own. Run it without: env -u {' -u '.join(given)} manage.py crash_drill"
        )
    if not settings.LOCAL:
        raise Refused("The drill kills processes: run it on a machine of your own, with LOCAL=on.")


def _without_what_is_given() -> dict[str, str]:
    ours = {
        *_GIVEN,
        *_TIMES,
        "CRASH_AT",
        "CRASH_SIGNAL",
        "MEDIA_ROOT",
        "STATIC_ROOT",
        "SEND_WORKERS",
    }
    return {name: value for name, value in os.environ.items() if name not in ours}


def _places(folder: Path) -> dict[str, str]:
    web, sandbox, smtp = _free_ports(3)
    return {
        "VAR_DIR": str(folder),
        "PUBLIC_URL": f"http://127.0.0.1:{web}",
        "SANDBOX_PORT": str(sandbox),
        "SANDBOX_SMTP_PORT": str(smtp),
        "SANDBOX_ACCOUNTS": str(folder / "accounts.json"),
        "LOCAL": "on",
        "LOG_LEVEL": "WARNING",
    }


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def _run(command: Sequence[str], environment: Mapping[str, str], held: tuple[int, ...]) -> int:
    """Run it to its end; Ctrl-C is handed on, and whatever ends us ends it."""
    guard = Guard(_WIPE_S)
    inside = subprocess.Popen(  # noqa: S603
        command, cwd=settings.BASE_DIR, env=environment, pass_fds=held, start_new_session=True
    )
    guard.add(inside.pid)
    try:
        while True:
            try:
                return inside.wait()
            except KeyboardInterrupt:
                inside.send_signal(signal.SIGINT)
    finally:
        guard.forget(inside.pid)
        guard.dismiss()
