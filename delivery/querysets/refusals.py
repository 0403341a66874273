"""What mail servers refused, on its way to those who tell bounces."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import models

if TYPE_CHECKING:
    from delivery.models import Refusal


class RefusalQuerySet(models.QuerySet["Refusal"]):
    def take(self, limit: int) -> list[Refusal]:
        """Take the oldest refusals away, in the caller's transaction; nobody waits for them."""
        rows = list(self.order_by("pk").select_for_update(skip_locked=True)[:limit])
        self.filter(pk__in=[row.pk for row in rows]).delete()
        return rows
