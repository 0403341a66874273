"""Sets of raw requests and events."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import models

if TYPE_CHECKING:
    from webhooks.models import Event, RawRequest


class RawRequestQuerySet(models.QuerySet["RawRequest"]):
    pass


class EventQuerySet(models.QuerySet["Event"]):
    pass
