"""Counters of requests, and hours of silence."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from django.db import connection, models

from webhooks import statements

if TYPE_CHECKING:
    from webhooks.models import Silence, WebhookCount


class SilenceQuerySet(models.QuerySet["Silence"]):
    def count_hours(self, since: datetime, until: datetime) -> None:
        """Count what was sent in these hours and what of it nobody told anything; once or again."""
        with connection.cursor() as cursor:
            cursor.execute(statements.COUNT_SILENCE, [since, until])


class WebhookCountQuerySet(models.QuerySet["WebhookCount"]):
    def add(self, account: int | None, outcome: str, hour: datetime, requests: int = 1) -> None:
        """Count requests. Not worth waiting for the disk."""
        with connection.cursor() as cursor:
            cursor.execute(statements.COUNT, [account, outcome, hour, requests])
