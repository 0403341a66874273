"""Dead letters on the terminal: how many of which class, and another try."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.utils import timezone

from delivery import reviving
from delivery.models import Stream
from delivery.reviving import CLASSES, Choice


class Command(BaseCommand):
    help = "Count messages that failed for good, by class of error; with --retry, try them again."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--campaign", type=int, help="Only of this campaign (its number).")
        parser.add_argument("--fault", choices=list(CLASSES), default="", help="Class of error.")
        parser.add_argument("--provider", type=int, help="Only of this provider (its number).")
        parser.add_argument("--stream", choices=Stream.values, default="")
        parser.add_argument("--type", default="", help="Name of a message type.")
        parser.add_argument(
            "--retry",
            action="store_true",
            help="Queue them again: addresses that do not work only by --fault address.",
        )

    def handle(self, *_: Any, retry: bool, **options: Any) -> None:
        names = ("campaign", "fault", "provider", "stream", "type")
        choice = Choice(**{name: options[name] for name in names})
        counts = reviving.by_class(choice)
        for name, count in counts.items():
            self.stdout.write(f"{count:>10,}  {name:<10} {CLASSES[name]}")
        if not counts:
            self.stdout.write("No dead letters.")
        if retry:
            self.stdout.write(f"{self._retry(choice):,} queued again.")

    def _retry(self, choice: Choice) -> int:
        total, is_rest = 0, True
        while is_rest:
            count, is_rest = reviving.revive(choice, timezone.now())
            total += count
        return total
