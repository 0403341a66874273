"""`manage.py check_addresses`: ask DNS again about the domains of people, and say what it found."""

from __future__ import annotations

import re
import sys
import time
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from emailplatform.errors import DomainError
from emailplatform.terminal import Bar
from subscribers import rechecking
from subscribers.flagging import Kind
from subscribers.models import CheckRun, MailingList

_STEP_S = 0.5


class Command(BaseCommand):
    """Run a re-check to its end, with progress, and print the people by what is wrong."""

    help = "Check the addresses of people once more: do their domains exist, do they take mail?"

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--list", type=int, metavar="ID", help="of one list; else of everybody")
        parser.add_argument(
            "--older-than", metavar="90d", help="only domains not asked about for so many days"
        )
        parser.add_argument("--limit", type=int, metavar="N", help="at most so many domains")

    def handle(self, **options: Any) -> None:
        """Check, or raise CommandError with one sentence."""
        try:
            run = rechecking.start(
                _list(options["list"]),
                older_than_days=_days(options["older_than"]),
                limit=_limit(options["limit"]),
            )
        except DomainError as error:
            raise CommandError(str(error)) from error
        self._work(run)
        if run.status != CheckRun.Status.DONE:
            raise CommandError(f"The check is {run.get_status_display().lower()}.")
        self._tell(run)

    def _work(self, run: CheckRun) -> None:
        """Work until it is over; a worker may take turns with us."""
        bar = Bar(getattr(self.stdout, "_out", sys.stdout), "Checking")
        try:
            while run.is_working:
                if not rechecking.run(run.pk, _STEP_S):
                    time.sleep(_STEP_S)
                run.refresh_from_db()
                bar.show(run.done_count, run.domain_count)
        except KeyboardInterrupt:
            run.cancel(timezone.now())
        bar.close()

    def _tell(self, run: CheckRun) -> None:
        for label, count in [
            ("domains asked about", run.done_count),
            ("of them not known", run.unknown_count),
            *((str(kind.label), run.people.get(kind, 0)) for kind in Kind),
            ("domain not known", run.people.get("unknown", 0)),
            ("subscriptions held back", run.held_count),
            ("subscriptions let go", run.released_count),
        ]:
            self.stdout.write(f"{count:>12,}  {label}")


def _list(pk: int | None) -> MailingList | None:
    if pk is None:
        return None
    known = MailingList.objects.filter(pk=pk).first()
    if known is None:
        raise CommandError(f"There is no list {pk}.")
    return known


def _days(text: str | None) -> int | None:
    if not text:
        return None
    match = re.fullmatch(r"([1-9]\d{0,3})d?", text)
    if match is None:
        raise CommandError(f"--older-than {text}: write days, like 90d.")
    return int(match[1])


def _limit(number: int | None) -> int | None:
    if number is not None and number < 1:
        raise CommandError(f"--limit {number}: write a number above zero.")
    return number
