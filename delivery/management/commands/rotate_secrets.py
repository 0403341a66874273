"""Encrypt every stored secret under the newest key: `manage.py rotate_secrets`."""

from __future__ import annotations

from typing import Any

from django.apps import apps
from django.core.management.base import BaseCommand, CommandError
from django.db import models, transaction

from emailplatform.secrets import CannotDecrypt, EncryptedJSONField


class Command(BaseCommand):
    help = (
        "Re-encrypt all stored secrets under the first of ENCRYPTION_KEYS."
        " Put the new key first, run this, then remove the old one."
    )

    @transaction.atomic
    def handle(self, *_: Any, **__: Any) -> None:
        for model in apps.get_models():
            fields = [
                each.name
                for each in model._meta.get_fields()
                if isinstance(each, EncryptedJSONField)
            ]
            if fields and not model._meta.proxy:
                self._rotate(model, fields)

    def _rotate(self, model: type[models.Model], fields: list[str]) -> None:
        try:
            rows = list(model._default_manager.select_for_update())
        except CannotDecrypt as error:
            raise CommandError(f"{error} Nothing was changed.") from error
        for row in rows:
            row.save(update_fields=fields)
        names = model._meta.verbose_name if len(rows) == 1 else model._meta.verbose_name_plural
        self.stdout.write(f"Secrets of {len(rows)} {names} are under the newest key.")
