"""Sets of domains, re-checks, and lists as they judge addresses."""

from __future__ import annotations

from collections.abc import Collection, Set
from datetime import datetime
from typing import TYPE_CHECKING, Any, Self

from django.db import connection, models
from django.db.models import F, Func, Q, Value

from subscribers import check_statements
from subscribers.flagging import Kind, Policy

if TYPE_CHECKING:
    from subscribers.models import CheckRun, Domain, MailingList


def domain_of(email: str = "email") -> Func:
    """Return the domain of a column of addresses as SQL, as the index of people has it."""
    return Func(
        F(email), Value("@"), Value(2), function="split_part", output_field=models.CharField()
    )


def rows_of(sql: str, params: dict[str, Any]) -> list[Any]:
    """Return what a statement returns."""
    with connection.cursor() as cursor:
        cursor.execute(sql, params)
        return list(cursor.fetchall())


def changed(sql: str, params: dict[str, Any]) -> int:
    """Return how many rows a statement changed."""
    with connection.cursor() as cursor:
        cursor.execute(sql, params)
        return int(cursor.rowcount)


class MailingListQuerySet(models.QuerySet["MailingList"]):
    def holding(self) -> list[tuple[int, str]]:
        """Return (list, `flagging.Kind`) for all that is held back, the worst kinds first.

        What a list refuses at the door it holds back where it is found out later.
        """
        lists = list(self)
        return [
            (each.pk, kind.value)
            for kind in Kind
            for each in lists
            if each.policies[kind] != Policy.ACCEPT
        ]


class DomainQuerySet(models.QuerySet["Domain"]):
    def claim_due(self, now: datetime, until: datetime, limit: int) -> list[str]:
        """Take domains that are to be asked about, for the caller until `until`."""
        values = {"now": now, "until": until, "limit": limit}
        return [row[0] for row in rows_of(check_statements.CLAIM_DUE, values)]

    def forget_unused(self, names: Collection[str]) -> set[str]:
        """Forget those of the domains that nobody has an address at; return them."""
        return {row[0] for row in rows_of(check_statements.FORGET_UNUSED, {"names": list(names)})}

    def meet(self, names: Set[str]) -> list[str]:
        """Know these domains from now on; return those of them that are flagged."""
        known = dict(self.filter(name__in=names).values_list("name", "flags"))
        new = [self.model(name=name) for name in sorted(names - known.keys())]
        if new:
            self.bulk_create(new, ignore_conflicts=True)
        return [name for name, flags in known.items() if flags]

    def register(self, on_list: int | None = None) -> None:
        """Know every domain people (of a list) have addresses at."""
        changed(check_statements.REGISTER, {"list": on_list})

    def want(self, run: CheckRun, before: datetime | None) -> int:
        """Mark what a re-check is to ask about; return how many."""
        values = {"run": run.pk, "list": run.list_id, "before": before, "limit": run.limit}
        return changed(check_statements.WANT, values)

    def count_flags(self, on_list: int | None) -> dict[str, int]:
        """Return how many people (of a list) have each flag of a domain, and "unknown"."""
        return dict(rows_of(check_statements.COUNT_FLAGS, {"list": on_list}))


class CheckRunQuerySet(models.QuerySet["CheckRun"]):
    def workable(self, now: datetime) -> Self:
        """Re-checks a worker may take: queued, or running with nobody's lease on them."""
        status = self.model.Status
        free = Q(lease_until=None) | Q(lease_until__lte=now)
        return self.filter(Q(status=status.QUEUED) | Q(free, status=status.RUNNING))

    def lease(self, pk: int, now: datetime, until: datetime) -> CheckRun | None:
        """Take a re-check for the caller until `until`; None if it is not to be had."""
        rows = self.workable(now).filter(pk=pk)
        taken = rows.update(status=self.model.Status.RUNNING, lease_until=until)
        return self.select_related("list").get(pk=pk) if taken else None

    def advance(self, pk: int, **fields: Any) -> bool:
        """Write down how far a running re-check is; False if it does not run any more."""
        return bool(self.filter(pk=pk, status=self.model.Status.RUNNING).update(**fields))
