"""Which host the counted links of a sender's mails lead to."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from django.conf import settings
from django.db import InterfaceError, OperationalError

from delivery.models import SendingDomain

KNOWN_FOR_S = 30.0
"""How long a process believes what it read: a new host works after that."""


@dataclass
class _Known:
    """Sending domain -> tracking host, as this process knows them."""

    hosts: dict[str, str] = field(default_factory=dict)
    until: float = 0.0
    """Monotonic seconds."""


_known = _Known()


def hosts() -> dict[str, str]:
    """Return sending domain -> tracking host; while the database is away, as it was known last."""
    now = time.monotonic()
    if now >= _known.until:
        try:
            rows = SendingDomain.objects.tracked().values_list("domain", "tracking_host")
            _known.hosts = {domain: host for domain, host in rows if host}
        except (OperationalError, InterfaceError):
            if not _known.until:
                raise
        _known.until = now + KNOWN_FOR_S
    return _known.hosts


def forget() -> None:
    """Read the table again when it is next asked for."""
    _known.until = 0.0


def is_counted_link(url: str) -> bool:
    """Say whether an address is a counted link on a tracking host: a provider wrapped it again.

    Asks nobody, as it is called in the middle of a COPY: call `hosts` before.
    """
    known = _known.hosts
    return bool(known) and any(url.startswith(f"https://{host}/c/") for host in known.values())


def tracking_base(from_email: str) -> str:
    """Return the address below which a sender's counted links are, without a slash."""
    domain = from_email.rpartition("@")[2].lower()
    host = hosts().get(domain, "")
    return f"https://{host}" if host else str(settings.PUBLIC_URL)
