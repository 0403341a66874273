"""Sets of provider accounts."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Self

from django.db import models
from django.db.models import Q

if TYPE_CHECKING:
    from delivery.models import ProviderAccount


class ProviderAccountQuerySet(models.QuerySet["ProviderAccount"]):
    def usable(self, stream: str, now: datetime) -> Self:
        """Accounts that may be given mail of this stream now."""
        ready = Q(cooling_until=None) | Q(cooling_until__lte=now)
        active = self.model.Status.ACTIVE
        rows = self.filter(ready, status=active, streams__contains=[stream])
        # Only the one that is chosen is decrypted.
        return rows.defer("secrets")
