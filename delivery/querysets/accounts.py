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
        """Accounts that may be given mail of this stream now, if only to try them."""
        ready = Q(cooling_until=None) | Q(cooling_until__lte=now)
        half_open = Q(circuit=self.model.Circuit.HALF_OPEN)
        active = self.model.Status.ACTIVE
        rows = self.filter(ready, status=active, streams__contains=[stream]).exclude(half_open)
        # Only the one that is chosen is decrypted.
        return rows.defer("secrets")
