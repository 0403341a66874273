"""Tell everything about one person: `manage.py export_person ana@example.com > ana.json`."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from emailplatform.errors import DomainError
from emailplatform.models import AuditEntry
from subscribers import erasing


class Command(BaseCommand):
    help = "Print everything that is held on one person, as JSON or as a page to read."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("address")
        parser.add_argument("--html", action="store_true", help="A page to read, not JSON.")
        parser.add_argument("--to", type=Path, help="Write a new file that only you can read.")

    def handle(self, *_: Any, address: str, html: bool, to: Path | None, **__: Any) -> None:
        try:
            who = erasing.who_is(address)
        except DomainError as error:
            raise CommandError(str(error)) from error
        told = erasing.tell(who, timezone.now())
        text = erasing.as_page(told) if html else json.dumps(told, indent=2, ensure_ascii=False)
        AuditEntry.objects.create(action="privacy.export", object_id=who.person or 0)
        if to is None:
            self.stdout.write(text)
            return
        try:
            to.touch(mode=0o600, exist_ok=False)
        except OSError as error:
            raise CommandError(f"{to} cannot be made: {error.strerror}.") from error
        to.write_text(text, encoding="utf-8")
        self.stdout.write(f"Written to {to}.")
