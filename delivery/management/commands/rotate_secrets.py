"""Encrypt every stored secret under the newest key: `manage.py rotate_secrets`."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import transaction

from delivery.models import ProviderAccount
from emailplatform.secrets import CannotDecrypt


class Command(BaseCommand):
    help = (
        "Re-encrypt provider secrets under the first of ENCRYPTION_KEYS."
        " Put the new key first, run this, then remove the old one."
    )

    @transaction.atomic
    def handle(self, *_: Any, **__: Any) -> None:
        try:
            accounts = list(ProviderAccount.objects.select_for_update())
        except CannotDecrypt as error:
            raise CommandError(f"{error} Nothing was changed.") from error
        for account in accounts:
            account.save(update_fields=["secrets"])
        self.stdout.write(f"Secrets of {len(accounts)} provider accounts are under the newest key.")
