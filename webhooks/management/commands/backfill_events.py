"""manage.py backfill_events: ask a provider for what its webhooks did not tell."""

from __future__ import annotations

import re
from argparse import ArgumentParser
from datetime import datetime, timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from delivery.models import ProviderAccount
from delivery.providers.base import ProviderError
from webhooks import asking

_SPAN = re.compile(r"([1-9]\d{0,3})([mhd])")
_UNITS = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}


class Command(BaseCommand):
    help = (
        "Ask a provider (Mailgun, Postmark) what became of mail since then. The answers are applied"
        " like webhooks; what is known already changes nothing."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("account", help="its name, as under Delivery, Providers")
        parser.add_argument("--since", default="24h", help="like 90m, 24h or 3d; 24h if left out")
        parser.add_argument("--until", default="", help="the same: until so long ago; now")

    def handle(self, *_args: Any, **options: Any) -> None:
        now = timezone.now()
        account = ProviderAccount.objects.filter(name=options["account"]).first()
        if account is None:
            names = ", ".join(ProviderAccount.objects.values_list("name", flat=True)) or "none yet"
            raise CommandError(f"There is no provider “{options['account']}”. There are: {names}.")
        since, until = _ago(options["since"], now), _ago(options["until"], now)
        if since >= until:
            raise CommandError("--since must be longer ago than --until.")
        try:
            stored = asking.ask(account, since, until)
        except ProviderError as error:
            raise CommandError(str(error)) from error
        self.stdout.write(f"{stored} events of {account} are stored and will be applied.")


def _ago(given: str, now: datetime) -> datetime:
    if not given:
        return now
    found = _SPAN.fullmatch(given)
    if found is None:
        raise CommandError(f"“{given}” is no span of time; write 90m, 24h or 3d.")
    return now - int(found[1]) * _UNITS[found[2]]
