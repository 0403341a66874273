"""Large mails take time to leave: urllib3 gives a whole upload the time it has for connecting.

Three seconds are enough for a batch of texts and not for a file on a slow line: such a call broke
off in the middle, in doubt though nothing had arrived.
"""

from __future__ import annotations

from typing import Any

import requests
from requests.adapters import HTTPAdapter

from delivery.providers.base import READ_TIMEOUT_S

LARGE = 1_000_000
"""Bytes of a call from which it gets a connection and a time-out of its own."""
BYTES_PER_S = 1_000_000
"""The slowest line that is waited for: 8 Mbit/s."""
MOST_S = 1.5 * READ_TIMEOUT_S
"""But no longer than that: the lease of a hand-off has to outlive it."""


def extra_s(size: int) -> float:
    """Return how much longer a call of so many bytes may take to leave, in seconds."""
    return min(size / BYTES_PER_S, MOST_S) if size > LARGE else 0.0


class PatientAdapter(HTTPAdapter):
    """Sends as `requests` does, but waits for a large body to leave."""

    def send(self, request: requests.PreparedRequest, *args: Any, **options: Any) -> Any:
        """Send; `options["timeout"]` is the pair (connect, read) that all our calls have."""
        size = int(request.headers.get("Content-Length") or 0)
        if size > LARGE:
            # A kept connection would go on with the time-out of the call before.
            self.poolmanager.clear()
            connect, read = options["timeout"]
            # What the kernel has taken is still on its way when the wait for the answer begins.
            options["timeout"] = (connect + extra_s(size), read + extra_s(size))
        return super().send(request, *args, **options)
