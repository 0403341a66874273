"""Accounts that never tell whether mail was delivered."""

from __future__ import annotations

from django.db import models

from delivery.models import ProviderAccount


class QuietAccount(models.Model):
    """An account which nobody heard a delivery from: what it sent by then counts as received."""

    account = models.OneToOneField(ProviderAccount, models.CASCADE, primary_key=True)
    swept_until = models.DateTimeField()
    """Mails sent earlier are counted."""

    def __str__(self) -> str:
        return f"{self.account_id} until {self.swept_until:%Y-%m-%d %H:%M}"
