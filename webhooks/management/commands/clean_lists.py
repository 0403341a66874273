"""`manage.py clean_lists [--dry-run] [--confirm]`: the rules of hygiene, now."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db.models import Count
from django.utils import timezone

from subscribers.models import HygieneRun
from webhooks import cleaning

SHOWN = 20


class Command(BaseCommand):
    help = (
        "Look for whom the active rules of hygiene speak of, and do what they say, as beat does"
        " every night. Rules are made under Audience, List hygiene."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--dry-run", action="store_true", help="Change nobody: only say who and why."
        )
        parser.add_argument(
            "--confirm",
            action="store_true",
            help="Also if it touches more people than HYGIENE_MOST_PERCENT.",
        )

    def handle(self, *_: Any, dry_run: bool, confirm: bool, **__: Any) -> None:
        now = timezone.now()
        if dry_run:
            run = cleaning.look(now, "manage.py")
        else:
            run = cleaning.clean(now, "manage.py", is_confirmed=confirm)
        acts = run.acts.order_by("rule__name", "pk")
        for name, number in acts.values_list("rule__name").annotate(Count("pk")):
            self.stdout.write(f"{name}: {number:,} people")
        for act in acts.select_related("subscriber")[:SHOWN]:
            self.stdout.write(f"  {act.subscriber.email}: {act.reason}")
        if run.found > SHOWN:
            self.stdout.write(f"  … and {run.found - SHOWN:,} more, see run {run.pk} in the admin.")
        self.stdout.write(f"{run.found:,} of {run.active_people:,} people. {_ending(run)}")
        if run.status == HygieneRun.Status.WAITING:
            raise CommandError("Nothing was done. Look at who it is, then say --confirm.")


def _ending(run: HygieneRun) -> str:
    return f"{HygieneRun.Status(run.status).label}."
