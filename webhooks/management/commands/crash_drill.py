"""Kill, stop, flush and cut off everything while mail is sent, and count what came of it.

`manage.py crash_drill` brings up a system of its own (PostgreSQL, Redis, web, workers, sandboxed
providers) under var/drill. Exit code 1 if a mail was lost, doubled, or in doubt without a reason.
"""

from __future__ import annotations

import logging
import os
import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from delivery.providers import registry
from webhooks.drilling import entering, scenarios, showing
from webhooks.drilling.stage import Plan, stage


class Command(BaseCommand):
    help = (
        "Break everything while mail is sent, and count what was lost or doubled."
        " Works in a system of its own under var/drill; about eight minutes."
    )
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        names = ", ".join(scenarios.SCENARIOS)
        parser.add_argument("--people", type=int, default=500, help="People in each campaign.")
        parser.add_argument(
            "--scenario",
            nargs="+",
            default=list(scenarios.SCENARIOS),
            metavar="NAME",
            choices=list(scenarios.SCENARIOS),
            help=f"Only these: {names}.",
        )
        parser.add_argument(
            "--kinds",
            default="sendgrid,smtp",
            help="Kinds of provider, the first one for what is not tried with each.",
        )
        parser.add_argument("--seed", type=int, default=1, help="Of what happens at random.")
        parser.add_argument("--keep", action="store_true", help="Leave var/drill as it is then.")

    def handle(self, *_: Any, keep: bool, **options: Any) -> None:
        plan = Plan(
            people=options["people"],
            kinds=_kinds(options["kinds"]),
            seed=options["seed"],
        )
        if not os.environ.get(entering.INSIDE):
            try:
                code = entering.enter(sys.argv[2:], keep=keep)
            except entering.Refused as error:
                raise CommandError(str(error)) from error
            if code:
                sys.exit(code)
            return
        try:
            self._drill(plan, options["scenario"])
        except KeyboardInterrupt:
            raise CommandError("Stopped; nothing was proved.") from None

    def _drill(self, plan: Plan, names: list[str]) -> None:
        # It knows that the database is away: it did it.
        logging.getLogger("delivery.journaling").setLevel(logging.ERROR)
        table = showing.Table(self.stdout, self.style)
        self.stdout.write("Bringing up a system of its own …")
        with stage(plan) as ready:
            table.begin(plan)
            for outcome in scenarios.play(ready, names):
                table.row(outcome)
        if not table.end():
            raise CommandError(
                "Mail was lost, doubled or in doubt without a reason: see var/drill."
            )


def _kinds(text: str) -> tuple[str, ...]:
    kinds = tuple(text.replace(",", " ").split())
    if not kinds or not set(kinds) <= set(registry.KINDS):
        raise CommandError(f"--kinds takes some of {', '.join(registry.KINDS)}.")
    return kinds
