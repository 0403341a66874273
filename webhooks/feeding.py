"""Events → what endpoints are to be told: queued once each, none lost, whoever dies.

Apart from applying, which has no cost by it: each endpoint remembers how far it has got, and only
what can no longer change its order is looked at.
"""

from __future__ import annotations

from datetime import datetime

from webhooks.models import Delivery, Endpoint, Horizon

MOST_ROUNDS = 50
"""Chunks per call: what is left is fed by the next."""


def feed(now: datetime) -> int:
    """Queue the events that are new for each endpoint; return how many chunks there were.

    Not to be called inside of a transaction.
    """
    if not Endpoint.objects.enabled().exists():
        return 0
    settled = Horizon.objects.settled()
    for chunk in range(MOST_ROUNDS):
        if not Delivery.objects.feed(settled, now):
            return chunk
    return MOST_ROUNDS
