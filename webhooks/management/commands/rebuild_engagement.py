"""`manage.py rebuild_engagement [--check]`: count what people did from messages and events."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from emailplatform.terminal import Bar
from webhooks import feeling


class Command(BaseCommand):
    help = (
        "Count everybody's engagement anew from stored messages and events, say of whom it was"
        " wrong, and put it right. To be run once after SCORE_HALF_LIFE_DAYS was changed."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--check",
            action="store_true",
            help="Change nothing: only say who differs. Exit status 1 if anybody does.",
        )

    def handle(self, *_: Any, check: bool, **__: Any) -> None:
        bar = Bar(getattr(self.stdout, "_out", sys.stdout), "People")
        wrong, some = 0, list[int]()
        for counted in feeling.rebuild(timezone.now(), is_check=check):
            wrong += counted.wrong
            some += counted.some
            bar.show(counted.last, counted.highest)
        bar.close()
        words = f" (among them {', '.join(map(str, some[:5]))})" if some else ""
        if check and wrong:
            raise CommandError(
                f"{wrong:,} people differ{words}. Without --check they are put right."
            )
        self.stdout.write(
            f"{wrong:,} people differed and are right now{words}."
            if wrong
            else "Everybody is right."
        )
