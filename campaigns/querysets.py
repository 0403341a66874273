"""Sets of campaigns."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Self

from django.db import models

if TYPE_CHECKING:
    from campaigns.models import Campaign


class CampaignQuerySet(models.QuerySet["Campaign"]):
    def due_to_start(self, now: datetime) -> Self:
        """Scheduled campaigns whose time has come, the longest waiting first."""
        rows = self.filter(status=self.model.Status.SCHEDULED, send_at__lte=now)
        return rows.order_by("send_at", "pk")

    def over(self) -> Self:
        """Campaigns that were sent, whether or not everybody got their mail."""
        return self.filter(status__in=[self.model.Status.SENT, self.model.Status.HELD])

    def sending(self) -> Self:
        return self.filter(status=self.model.Status.SENDING).order_by("launched_at", "pk")
