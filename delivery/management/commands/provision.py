"""Provider accounts from the environment: `manage.py provision`."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from delivery.provisioning import provision
from emailplatform import env
from emailplatform.errors import InvalidInput


class Command(BaseCommand):
    help = "Make provider accounts from SENDGRID_…, AWS_…, MAILGUN_…, POSTMARK_…, SMTP_URL."

    def handle(self, *_: Any, **__: Any) -> None:
        try:
            made = provision(env.text)
        except InvalidInput as error:
            raise CommandError(str(error)) from error
        for account in made:
            self.stdout.write(f"{account} was made. Its webhook address: {account.webhook_url}")
        if not made:
            self.stdout.write("Nothing to make: no new provider variables are set.")
