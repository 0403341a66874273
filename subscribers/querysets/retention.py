"""How far data was ended by age."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from django.db import models
from django.db.models import F

if TYPE_CHECKING:
    from subscribers.models import RetentionRun


class RetentionRunQuerySet(models.QuerySet["RetentionRun"]):
    def begin(self, kind: str, now: datetime, before: datetime) -> None:
        """Write down what is about to be ended, before any of it is."""
        self.update_or_create(
            kind=kind, defaults={"begun_until": before}, create_defaults={
                "begun_until": before, "ran_at": now, "ended": 0,
            },
        )  # fmt: skip

    def note(self, kind: str, now: datetime, ended: int, until: datetime | None) -> None:
        """Write down a run; `until`: nothing older is left, None: it did not get so far."""
        reached = {} if until is None else {"done_until": until}
        rows = self.filter(kind=kind)
        rows.update(ran_at=now, ended=ended, total=F("total") + ended, **reached)
