"""Fill an empty installation with something to try: `manage.py demo_workspace`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.files import File
from django.core.management.base import BaseCommand
from django.utils import timezone

from delivery import demonstrating
from emailplatform import env
from delivery.provisioning import provision
from subscribers import importing
from subscribers.models import Import, Subscriber

_DEMO = settings.BASE_DIR / "demo"


class Command(BaseCommand):
    help = "Create the first administrator and, on an empty installation, a demo workspace."

    def handle(self, *_: Any, **__: Any) -> None:
        password = demonstrating.make_admin()
        if password:
            self.stdout.write(self.style.SUCCESS(f"Sign in as admin, password {password}"))
            self.stdout.write("Keep it: it is not shown again (manage.py changepassword admin).")
        for account in provision(env.text):
            self.stdout.write(f"Provider {account} was made from the environment.")
        if Subscriber.objects.exists():
            return
        body = (_DEMO / "newsletter.mjml").read_text(encoding="utf-8")
        workspace = demonstrating.make_workspace(body)
        url = f"http://127.0.0.1:{settings.SANDBOX_PORT}"
        demonstrating.make_sandbox_accounts(url, settings.SANDBOX_ACCOUNTS)
        self.stdout.write("Importing demo/subscribers.csv …")
        done = import_file(_DEMO / "subscribers.csv", workspace)
        self.stdout.write(
            f"{done.created_count:,} people are on the list {workspace.mailing_list}."
        )
