"""`manage.py score_people`: scores, stages and the rest as of now, as beat does it every night."""

from __future__ import annotations

import sys
from typing import Any

from django.core.management.base import BaseCommand
from django.utils import timezone

from emailplatform.terminal import Bar, duration
from subscribers import scoring


class Command(BaseCommand):
    help = "Bring everybody's engagement up to date: score, stage, chance of churn, best hour."

    def handle(self, *_: Any, **__: Any) -> None:
        bar: Bar | None = None

        def say(done: int, total: int) -> None:
            nonlocal bar
            bar = bar or Bar(getattr(self.stdout, "_out", sys.stdout), "People", total)
            bar.show(done, total)

        run = scoring.score_people(timezone.now(), say)
        if bar is not None:
            bar.close()
        stages = ", ".join(f"{number:,} {stage}" for stage, number in sorted(run.stages.items()))
        self.stdout.write(
            f"{run.people:,} people scored in {duration(run.took_ms / 1000)},"
            f" {run.changed:,} changed: {stages or 'nobody has had mail yet'}."
        )
