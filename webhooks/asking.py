"""Asks a provider what its webhooks did not tell, and stores the answers as if they had.

They go the usual way: what is known already is not applied twice.
"""

from __future__ import annotations

import json
from datetime import datetime

from delivery.models import ProviderAccount
from webhooks.models import RawRequest
from webhooks.querysets import NewRequest

HEADERS = json.dumps({"x-asked-for": "yes"})
"""Of a stored request that nobody posted."""


def ask(account: ProviderAccount, since: datetime, until: datetime) -> int:
    """Store what a provider answers about the time between; return how many events.

    Raises Unavailable or CannotBeAsked; what was stored by then stays, and may be asked again.
    """
    stored = 0
    for body in account.provider.told_since(since, until):
        RawRequest.objects.store(NewRequest(account.pk, HEADERS, body, None, False))
        stored += 1
    return stored
