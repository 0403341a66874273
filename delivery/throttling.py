"""Lanes that a mailbox provider finds too fast: slowed at once, climbing back by themselves.

Told by 421, 4.7.x, 429 or Retry-After. The state stands in PostgreSQL for all workers; each
reads it once a second.
"""

from __future__ import annotations

import threading
import time
from datetime import datetime, timedelta

from django.db.models import Sum

from delivery.models import Handoff, LaneState, ProviderAccount

READ_EVERY_S = 1.0
LEAST_BASE = 60
"""Per minute: what a lane is taken to have carried that has hardly begun."""
LONGEST_HOLD = timedelta(hours=1)
"""A provider may ask to be left alone for so long; afterwards it is asked again, slowly."""

Key = tuple[int, str, str]
"""Account, stream, mailbox."""


class _Known:
    """The slowed lanes as they were read last."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._read_at = float("-inf")
        self._lanes: dict[Key, LaneState] = {}

    def lanes(self, now: datetime) -> dict[Key, LaneState]:
        moment = time.monotonic()
        with self._lock:
            if moment - self._read_at < READ_EVERY_S:
                return self._lanes
            self._read_at = moment
        rows = LaneState.objects.recent(now)
        self._lanes = {(row.account_id, row.stream, row.mailbox): row for row in rows}
        return self._lanes

    def forget(self) -> None:
        self._read_at = float("-inf")


_known = _Known()


def state_of(account: int, stream: str, mailbox: str, now: datetime) -> LaneState | None:
    """Return how a lane is slowed; None: it is not. At most READ_EVERY_S old."""
    state = _known.lanes(now).get((account, stream, mailbox))
    return state if state is not None and is_slowed(state, now) else None


def is_slowed(state: LaneState, now: datetime) -> bool:
    """Say whether a lane has not recovered yet."""
    return is_held(state, now) or state.rate_at(now) is not None


def is_held(state: LaneState, now: datetime) -> bool:
    """Say whether the provider asked for nothing at all for the moment."""
    return state.held_until is not None and state.held_until > now


def forget() -> None:
    """Read the slowed lanes anew at the next question."""
    _known.forget()


def slow(
    account: ProviderAccount,
    lane: tuple[str, str],
    reason: str,
    now: datetime,
    *,
    retry_after: timedelta | None = None,
    limit_per_minute: int | None = None,
) -> bool:
    """Halve the rate of a lane (stream, mailbox) of an account; return whether this call did.

    At most once in LaneState.HALVE_EVERY. What is halved is the lane's limit if it has one
    (`limit_per_minute`), or else what it handed over in the last minute, if that is less.
    """
    held_until = now + min(retry_after, LONGEST_HOLD) if retry_after else None
    base = max(LEAST_BASE, _last_minute(account, lane, now))
    if limit_per_minute is not None:
        base = max(1, min(base, limit_per_minute))
    done = LaneState.objects.slow(account.pk, lane, base, reason, now, held_until)
    _known.forget()
    return done


def _last_minute(account: ProviderAccount, lane: tuple[str, str], now: datetime) -> int:
    rows = Handoff.objects.filter(
        provider=account,
        started_at__gt=now - timedelta(minutes=1),
        stream=lane[0],
        mailbox=lane[1],
    )
    return int(rows.aggregate(accepted=Sum("accepted"))["accepted"] or 0)
