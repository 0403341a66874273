"""Sets of mails that were sent by API."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from django.db import models

if TYPE_CHECKING:
    from delivery.models import Mail

_NOTHING: dict[str, Any] = {
    "reply_to": "",
    "to_name": "",
    "copies": {},
    "refused_copies": {},
    "context": {},
    "subject": "",
    "html": "",
    "text": "",
    "headers": {},
    "tags": [],
    "metadata": {},
}


class MailQuerySet(models.QuerySet["Mail"]):
    def forget(self, messages: Collection[int]) -> int:
        """Delete what was written in the mails of these messages; return how many had anything.

        The rows stay: a message that was sent by API has one.
        """
        return self.filter(pk__in=messages).exclude(**_NOTHING).update(**_NOTHING)
