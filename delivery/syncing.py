"""Level our suppressions and the providers' own lists, and say how far they had come apart.

Whom only a provider lists is suppressed here; whom only we suppress is listed there, where the
provider takes that and its list stops no more mail than ours. Who was let back in here since, is
taken off there: nobody comes back by being read again.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Any

from django.db import connection, transaction
from django.utils import timezone

from delivery.listing_statements import COMPARE, LET_BACK, ONLY_HERE
from delivery.models import ListComparison, ListedAddress, ProviderAccount
from delivery.providers.base import CannotBeAsked, ProviderError
from delivery.providers.lists import Listed, Lists
from emailplatform.errors import DomainError
from emailplatform.secrets import address_key
from subscribers.models import Suppression
from subscribers.querysets import STOPPING, Told
from subscribers.validating import InvalidAddress, clean_address

logger = logging.getLogger(__name__)

RESUMABLE = timedelta(hours=6)
"""For so long a reading that stopped goes on where it was; then it begins anew."""
MOST_GIVEN = 10_000
"""Addresses told to a provider in one run: the rest in the next."""
_AT_ONCE = 1_000
_LONG_AGO = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class _Sync:
    """One run for one account."""

    account: ProviderAccount
    lists: Lists
    told: ListComparison
    is_rehearsal: bool


def sync_all(*, is_rehearsal: bool = False) -> list[ListComparison]:
    """Sync every account whose provider keeps lists; return what came of each."""
    found = (sync(each, is_rehearsal=is_rehearsal) for each in ProviderAccount.objects.all())
    return [each for each in found if each]


def sync(account: ProviderAccount, *, is_rehearsal: bool = False) -> ListComparison | None:
    """Compare an account's lists with ours and level both; None if its provider keeps none.

    A rehearsal reads and counts only. What stops it stands in `error`, and it goes on from there
    when it is asked again soon.
    """
    told = _begin(account, timezone.now(), is_rehearsal)
    try:
        with account.provider.lists() as lists:
            _run(_Sync(account, lists, told, is_rehearsal))
    except CannotBeAsked:
        return None
    except (ProviderError, DomainError) as error:
        told.error = str(error)[:300]
        logger.warning("list_sync_stopped", extra={"provider": account.pk})
    told.save()
    return told


def _begin(account: ProviderAccount, now: datetime, is_rehearsal: bool) -> ListComparison:
    """Return the run that stopped lately, or a new one."""
    last = ListComparison.objects.filter(provider=account).first()
    is_open = last and not last.finished_at and last.is_rehearsal == is_rehearsal
    if last and is_open and last.started_at > now - RESUMABLE:
        last.error = ""
        return last
    return ListComparison(provider=account, started_at=now, is_rehearsal=is_rehearsal)


def _run(sync: _Sync) -> None:
    told = sync.told
    lifted = [each for place in _left(sync) for each in _read(sync, place)]
    old = ListedAddress.objects.filter(provider=sync.account, seen_at__lt=told.started_at)
    old._raw_delete(old.db)
    with connection.cursor() as cursor:
        cursor.execute(COMPARE, {"provider": sync.account.pk})
        told.there, told.here, told.only_here, told.differing = cursor.fetchone()
    if not sync.is_rehearsal:
        told.removed += sum(_remove(sync, *each) for each in lifted)
        _give(sync)
    told.finished_at, told.place, told.cursor = timezone.now(), "", ""


# --- Theirs ------------------------------------------------------------------------------


def _left(sync: _Sync) -> Collection[str]:
    """Return the lists that are still to be read."""
    places = list(sync.lists.places)
    at = places.index(sync.told.place) if sync.told.place in places else 0
    return places[at:]


def _read(sync: _Sync, place: str) -> list[tuple[str, str]]:
    """Read a list to its end, page by page; return (list, address) of those let back in here."""
    told, lifted = sync.told, []
    if told.place != place:
        told.place, told.cursor = place, ""
    while True:
        page = sync.lists.page(place, told.cursor)
        with transaction.atomic():
            back = _take(sync, place, page.listed)
            told.cursor = page.following
            told.save()
        lifted += [(place, email) for email in back]
        if not page.following:
            return lifted


def _take(sync: _Sync, place: str, listed: Iterable[Listed]) -> list[str]:
    """Keep what a page says and suppress whom only it names; return whom we let back in since."""
    found = {key: each for each in listed if (key := _key(each.email))}
    _keep(sync, place, found)
    known = Suppression.objects.closing().filter(address_key__in=list(found))
    new = found.keys() - {bytes(key) for key in known.values_list("address_key", flat=True)}
    since = _let_back(new)
    back = {key for key in new if since.get(key, _LONG_AGO) > (found[key].at or _LONG_AGO)}
    source = f"{sync.lists.label}’s list “{place}”"
    rows = [Told(key, found[key].reason, source) for key in sorted(new - back)]
    sync.told.only_there += len(new)
    if not sync.is_rehearsal:
        sync.told.taken += Suppression.objects.suppress_many(rows, timezone.now())
    return [found[key].email for key in sorted(back)]


def _keep(sync: _Sync, place: str, found: dict[bytes, Listed]) -> None:
    ListedAddress.objects.bulk_create(
        [
            ListedAddress(
                provider=sync.account,
                place=place,
                address_key=key,
                reason=each.reason,
                listed_at=each.at,
                seen_at=sync.told.started_at,
            )
            for key, each in found.items()
        ],
        update_conflicts=True,
        unique_fields=["provider", "address_key", "place"],
        update_fields=["reason", "listed_at", "seen_at"],
    )


def _let_back(keys: Collection[bytes]) -> dict[bytes, datetime]:
    with connection.cursor() as cursor:
        cursor.execute(LET_BACK, {"keys": list(keys)})
        return {bytes(key): at for key, at in cursor.fetchall()}


def _key(email: str) -> bytes | None:
    try:
        return address_key(clean_address(email))
    except InvalidAddress:
        return None


def _remove(sync: _Sync, place: str, email: str) -> bool:
    """Take somebody off a list there, whom somebody here let back in."""
    is_off = sync.lists.remove(place, email)
    if is_off:
        key = _key(email)
        ListedAddress.objects.filter(provider=sync.account, place=place, address_key=key).delete()
    return is_off


# --- Ours --------------------------------------------------------------------------------


def reasons_for(account: ProviderAccount, lists: Lists) -> list[str]:
    """Return the reasons of ours that a provider may be told: its list must not stop more mail.

    Who left the newsletter is not to lose the password reset that the same account carries.
    """
    streams = ["marketing"] if lists.stops_one_stream else account.streams
    stopped = [set(STOPPING[stream]) for stream in streams] or [set()]
    return [each for each in STOPPING["marketing"] if all(each in s for s in stopped)]


def _give(sync: _Sync) -> None:
    """Tell the provider of those whom only we suppress, as far as their address is known."""
    reasons = [each for each in reasons_for(sync.account, sync.lists) if each in sync.lists.takes]
    if sync.lists.stops_one_stream and "marketing" not in sync.account.streams:
        return
    after, left = b"", MOST_GIVEN
    while rows := _only_here(sync.account, reasons, after, min(left, _AT_ONCE)):
        for reason, group in groupby(sorted(rows, key=lambda row: row[2]), lambda row: row[2]):
            _add(sync, reason, [email for _, email, _ in group])
        after, left = rows[-1][0], left - len(rows)
        if left <= 0:
            return


def _only_here(
    account: ProviderAccount, reasons: list[str], after: bytes, limit: int
) -> list[tuple[bytes, str, str]]:
    values: dict[str, Any] = {
        "provider": account.pk,
        "reasons": reasons,
        "after": after,
        "limit": limit,
    }
    with connection.cursor() as cursor:
        cursor.execute(ONLY_HERE, values)
        return [(bytes(key), email, reason) for key, email, reason in cursor.fetchall()]


def _add(sync: _Sync, reason: str, emails: list[str]) -> None:
    place = sync.lists.takes[reason]
    for start in range(0, len(emails), sync.lists.most):
        some = sync.lists.add(place, emails[start : start + sync.lists.most], reason)
        at = timezone.now()
        with transaction.atomic():
            found = {key: Listed(each, reason, at) for each in some if (key := _key(each))}
            _keep(sync, place, found)
            sync.told.given += len(found)
            sync.told.save()
