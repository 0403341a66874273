"""Dead letters: messages that failed for good, as something of their own in admin and rights."""

from __future__ import annotations

from delivery.models.messages import Message


class DeadLetter(Message):
    """A message that failed or was too late, until somebody has it tried again."""

    class Meta:
        proxy = True
        ordering = ["-id"]
        verbose_name = "dead letter"
