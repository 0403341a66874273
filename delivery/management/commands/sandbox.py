"""The sandboxed providers of this installation: `manage.py sandbox`."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from delivery import demonstrating


class Command(BaseCommand):
    help = "Run local stand-ins of SendGrid, Mailgun, Postmark, Amazon SES and SMTP."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--port", type=int, default=settings.SANDBOX_PORT)
        parser.add_argument("--smtp-port", type=int, default=settings.SANDBOX_SMTP_PORT)
        parser.add_argument("--store", default=str(settings.VAR_DIR / "sandbox" / "inbox.db"))
        parser.add_argument(
            "--reader-hosts",
            nargs="*",
            default=[],
            help="Whose images and links readers ask for, on this machine (127.0.0.1:8000).",
        )
        parser.add_argument("--options", default="{}", help="JSON: rates, latencies and faults.")

    def handle(self, *_: Any, **options: Any) -> None:
        # An extra of the locked requirements for local use: not installed in production.
        from delivery.sandbox.__main__ import serve
        from delivery.sandbox.config import Config, ConfigError, Options

        Path(options["store"]).parent.mkdir(parents=True, exist_ok=True)
        try:
            config = Config(
                accounts=demonstrating.sandbox_accounts(settings.SANDBOX_ACCOUNTS),
                options=Options().changed(json.loads(options["options"])),
                port=options["port"],
                smtp_port=options["smtp_port"],
                store=options["store"],
                reader_hosts=options["reader_hosts"],
            )
        except (ConfigError, json.JSONDecodeError) as error:
            raise CommandError(str(error)) from error
        asyncio.run(serve(config))
