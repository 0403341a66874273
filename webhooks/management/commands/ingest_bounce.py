"""manage.py ingest_bounce: take one returned mail from a mail server's pipe."""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand
from django.db import DatabaseError, InterfaceError

from emailplatform.errors import DomainError
from webhooks import taking

EX_TEMPFAIL = 75
"""sysexits.h; to Postfix: keep the mail and try again. Any other failure would return it."""


class Command(BaseCommand):
    help = (
        "Store one mail (a bounce, a complaint, an automatic answer) from standard input. Exit 0:"
        " stored; 75: not now, keep it and try again."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--recipient", default="", help="to whom it came: ${recipient}")
        parser.add_argument("--account", default="", help="whose it is if it does not say so")

    def handle(self, *_args: Any, recipient: str, account: str, **_options: Any) -> None:
        body = sys.stdin.buffer.read(taking.MOST_BYTES)
        while sys.stdin.buffer.read(1 << 20):
            pass  # The server would take a closed pipe for a failure.
        recipient = recipient or os.environ.get("ORIGINAL_RECIPIENT", "")
        try:
            taking.take_mail(body, recipient, taking.account_named(account))
        except (DatabaseError, InterfaceError):
            self._come_again("The database is away.")
        except DomainError as error:
            self._come_again(str(error))

    def _come_again(self, why: str) -> None:
        self.stderr.write(f"{why} The mail server keeps the mail and tries again.")
        sys.exit(EX_TEMPFAIL)
