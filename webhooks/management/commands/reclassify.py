"""Judge again whose opens and clicks were, after the rules have changed."""

from __future__ import annotations

import re
from argparse import ArgumentParser
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from campaigns.models import Campaign
from webhooks import reclassifying
from webhooks.reclassifying import Turn


class Command(BaseCommand):
    help = "Judge opens and clicks again: people, machines or unsure. Then mend marks and counters."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--since", default="", help="7d, 12h, or a date: 2026-11-01.")
        parser.add_argument("--campaign", type=int, help="Only the events of this campaign.")
        parser.add_argument("--dry-run", action="store_true", help="Say what would change.")
        parser.add_argument("--from-id", type=int, help="Go on where a run was broken off.")

    def handle(self, *_: Any, **options: Any) -> None:
        campaign, first = options["campaign"], options["from_id"]
        if campaign is not None and not Campaign.objects.filter(pk=campaign).exists():
            raise CommandError(f"There is no campaign {campaign}.")
        if first is None:
            first = reclassifying.first_since(_moment(options["since"], timezone.now()))
        if not first:
            self.stdout.write("No events came since then.")
            return
        self._run(first, campaign, is_dry=options["dry_run"])

    def _run(self, first: int, campaign: int | None, *, is_dry: bool) -> None:
        turns: Counter[Turn] = Counter()
        events, last = 0, first - 1
        try:
            for chunk in reclassifying.reclassify(first, campaign, is_dry=is_dry):
                turns += chunk.turns
                events, last = events + chunk.events, chunk.last
        finally:
            self._report(turns, events, is_dry=is_dry)
            # Also after an error or Ctrl-C: what was judged until then is kept.
            self.stdout.write(
                f"Judged up to event {last}. To go on from there: --from-id {last + 1}"
            )

    def _report(self, turns: Counter[Turn], events: int, *, is_dry: bool) -> None:
        would = "would change" if is_dry else "changed"
        self.stdout.write(f"{events} opens and clicks looked at; {turns.total()} verdicts {would}.")
        if turns:
            self.stdout.write(f"{'event':<8} {'was':<24} {'is':<24} {'how many':>8}")
        for turn, number in sorted(turns.items()):
            self.stdout.write(f"{turn.type:<8} {turn.before:<24} {turn.after:<24} {number:>8}")


def _moment(given: str, now: datetime) -> datetime:
    """Return since when: a span before now, or a date. Raises CommandError for neither."""
    if span := re.fullmatch(r"(\d{1,5})([dh])", given):
        number = int(span[1])
        return now - (timedelta(days=number) if span[2] == "d" else timedelta(hours=number))
    try:
        moment = datetime.fromisoformat(given)
    except ValueError:
        raise CommandError("Say since when: --since 7d, 12h or 2026-11-01.") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
