"""Limits per mailbox provider as people write them: a line each, like “gmail 20/sec”."""

from __future__ import annotations

import re
from typing import Any

from django import forms

from delivery.models import Stream
from subscribers.mailboxes import Mailbox

_RATE = re.compile(r"[1-9]\d{0,8}/(sec|min|hour|day)")
_EXAMPLE = "Write it like “gmail 20/sec” or “marketing yahoo 600/hour”."


class LaneLimitsField(forms.CharField):
    """Text in the form, a dict in the row: {"gmail": "20/sec", "marketing yahoo": "600/hour"}."""

    widget = forms.Textarea(attrs={"rows": 3, "spellcheck": "false", "placeholder": "gmail 20/sec"})

    def prepare_value(self, value: Any) -> Any:
        if isinstance(value, dict):
            return "\n".join(f"{lane} {rate}" for lane, rate in value.items())
        return value

    def clean(self, value: Any) -> dict[str, str]:
        lines = super().clean(value).splitlines()
        return dict(_read(line.lower().split()) for line in lines if line.strip())

    def has_changed(self, initial: Any, data: Any) -> bool:
        return bool(self.prepare_value(initial or {}) != (data or ""))


def _read(words: list[str]) -> tuple[str, str]:
    """Return a lane and its rate. Raises ValidationError."""
    *lane, rate = words
    if not _RATE.fullmatch(rate):
        raise forms.ValidationError(f"“{' '.join(words)}” ends in no rate. {_EXAMPLE}")
    if not lane or lane[-1] not in Mailbox.values:
        known = ", ".join(Mailbox.values)
        raise forms.ValidationError(f"“{' '.join(words)}” names none of {known}. {_EXAMPLE}")
    if len(lane) > 2 or (len(lane) == 2 and lane[0] not in Stream.values):
        known = ", ".join(Stream.values)
        raise forms.ValidationError(f"“{' '.join(words)}”: before {lane[-1]}, use one of {known}.")
    return " ".join(lane), rate
