"""Asking about domains in the background: new ones, old answers, and re-checks of many people."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from time import monotonic
from typing import Any, cast

from django.contrib.auth.models import AbstractBaseUser
from django.db import connection, transaction
from django.db.models import F
from django.utils import timezone

from emailplatform.errors import DomainError
from subscribers import checking
from subscribers.checking import Learnt
from subscribers.models import CheckRun, Domain, MailingList, Subscriber, Subscription

AT_ONCE = 200
"""Domains asked about between two looks at the clock."""
LEASE = timedelta(minutes=2)


class AlreadyChecking(DomainError):
    """Two re-checks at a time would ask the same twice."""

    code = "already_checking"


def start(
    on_list: MailingList | None = None,
    *,
    older_than_days: int | None = None,
    limit: int | None = None,
    user: AbstractBaseUser | None = None,
) -> CheckRun:
    """Queue a re-check of the people of a list, or of everybody. Raises AlreadyChecking."""
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(hashtext('address check'))")
        status = CheckRun.Status
        if CheckRun.objects.filter(status__in=[status.QUEUED, status.RUNNING]).exists():
            raise AlreadyChecking("An address check is under way: wait for it, or stop it first.")
        return CheckRun.objects.create(
            list=on_list,
            older_than_days=older_than_days,
            limit=limit,
            created_by=cast("Any", user),
        )


def run(pk: int, seconds: float = 20.0) -> bool:
    """Work on a re-check for about so many seconds; say whether it was ours to work on.

    Of several callers one works. A crash costs the domains that were being asked about.
    """
    now = timezone.now()
    work = CheckRun.objects.lease(pk, now, now + LEASE)
    if work is None:
        return False
    if work.started_at is None:
        _begin(work, now)
    stop_at = monotonic() + seconds
    while names := _next(work):
        if not _take(work, names) or monotonic() >= stop_at:
            break
    if not _next(work):
        _finish(work)
    CheckRun.objects.advance(work.pk, lease_until=None)
    return True


@transaction.atomic
def _begin(work: CheckRun, now: datetime) -> None:
    before = now - timedelta(days=work.older_than_days) if work.older_than_days else None
    Domain.objects.register(work.list_id)
    count = Domain.objects.want(work, before)
    CheckRun.objects.advance(work.pk, domain_count=count, started_at=now)


def _next(work: CheckRun) -> list[str]:
    return list(work.wanted.order_by("name").values_list("name", flat=True)[:AT_ONCE])


def _take(work: CheckRun, names: Sequence[str]) -> bool:
    """Ask about some domains; say whether the re-check still runs."""
    learnt = checking.learn(names, timezone.now())
    with transaction.atomic():
        Domain.objects.filter(name__in=names, wanted_by=work).update(wanted_by=None)
        return _count(work, learnt)


def _count(work: CheckRun, learnt: Learnt) -> bool:
    return CheckRun.objects.advance(
        work.pk,
        done_count=F("done_count") + learnt.asked,
        unknown_count=F("unknown_count") + learnt.unknown,
        held_count=F("held_count") + learnt.held,
        released_count=F("released_count") + learnt.released,
        lease_until=timezone.now() + LEASE,
    )


@transaction.atomic
def _finish(work: CheckRun) -> None:
    """Apply what lists do now with roles and with what was held before; count the people."""
    now = timezone.now()
    lists = MailingList.objects.filter(pk=work.list_id) if work.list_id else MailingList.objects
    held = Subscription.objects.hold_roles(lists.all().holding(), now)
    released = Subscription.objects.release_accepted(MailingList.objects.holding(), now)
    CheckRun.objects.advance(
        work.pk,
        status=CheckRun.Status.DONE,
        finished_at=now,
        lease_until=None,
        held_count=F("held_count") + held,
        released_count=F("released_count") + released,
        people=_people(work),
    )


def _people(work: CheckRun) -> dict[str, int]:
    """Return how many people have each flag, "unknown" those of domains nobody could tell of."""
    roles = Subscriber.objects.flagged(["role"])
    if work.list_id:
        wanted = Subscription.objects.filter(list=work.list_id)
        roles = roles.filter(pk__in=wanted.exclude(status="unsubscribed").values("subscriber"))
    counts = {**Domain.objects.count_flags(work.list_id), "role": roles.count()}
    return {kind: count for kind, count in counts.items() if count}


def work_on_due(seconds: float = 20.0) -> int:
    """Ask about domains that are new, or whose answer is old, for so many seconds; return how many.

    What nobody has an address at any more is forgotten.
    """
    stop_at, count = monotonic() + seconds, 0
    while monotonic() < stop_at:
        now = timezone.now()
        names = Domain.objects.claim_due(now, now + LEASE, AT_ONCE)
        if not names:
            break
        used = set(names) - Domain.objects.forget_unused(names)
        if used:
            count += checking.learn(used, now).asked
    return count
