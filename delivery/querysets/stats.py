"""The counters of campaigns."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import models

if TYPE_CHECKING:
    from delivery.models import CampaignStat


class CampaignStatQuerySet(models.QuerySet["CampaignStat"]):
    def sent_by_provider(self, campaign: int) -> dict[int, int]:
        """Return how many messages of a campaign each provider account has accepted."""
        rows = self.filter(campaign=campaign).order_by().values_list("provider")
        return dict(rows.annotate(models.Sum("sent")))
