"""Count the messages of campaigns anew, and say where the counters were wrong."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from campaigns.models import Campaign
from delivery import counting
from delivery.models import ProviderAccount


class Command(BaseCommand):
    help = "Recount what became of messages: of one campaign, or of all and mail sent by API."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("campaign", nargs="?", type=int, help="The number of one campaign.")

    def handle(self, *_: Any, campaign: int | None, **__: Any) -> None:
        rows = Campaign.objects.order_by("pk")
        if campaign is not None:
            rows = rows.filter(pk=campaign)
            if not rows.exists():
                raise CommandError(f"There is no campaign {campaign}.")
        accounts = dict(ProviderAccount.objects.values_list("pk", "name"))
        for pk, name in rows.values_list("pk", "name"):
            self._rebuild(pk, f"Campaign {pk} ({name})", accounts)
        if campaign is None:
            self._rebuild(None, "Mail sent by API", accounts)

    def _rebuild(self, campaign: int | None, label: str, accounts: dict[int, str]) -> None:
        found = "; ".join(
            f"{accounts[account]}: {', '.join(f'{name} {by:+}' for name, by in wrong.items())}"
            for account, wrong in counting.rebuild(campaign).items()
        )
        self.stdout.write(f"{label}: {found or 'right as it was'}")
