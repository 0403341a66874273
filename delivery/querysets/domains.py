"""The domains mails are sent from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import models

if TYPE_CHECKING:
    from delivery.models import SendingDomain


class SendingDomainQuerySet(models.QuerySet["SendingDomain"]):
    def tracked(self) -> SendingDomainQuerySet:
        """Return those whose counted links lead to a host of their own."""
        return self.filter(tracking_host__isnull=False)
