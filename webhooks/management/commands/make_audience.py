"""`manage.py make_audience --people 1000000 --events 10000000`: something large to look at."""

from __future__ import annotations

import sys
import time
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import connection
from django.utils import timezone

from emailplatform.errors import DomainError
from emailplatform.terminal import Bar, duration
from subscribers import scoring
from webhooks import feeling, peopling

_VACUUMED = (
    "subscribers_subscriber",
    "subscribers_subscription",
    "subscribers_engagement",
    "delivery_message",
)


class Command(BaseCommand):
    help = (
        "Make up people, a year of campaigns to them, and what became of every mail: for trying"
        " and measuring at full size. Nobody of them exists (their addresses end in .example)."
        " A million people and ten million events take some minutes and about 10 GB;"
        " stop the workers meanwhile."
    )
    _bar: Bar | None = None

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--people", type=int, required=True, help="how many people")
        parser.add_argument("--events", type=int, default=0, help="about how many events (0)")
        parser.add_argument("--seed", type=int, default=1, help="another number, other people (1)")
        parser.add_argument(
            "--force", action="store_true", help="also if there are people or mails already"
        )

    def handle(self, *_: Any, people: int, events: int, seed: int, force: bool, **__: Any) -> None:
        if not (settings.LOCAL or settings.DEBUG):
            raise CommandError("This makes people up: it works with LOCAL=on or DEBUG=on only.")
        if not (force or peopling.is_empty()):
            raise CommandError(
                "There are people or mails already. Use an empty database, or --force to add to it."
            )
        started = time.monotonic()
        try:
            made = peopling.make(people, events, seed, timezone.now(), self._progress)
        except DomainError as error:
            raise CommandError(str(error)) from error
        self._close()
        self._vacuum(_VACUUMED)
        now = timezone.now()
        for counted in feeling.rebuild(now, is_check=False):
            self._progress("Engagement", counted.last, counted.highest)
        self._close()
        self._vacuum(("subscribers_engagement",))
        scoring.score_people(now)
        spent = duration(time.monotonic() - started)
        self.stdout.write(
            f"{made.people:,} people, {made.campaigns:,} campaigns, {made.messages:,} mails,"
            f" {made.events:,} events: {spent}."
        )

    def _progress(self, what: str, done: int, total: int) -> None:
        if self._bar is None or self._bar.label != what:
            self._close()
            self._bar = Bar(getattr(self.stdout, "_out", sys.stdout), what, total)
        self._bar.show(done, total)

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()

    def _vacuum(self, tables: tuple[str, ...]) -> None:
        """Let indexes be read without their tables, as in a database that has run for a while."""
        if connection.in_atomic_block:
            return
        with connection.cursor() as cursor:
            for table in tables:
                cursor.execute(f"VACUUM ANALYZE {table}")
