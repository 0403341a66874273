"""Mail in doubt: settled by what was heard of it, else, if somebody waits for it, sent again."""

from __future__ import annotations

from datetime import datetime, timedelta

from delivery import resending
from webhooks import concluding
from webhooks.models import RawRequest

UNREAD_AFTER = timedelta(seconds=10)
"""A stored webhook that waits longer than this is a backlog: the evidence may lie in it."""


def settle(now: datetime) -> int:
    """Settle what events tell; send the rest again where that is due; return how many messages.

    Nothing is sent again while webhooks lie unread: a mail that arrived would go out twice.
    """
    concluding.settle_doubts()
    if RawRequest.objects.wait_since(now - UNREAD_AFTER):
        return 0
    return resending.resend_doubtful(now)
