"""Suppress all whom a file names: `manage.py import_suppressions bounces.csv --reason bounced`."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from emailplatform.errors import DomainError
from subscribers import exchanging
from subscribers.exchanging import Usual
from subscribers.models import Suppression
from subscribers.querysets import Reach


class Command(BaseCommand):
    help = "Read a suppression list: CSV of addresses or of our hashes, ours or a provider’s."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path)
        parser.add_argument(
            "--reason",
            choices=[each for each in Suppression.Reason if each != "soft_bounced"],
            default="blocked",
            help="Of rows that do not say one.",
        )
        parser.add_argument("--stream", choices=Suppression.Stream.values, default="")
        parser.add_argument("--dry-run", action="store_true", help="Count; change nothing.")

    def handle(
        self, *_: Any, file: Path, reason: str, stream: str, dry_run: bool, **__: Any
    ) -> None:
        try:
            with file.open("rb") as content:
                taken = exchanging.read(
                    content,
                    file.name,
                    timezone.now(),
                    Usual(reason, Reach(stream=stream)),
                    is_rehearsal=dry_run,
                )
        except OSError as error:
            raise CommandError(f"{file} cannot be read: {error.strerror}.") from error
        except DomainError as error:
            raise CommandError(str(error)) from error
        counts = {"rows": taken.rows, "new": taken.new, "known": taken.known}
        for words, number in {**counts, "refused": taken.refused}.items():
            self.stdout.write(f"{number:>11,}  {words}")
        for problem in taken.problems:
            self.stdout.write(problem)
        if dry_run:
            self.stdout.write("Nothing was changed.")
