"""manage.py poll_bounces: fetch bounces out of a mailbox."""

from __future__ import annotations

import signal
import threading
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import InterfaceError, OperationalError, connection
from django.utils import timezone

from emailplatform.env import Mailbox
from emailplatform.errors import DomainError
from webhooks import polling
from webhooks.fetching import CannotFetch

EVERY_S = 120.0


class Command(BaseCommand):
    help = (
        "Fetch what is new in the mailbox of IMAP_URL, every two minutes (Ctrl-C stops). With"
        " Celery beat running, that is done already."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--once", action="store_true", help="until nothing is new, then stop")

    def handle(self, *_args: Any, once: bool, **_options: Any) -> None:
        mailbox = settings.IMAP_URL
        if mailbox is None:
            raise CommandError("Set IMAP_URL, such as imaps://user:password@host/INBOX.")
        if once:
            return self._fetch_all(mailbox)
        stop = threading.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: stop.set())
        while not stop.is_set():
            try:
                while polling.poll(mailbox, timezone.now()) and not stop.is_set():
                    pass
            except (OperationalError, InterfaceError) as error:
                self.stderr.write(f"{timezone.now():%H:%M:%S} The database is away: {error}")
                connection.close()
            stop.wait(EVERY_S)
        return None

    def _fetch_all(self, mailbox: Mailbox) -> None:
        total = 0
        try:
            while stored := polling.fetch(mailbox, timezone.now()):
                total += stored
        except (CannotFetch, DomainError) as error:
            raise CommandError(f"{total} mails were stored; then: {error}") from error
        self.stdout.write(f"{total} mails were stored and will be read.")
