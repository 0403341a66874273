"""The sandboxed providers of this installation: `manage.py sandbox`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser

from delivery import demonstrating


class Command(BaseCommand):
    help = "Run local stand-ins of SendGrid, Mailgun, Postmark, Amazon SES and SMTP."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--port", type=int, default=settings.SANDBOX_PORT)
        parser.add_argument("--smtp-port", type=int, default=settings.SANDBOX_PORT + 1)
        parser.add_argument("--store", default=str(settings.VAR_DIR / "sandbox" / "inbox.db"))
        parser.add_argument("--options", default="{}", help="JSON: rates, latencies and faults.")

    def handle(self, *_: Any, **options: Any) -> None:
        # An extra of the locked requirements for local use: not installed in production.
        from delivery.sandbox.config import Config, Options
        from delivery.sandbox.server import run

        Path(options["store"]).parent.mkdir(parents=True, exist_ok=True)
        run(
            Config(
                accounts=demonstrating.sandbox_accounts(settings.SANDBOX_ACCOUNTS),
                options=Options().changed(json.loads(options["options"])),
                port=options["port"],
                smtp_port=options["smtp_port"],
                store=options["store"],
            )
        )
