"""The circuit breaker of an account: kept in PostgreSQL, so it is one for all workers.

    closed ─ fails in a row, fails mostly, or cannot mend itself ─→ open
    open ─ its pause is over, and somebody takes the one probe ─→ half open
    half open ─ the probe is answered ─→ closed        ─ it is not ─→ open, for longer

Each change is a row of CircuitChange with its reason (docs/adr/0010).
"""

from __future__ import annotations

from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import Q
from django.db.models.functions import Now

from delivery.models import CircuitChange, Handoff, ProviderAccount, SenderRefusal
from delivery.providers.base import OutcomeUnknown, ProviderError, Rejected, Unavailable

FIRST_PAUSE = timedelta(seconds=5)
LONGEST_PAUSE = timedelta(minutes=5)
"""Pauses double from the first to this, unless the provider asks for more."""
REST = timedelta(seconds=1)
"""After one failed call others are asked first; the breaker stays closed."""
REFUSED_FOR = timedelta(minutes=15)
"""How long an account is not asked again to take mail from a domain it does not take."""
THROTTLES = 10
"""So many calls in a row that were too much: then nothing is gained by asking on."""
SHARE_WINDOW = timedelta(seconds=60)
SHARE_OF = 20
"""Calls in the window before their share of failures says anything."""

Circuit = ProviderAccount.Circuit


def failed(
    account: ProviderAccount, error: ProviderError, now: datetime, *, is_probe: bool = False
) -> None:
    """Take note of a call that was not accepted, or not answered; open the breaker if due.

    A call that began before the breaker opened changes nothing: the pause runs already.
    """
    with transaction.atomic():
        rows = ProviderAccount.objects.select_for_update(no_key=True).defer("secrets")
        row = rows.get(pk=account.pk)
        row.failures += 1
        facts = {"failures": row.failures, "last_error": str(error)[:300], "last_error_at": now}
        if is_probe and row.circuit == Circuit.HALF_OPEN:
            _open(row, error, now, facts)
        elif row.circuit == Circuit.CLOSED:
            if _is_enough(row, error, now):
                _open(row, error, now, facts)
            else:
                rests = now + max(REST, _wish(error))
                _write(row, **facts, cooling_until=max(rests, row.cooling_until or rests))
        else:
            _write(row, **facts)


def refuse_sender(account: ProviderAccount, domain: str, error: str, now: datetime) -> None:
    """Take note that an account does not take mail from a domain; it is asked again later.

    Its breaker stays as it is: one caller's wrong From address must not stop everybody's mail.
    """
    SenderRefusal.objects.update_or_create(
        provider=account,
        domain=domain,
        defaults={"until": now + REFUSED_FOR, "error": error[:300]},
    )


def accept_senders(account: ProviderAccount) -> None:
    """Ask an account again for all that it refused: somebody has changed something."""
    SenderRefusal.objects.filter(provider=account).delete()


def succeeded(account: ProviderAccount, now: datetime, *, is_probe: bool = False) -> None:
    """Take note of a call that was answered: close the breaker it was to try, forget failures."""
    if is_probe:
        _close(account, "The call that tried it was answered.", now, [Circuit.HALF_OPEN])
    elif account.failures and not account.is_broken:
        rows = ProviderAccount.objects.filter(pk=account.pk, circuit=Circuit.CLOSED)
        rows.update(failures=0, cooling_until=None, needs_attention=False)


def close(account: ProviderAccount, why: str, now: datetime) -> bool:
    """Close the breaker because somebody says so, and forget failures; False if it was closed."""
    accept_senders(account)
    return _close(account, why, now, Circuit.values)


def trouble_of(error: ProviderError | None) -> str:
    """Return how a call failed, as its hand-off keeps it."""
    trouble = Handoff.Trouble
    if isinstance(error, Unavailable):
        if error.is_account_fault:
            return trouble.ACCOUNT
        return trouble.THROTTLED if error.is_throttle else trouble.UNAVAILABLE
    if error is None:
        return ""
    return trouble.REJECTED if isinstance(error, Rejected) else trouble.SILENT


def take_probe(account: ProviderAccount, lease: timedelta, now: datetime) -> bool:
    """Become the one who tries an account whose pause is over; False if somebody else does.

    A probe whose worker died may be taken over once its lease is over, by the database's clock.
    """
    is_over = Q(cooling_until=None) | Q(cooling_until__lte=now)
    is_left = Q(probe_until=None) | Q(probe_until__lte=Now())
    rows = ProviderAccount.objects.filter(pk=account.pk)
    rows = rows.filter(Q(is_over, circuit=Circuit.OPEN) | Q(is_left, circuit=Circuit.HALF_OPEN))
    return bool(rows.update(circuit=Circuit.HALF_OPEN, probe_until=Now() + lease))


def give_back(account: ProviderAccount) -> None:
    """Let somebody else try the account: there was nothing to try it with."""
    rows = ProviderAccount.objects.filter(pk=account.pk, circuit=Circuit.HALF_OPEN)
    rows.update(circuit=Circuit.OPEN, probe_until=None)


def _is_enough(row: ProviderAccount, error: ProviderError, now: datetime) -> bool:
    """Say whether this failure opens the breaker."""
    if not isinstance(error, Unavailable):
        return True  # Each further call could put more mail in doubt.
    if error.is_throttle:
        return row.failures >= THROTTLES
    if error.is_account_fault or _wish(error) >= FIRST_PAUSE:
        return True
    return row.failures >= settings.BREAKER_FAILURES or _fails_mostly(row, now)


def _fails_mostly(row: ProviderAccount, now: datetime) -> bool:
    """Say whether more than half of the last minute's calls failed, this one included."""
    calls, failures = Handoff.objects.calls_since(row.pk, now - SHARE_WINDOW)
    return calls + 1 >= SHARE_OF and 2 * (failures + 1) > calls + 1


def _wish(error: ProviderError) -> timedelta:
    """Return how long the provider asks to be left alone."""
    return (isinstance(error, Unavailable) and error.retry_after) or timedelta(0)


def _open(
    row: ProviderAccount, error: ProviderError, now: datetime, facts: dict[str, object]
) -> None:
    pause = max(_wish(error), min(FIRST_PAUSE * 2 ** min(row.trips, 16), LONGEST_PAUSE))
    reason = _reason(row, error)[:300]
    since = now if row.circuit == Circuit.CLOSED else row.circuit_since
    _write(
        row,
        **facts,
        circuit=Circuit.OPEN,
        circuit_since=since,
        circuit_reason=reason,
        cooling_until=now + pause,
        probe_until=None,
        trips=min(row.trips + 1, 1000),
        needs_attention=isinstance(error, Unavailable) and error.is_account_fault,
    )
    CircuitChange.objects.create(
        provider=row, at=now, circuit=Circuit.OPEN, reason=reason, until=now + pause
    )


def _reason(row: ProviderAccount, error: ProviderError) -> str:
    if isinstance(error, OutcomeUnknown):
        return f"A call ended in doubt: {error}"
    if row.circuit == Circuit.HALF_OPEN:
        return f"The call that tried it failed: {error}"
    if row.failures > 1:
        return f"{row.failures} calls in a row failed: {error}"
    return str(error)


def _close(account: ProviderAccount, why: str, now: datetime, states: list[str]) -> bool:
    with transaction.atomic():
        rows = ProviderAccount.objects.select_for_update(no_key=True).defer("secrets")
        row = rows.get(pk=account.pk)
        if row.circuit not in states:
            return False
        was_broken = row.is_broken
        _write(
            row,
            circuit=Circuit.CLOSED,
            circuit_since=now if was_broken else row.circuit_since,
            circuit_reason=why[:300] if was_broken else row.circuit_reason,
            failures=0,
            trips=0,
            cooling_until=None,
            probe_until=None,
            needs_attention=False,
        )
        if was_broken:
            CircuitChange.objects.create(
                provider=row, at=now, circuit=Circuit.CLOSED, reason=why[:300]
            )
    return was_broken


def _write(row: ProviderAccount, **fields: object) -> None:
    ProviderAccount.objects.filter(pk=row.pk).update(**fields)
