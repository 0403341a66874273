"""Write the suppression list as CSV: `manage.py export_suppressions > list.csv`."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from emailplatform.models import AuditEntry
from subscribers import exchanging


class Command(BaseCommand):
    help = "Write all suppressions as CSV: hashes, and addresses only where asked for and known."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--addresses", action="store_true", help="Addresses of people we know.")

    def handle(self, *_: Any, addresses: bool, **__: Any) -> None:
        AuditEntry.objects.create(action="suppression.export", object_id=0)
        for line in exchanging.write(addresses):
            self.stdout.write(line, ending="")
