"""manage.py tail_postfix: read the log of a Postfix, and tell what became of our mail."""

from __future__ import annotations

import signal
import threading
import time
from argparse import ArgumentParser
from datetime import tzinfo
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from django.core.management.base import BaseCommand, CommandError
from django.db import InterfaceError, OperationalError, connection
from django.utils import timezone

from emailplatform.errors import DomainError
from webhooks import taking
from webhooks.tailing import Tail

LOOK_EVERY_S = 1.0
AWAY_S = 3.0
"""Between two tries when the database is away."""
FORGET_EVERY_S = 3600.0


class Command(BaseCommand):
    help = (
        "Follow the log of a Postfix and apply what became of our mail (Ctrl-C stops). It goes on"
        " where it stopped, over rotation of the log as well."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("log", help="such as /var/log/mail.log")
        parser.add_argument("--once", action="store_true", help="stop at the end of the log")
        parser.add_argument(
            "--account",
            default="",
            help="the SMTP account whose mail it is; else that of each mail",
        )
        parser.add_argument(
            "--timezone",
            default="",
            help="of dates without one, such as Europe/Vienna; else this machine's",
        )
        parser.add_argument(
            "--relay",
            action="append",
            default=[],
            help="a relay host that delivers further: what it takes is sent, not delivered",
        )

    def handle(self, *_args: Any, log: str, once: bool, **options: Any) -> None:
        stop = threading.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: stop.set())
        path = Path(log).absolute()
        while not stop.is_set():
            try:
                self._follow(path, stop, once=once, **options)
            except (OperationalError, InterfaceError) as error:
                if once:
                    raise
                self._say(f"The database is away: {error}".strip())
                connection.close()
                stop.wait(AWAY_S)
            except DomainError as error:
                raise CommandError(str(error)) from error
            except PermissionError as error:
                words = f"{error.filename or path} may not be read: add this user to group adm."
                raise CommandError(words) from error
            else:
                return

    def _follow(self, path: Path, stop: threading.Event, *, once: bool, **options: Any) -> None:
        account = taking.account_named(options["account"]) if options["account"] else None
        zone, relays = _zone(options["timezone"]), options["relay"]
        tail = Tail(path, account, zone=zone, relays=relays, say=self._say)
        if not path.exists():
            self._say(f"There is no {path}" + (" yet; waiting for it." if not once else "."))
        total, forgot_at = 0, float("-inf")
        try:
            while not stop.is_set():
                if time.monotonic() - forgot_at > FORGET_EVERY_S:
                    forgot_at = time.monotonic()
                    tail.forget(timezone.now())
                lines = tail.read(timezone.now())
                total += lines
                if not lines and once:
                    break
                if not lines:
                    stop.wait(LOOK_EVERY_S)
        finally:
            tail.close()
        self.stdout.write(f"{total} lines read.")

    def _say(self, sentence: str) -> None:
        self.stderr.write(f"{timezone.now():%H:%M:%S} {sentence}")


def _zone(name: str) -> tzinfo | None:
    try:
        return ZoneInfo(name) if name else None
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise CommandError(
            f"There is no time zone “{name}”; write it like Europe/Vienna."
        ) from error
