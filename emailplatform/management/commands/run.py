"""`manage.py run`: the whole platform in one terminal, until Ctrl-C."""

import os
import signal
import socket
import sys
import threading
from argparse import ArgumentParser
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError

from emailplatform import embedded
from emailplatform.embedded import locks
from emailplatform.processes import ProcessGroup

LOOK_EVERY_S = 0.5
COLOURS = (36, 33, 35, 34, 32)
WORKER = ("worker", "-P", "threads", "--without-gossip", "--without-mingle")
WORKERS = {
    # Name -> (threads, queues): what is urgent waits for nobody else's thread.
    "critical": (3, "critical"),
    "transactional": (4, "transactional"),
    "worker": (6, "marketing,events,default"),
}
QUIET = {"PYTHONWARNINGS": "ignore:You're running the worker with superuser privileges"}
"""Celery's word on root, which is for servers: here everything is one person's own."""


class Command(BaseCommand):
    """Prepare the database, start every process, keep them running, stop them all."""

    help = "Run everything on this machine: web, workers, beat and the provider sandbox."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
        parser.add_argument("--port", type=int, default=8000, help="port of the web pages and API")
        parser.add_argument(
            "--no-sandbox", action="store_true", help="do not start the sandboxed e-mail providers"
        )

    def handle(self, *_: Any, host: str, port: int, no_sandbox: bool, **__: Any) -> None:
        # whitenoise misses the folder of collected files even where it needs none
        Path(settings.STATIC_ROOT).mkdir(parents=True, exist_ok=True)
        settings.VAR_DIR.mkdir(parents=True, exist_ok=True)
        lock = locks.open_lock(settings.VAR_DIR / "run.lock")
        if not locks.take(lock, locks.EXCLUSIVE):
            raise CommandError("It runs already, from this folder: stop that one first.")
        _check_free(host, port, f"make run PORT={port + 1}")
        if not no_sandbox:
            _check_free("127.0.0.1", settings.SANDBOX_PORT, "SANDBOX_PORT=… make run")
        _tell_address(port)
        self._say("Preparing the database …")
        call_command("migrate", verbosity=0, stdout=self.stdout)
        call_command("demo_workspace", stdout=self.stdout)
        with ProcessGroup(self._printer(), inherit=embedded.descriptors()) as group:
            stop = _stop_on_signals()
            commands = _commands(host, port, with_sandbox=not no_sandbox)
            for name, argv in commands.items():
                is_web = name == "web" and "sandbox" in commands and _is_loopback(host)
                group.start(name, argv, {**QUIET, **(_trust_sandbox() if is_web else {})})
            self._say("Starting …  (Ctrl-C stops everything)")
            self._tend(group, stop, (host, port))
            self._say("Stopping …")
        self._say("Stopped. Everything is kept for the next run.")

    def _tend(self, group: ProcessGroup, stop: threading.Event, address: tuple[str, int]) -> None:
        """Keep the processes running until `stop`; print the address when it can be opened."""
        is_up = False
        while not stop.wait(LOOK_EVERY_S):
            for sentence in group.tend():
                self._say(sentence)
            if not is_up and _answers(*address):
                is_up = True
                self._say(self.style.SUCCESS(f"Open {settings.PUBLIC_URL}/admin/"))

    def _printer(self) -> Any:
        """Return the sink that prints each line behind the name of its process."""
        turn = threading.Lock()
        colours: dict[str, int] = {}
        plain = not self.stdout.isatty() or bool(os.environ.get("NO_COLOR"))

        def show(name: str, line: str) -> None:
            if not line:
                return
            label = f"{name:<10} |"
            with turn:
                colour = colours.setdefault(name, COLOURS[len(colours) % len(COLOURS)])
                self._say(f"{label} {line}" if plain else f"\x1b[{colour}m{label}\x1b[0m {line}")

        return show

    def _say(self, line: str) -> None:
        self.stdout.write(line)
        self.stdout.flush()


def _commands(host: str, port: int, *, with_sandbox: bool) -> Mapping[str, list[str]]:
    """Return the command of each process by name."""
    granian = [sys.executable, "-m", "granian", "--interface", "wsgi", "--no-ws"]
    celery = [sys.executable, "-m", "celery", "--quiet", "-A", "emailplatform"]
    level = ["-l", "WARNING"]
    threads = min(8, 2 * (os.cpu_count() or 1) + 1)
    commands = {
        "web": [
            *granian,
            *("--host", host, "--port", str(port), "--blocking-threads", str(threads)),
            *("--log-level", "warning", "emailplatform.wsgi:application"),
        ],
        "beat": [*celery, "beat", *level],
    }
    for name, (slots, queues) in WORKERS.items():
        options = ["-n", f"{name}@%h", "-c", str(slots), "-Q", queues]
        commands[name] = [*celery, *WORKER, *level, *options]
    if settings.POSTFIX_LOG:
        commands["postfix"] = [sys.executable, "manage.py", "tail_postfix", settings.POSTFIX_LOG]
    if with_sandbox:
        commands["sandbox"] = [sys.executable, "manage.py", "sandbox"]
        if own_host := _own_host():
            commands["sandbox"] += ["--reader-hosts", own_host]
    return commands


def _own_host() -> str:
    """Return host:port of our pages as mails name them; empty if they are not on this machine."""
    address = urlsplit(settings.PUBLIC_URL)
    is_ours = address.scheme == "http" and _is_loopback(address.hostname or "")
    return f"{address.hostname}:{address.port or 80}" if is_ours else ""


def _is_loopback(host: str) -> bool:
    return host == "localhost" or host.startswith("127.")


def _trust_sandbox() -> Mapping[str, str]:
    """Let the sandbox's people have addresses of their own, as behind a proxy: it tells them.

    Only where nobody but this machine is listened to, and nothing else was asked for.
    """
    return {} if "TRUSTED_PROXIES" in os.environ else {"TRUSTED_PROXIES": "1"}


def _tell_address(port: int) -> None:
    """Let links and webhooks name the port: start again with PUBLIC_URL if it is not given."""
    address = f"http://127.0.0.1:{port}"
    if not os.environ.get("PUBLIC_URL") and address != settings.PUBLIC_URL:
        os.environ["PUBLIC_URL"] = address
        os.execv(sys.executable, [sys.executable, *sys.argv])  # noqa: S606


def _check_free(host: str, port: int, otherwise: str) -> None:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise CommandError(
                f"Cannot listen on {host}, port {port}: {error.strerror}. "
                f"For another port: {otherwise}"
            ) from error


def _answers(host: str, port: int) -> bool:
    where = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104
    try:
        socket.create_connection((where, port), timeout=LOOK_EVERY_S).close()
    except OSError:
        return False
    return True


def _stop_on_signals() -> threading.Event:
    """Return the event that Ctrl-C, SIGTERM and a closed terminal set; again, and it is at once."""
    stop = threading.Event()

    def tell(*_: object) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, tell)
    return stop
