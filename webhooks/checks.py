"""System checks of hearing back: files that must be readable."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, register

from webhooks import recognising


@register()
def known_machines_can_be_read(**_: Any) -> list[CheckMessage]:
    """webhooks.E001: with a list of machines that cannot be read, machines would be people."""
    if not settings.MACHINE_NETWORKS_FILE:
        return []
    try:
        recognising.load(Path(settings.MACHINE_NETWORKS_FILE))
    except recognising.BadList as error:
        hint = "Mend the file, or unset MACHINE_NETWORKS_FILE. webhooks/known.toml has the form."
        return [Error(f"MACHINE_NETWORKS_FILE: {error}", hint=hint, id="webhooks.E001")]
    return []
