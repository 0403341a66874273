"""End what is kept too long: `manage.py apply_retention --dry-run` shows what that is."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand
from django.utils import timezone

from subscribers import retaining


class Command(BaseCommand):
    help = "End data that is older than its period (KEEP_… in the settings), in small pieces."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="Count; change nothing.")
        parser.add_argument("--seconds", type=float, default=3600, help="At most so long.")

    def handle(self, *_: Any, dry_run: bool, seconds: float, **__: Any) -> None:
        now = timezone.now()
        if dry_run:
            for kind, number in retaining.due(now):
                kept = f"{kind.days()} days" if kind.days() else "for ever"
                self.stdout.write(f"{number:>11,}  {kind.label} (kept {kept})")
            self.stdout.write("Nothing was changed.")
            return
        ended = retaining.run(now, seconds)
        for kind in retaining.KINDS:
            if kind.name in ended:
                self.stdout.write(f"{ended[kind.name]:>11,}  {kind.label}")
