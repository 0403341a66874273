"""Erase everything about one person: `manage.py erase_person ana@example.com`."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from emailplatform.errors import DomainError
from emailplatform.models import AuditEntry
from subscribers import erasing


class Command(BaseCommand):
    help = (
        "Erase everything about one person but the keyed hash of a suppression. Figures of"
        " campaigns stay. It cannot be taken back."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("address")
        parser.add_argument("--yes", action="store_true", help="Do not ask.")
        parser.add_argument(
            "--let-back",
            action="store_true",
            help="Do not suppress the address: an import may bring it back.",
        )

    def handle(self, *_: Any, address: str, yes: bool, let_back: bool, **__: Any) -> None:
        try:
            who = erasing.who_is(address)
        except DomainError as error:
            raise CommandError(str(error)) from error
        if not yes and input(f"Type the address again to erase {who.email}: ") != address:
            raise CommandError("That is another address. Nothing was erased.")
        done = erasing.erase(who, timezone.now(), keep_out=not let_back)
        AuditEntry.objects.create(action="privacy.erase", object_id=who.person or 0)
        for words, number in done.counts.items():
            self.stdout.write(f"{number:>9,}  {words}")
        kept = "is kept out: only its owner can sign up again" if done.is_kept_out else "may return"
        self.stdout.write(f"Erased. The address {kept}.")
