"""The priorities of mail."""

from __future__ import annotations

from django.db import models


class Stream(models.TextChoices):
    """Priority of a message (design 4.3)."""

    CRITICAL = "critical", "Critical"
    TRANSACTIONAL = "transactional", "Transactional"
    MARKETING = "marketing", "Marketing"
