"""Fill an empty installation with something to try: `manage.py demo_workspace`."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from delivery import demonstrating
from delivery.provisioning import provision
from emailplatform import env
from subscribers import importing
from subscribers.models import Subscriber

_DEMO = settings.BASE_DIR / "demo"


class Command(BaseCommand):
    help = "Create the first administrator and, on an empty installation, a demo workspace."

    def handle(self, *_: Any, **__: Any) -> None:
        password = demonstrating.make_admin()
        if password:
            self.stdout.write(self.style.SUCCESS(f"Sign in as admin, password {password}"))
            self.stdout.write(
                "Keep it: it is not shown again. To change it:"
                " .venv/bin/python manage.py changepassword admin"
            )
        for account in provision(env.text):
            self.stdout.write(f"Provider {account} was made from the environment.")
        if not Subscriber.objects.exists():
            self._fill()

    def _fill(self) -> None:
        body = (_DEMO / "newsletter.mjml").read_text(encoding="utf-8")
        workspace = demonstrating.make_workspace(body)
        url = f"http://127.0.0.1:{settings.SANDBOX_PORT}"
        demonstrating.make_sandbox_accounts(url, settings.SANDBOX_ACCOUNTS)
        with (_DEMO / "subscribers.csv").open("rb") as file:
            work = importing.start(file, "subscribers.csv", workspace.mailing_list)
        importing.confirm(work, work.mapping)
        while not work.finished_at:
            importing.run(work.pk)
            work.refresh_from_db()
        self.stdout.write(
            f"The demo workspace has {work.created_count:,} people on “{workspace.mailing_list}”"
            f" and a draft campaign, “{workspace.campaign}”."
        )
