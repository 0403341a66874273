"""Give an account mail again at once: `manage.py reset_breaker NAME`."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from delivery import breaking
from delivery.models import ProviderAccount


class Command(BaseCommand):
    help = "Close the breaker of a provider account: it is given mail again at once."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", help="The account, as the admin calls it.")

    def handle(self, *_: Any, name: str, **__: Any) -> None:
        account = ProviderAccount.objects.defer("secrets").filter(name=name).first()
        if account is None:
            names = ", ".join(ProviderAccount.objects.values_list("name", flat=True)) or "none"
            raise CommandError(f"There is no provider {name!r}. There are: {names}.")
        if breaking.close(account, "Reset by manage.py reset_breaker.", timezone.now()):
            self.stdout.write(f"{name} is given mail again.")
        else:
            self.stdout.write(f"{name} was not left alone: nothing to reset.")
