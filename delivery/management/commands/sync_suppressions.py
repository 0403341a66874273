"""Level our suppressions and the providers' lists: `manage.py sync_suppressions --dry-run`."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from delivery import syncing
from delivery.models import ListComparison, ProviderAccount

COLUMNS = ("there", "here", "only there", "only here", "differing", "taken", "given", "removed")


class Command(BaseCommand):
    help = "Compare our suppressions with the providers’ own lists, and level both."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--account", metavar="NAME", default="", help="Only this provider.")
        parser.add_argument(
            "--dry-run", action="store_true", help="Compare; suppress and tell nobody."
        )

    def handle(self, *_: Any, account: str, dry_run: bool, **__: Any) -> None:
        found = self._found(account, dry_run)
        self.stdout.write(f"{'':20}" + "".join(f"{each:>12}" for each in COLUMNS))
        for each in found:
            self.stdout.write(f"{each.provider.name:20.20}" + _numbers(each))
        if dry_run:
            self.stdout.write("No suppression was changed, here or there.")
        stopped = [f"{each.provider}: {each.error}" for each in found if each.error]
        if stopped:
            raise CommandError("\n".join([*stopped, "What is done is kept: run it again later."]))

    def _found(self, account: str, dry_run: bool) -> list[ListComparison]:
        if not account:
            return syncing.sync_all(is_rehearsal=dry_run)
        row = ProviderAccount.objects.filter(name=account).first()
        if row is None:
            names = ", ".join(ProviderAccount.objects.values_list("name", flat=True)) or "none"
            raise CommandError(f"There is no provider called {account}. There are: {names}.")
        found = syncing.sync(row, is_rehearsal=dry_run)
        if found is None:
            raise CommandError(f"{row} keeps no list of addresses.")
        return [found]


def _numbers(told: ListComparison) -> str:
    return "".join(f"{getattr(told, each.replace(' ', '_')):>12,}" for each in COLUMNS)
