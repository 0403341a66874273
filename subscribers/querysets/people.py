"""Sets of people and subscriptions: the only place with SQL and bulk writes."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Any, Self

from django.db import connection, models
from django.db.models import Exists, F, OuterRef, Q, Value
from django.db.models.functions import Coalesce

from subscribers import check_statements, consents, flagging
from subscribers.consents import BY_SYSTEM, Proof
from subscribers.flagging import Kind
from subscribers.querysets.checks import changed, domain_of

if TYPE_CHECKING:
    from subscribers.models import (
        Confirmation,
        Import,
        SignupDay,
        Subscriber,
        Subscription,
    )


class SubscriberQuerySet(models.QuerySet["Subscriber"]):
    def mailable(self, lists: Collection[int] = ()) -> Self:
        """People campaigns (to these lists) may go to: active, and no suppression stops them."""
        from subscribers.models import Suppression

        stands = Suppression.objects.stopping("marketing", lists)
        stands = stands.filter(address_key=OuterRef("address_key"))
        return self.filter(~Exists(stands), status=self.model.Status.ACTIVE).not_held()

    def not_held(self) -> Self:
        """People who are not held back on every list they are on."""
        from subscribers.models import Subscription

        status = Subscription.Status
        active = Subscription.objects.filter(
            subscriber=OuterRef("subscriber"), status=status.ACTIVE
        )
        held = Subscription.objects.filter(subscriber=OuterRef("pk"), status=status.HELD)
        return self.exclude(Exists(held.filter(~Exists(active))))

    def flagged(self, kinds: Collection[str]) -> Self:
        """People whose address has at least one of these flags (`flagging.Kind`)."""
        from subscribers.models import Domain

        found: list[models.QuerySet[Any, Any]] = []
        of_domains = [kind for kind in kinds if kind != Kind.ROLE]
        if of_domains:
            names = Domain.objects.filter(flags__overlap=of_domains).exclude(flags=[])
            people = self.model.objects.alias(domain=domain_of())
            found.append(people.filter(domain__in=names.values("name")).values("pk"))
        if Kind.ROLE in kinds:
            # Ranges of the index of addresses.
            begins = [Q(email__startswith=f"{role}@") for role in sorted(flagging.ROLES)]
            found.append(self.model.objects.filter(reduce(or_, begins)).values("pk"))
        if len(found) == 2:
            # Not OR: two kinds of index cannot answer that, and everybody would be read.
            return self.filter(pk__in=found[0].union(found[1]))
        return self.filter(pk__in=found[0]) if found else self.none()

    def of_unknown_domains(self) -> Self:
        """People of whose domain DNS has told nothing."""
        from subscribers.models import Domain

        names = Domain.objects.filter(state="unknown").values("name")
        return self.alias(domain=domain_of()).filter(domain__in=names)

    def on_lists(self, lists: Collection[int]) -> Self:
        """People subscribed to at least one of the lists; everybody once."""
        from subscribers.models import Subscription

        rows = Subscription.objects.of_lists(lists).filter(subscriber=OuterRef("pk"))
        return self.filter(Exists(rows))

    def close(self, pks: Sequence[int], status: str, now: datetime) -> int:
        """End mailing people for good, from ACTIVE only; return how many changed.

        The first reason stays: somebody who complained does not become merely unsubscribed.
        """
        rows = self.filter(pk__in=pks, status=self.model.Status.ACTIVE)
        return rows.update(status=status, status_changed_at=now, updated_at=now)

    def reopen(self, key: bytes, status: str, now: datetime, into: str = "active") -> int:
        """Let people with an address be mailed again whom `status` had closed; return how many.

        `into`: the status they have instead, if something else closes them still.
        """
        rows = self.filter(address_key=key, status=status).exclude(status=into)
        return rows.update(status=into, status_changed_at=now, updated_at=now, soft_bounces=0)


class SubscriptionQuerySet(models.QuerySet["Subscription"]):
    def of_lists(
        self,
        lists: Collection[int],
        *,
        joined_by: datetime | None = None,
        left_after: datetime | None = None,
    ) -> Self:
        """Active subscriptions of the lists.

        With `joined_by` those that have been since then or longer; with `left_after` also those
        whose standing changed since.
        """
        wanted = Q(status=self.model.Status.ACTIVE)
        if joined_by:
            wanted &= Q(changed_at__lte=joined_by)
        if left_after:
            wanted |= Q(changed_at__gt=left_after)
        return self.filter(wanted, list__in=lists)

    def end(
        self,
        people: Collection[int],
        lists: Collection[int],
        now: datetime,
        proof: Proof = BY_SYSTEM,
        source: str = "",
    ) -> int:
        """Unsubscribe people from lists, and put it on record; return how many people left one.

        One statement. The caller has locked the people.
        """
        sql = f"""
            WITH ended AS (
                UPDATE subscribers_subscription
                SET status = 'unsubscribed', changed_at = %(now)s
                WHERE subscriber_id = ANY(%(people)s::bigint[])
                  AND list_id = ANY(%(lists)s::bigint[]) AND status <> 'unsubscribed'
                RETURNING subscriber_id, list_id
            ), person AS (
                SELECT row.id, row.address_key, array_agg(list_id ORDER BY list_id) AS lists
                FROM ended JOIN subscribers_subscriber AS row ON row.id = ended.subscriber_id
                GROUP BY row.id ORDER BY row.address_key
            ), recorded AS (
                {consents.INTO_RECORD} {consents.as_record("'left'", "person.lists")} FROM person
                RETURNING 1
            )
            SELECT count(*) FROM recorded
        """  # noqa: S608 (constants)
        values = {
            **consents.params(proof, now),
            "people": list(people),
            "lists": list(lists),
            "source": source,
        }
        with connection.cursor() as cursor:
            cursor.execute(sql, values)
            count: int = cursor.fetchone()[0]
            return count

    def end_all(self, subscriber: int, now: datetime) -> list[int]:
        """Unsubscribe one person from every list; return which. The caller puts it on record."""
        gone = self.model.Status.UNSUBSCRIBED
        rows = self.filter(subscriber=subscriber).exclude(status=gone)
        lists = list(rows.values_list("list", flat=True))
        rows.update(status=gone, changed_at=now)
        return lists

    def join(
        self, subscriber: int, lists: Collection[int], now: datetime, source: str
    ) -> list[int]:
        """Put one person on lists, wherever they stood; return which are new.

        Lists that are gone are passed over. The caller has locked the person, and records it.
        """
        sql = """
            INSERT INTO subscribers_subscription AS known
                (subscriber_id, list_id, status, source, created_at, changed_at)
            SELECT %(subscriber)s, id, 'active', %(source)s, %(now)s, %(now)s
            FROM subscribers_mailinglist WHERE id = ANY(%(lists)s::bigint[]) ORDER BY id
            ON CONFLICT (subscriber_id, list_id)
            DO UPDATE SET status = 'active', changed_at = %(now)s WHERE known.status <> 'active'
            RETURNING list_id
        """
        facts: dict[str, Any] = {
            "subscriber": subscriber,
            "lists": list(lists),
            "source": source,
            "now": now,
        }
        with connection.cursor() as cursor:
            cursor.execute(sql, facts)
            return [row[0] for row in cursor.fetchall()]

    def resume(self, subscriber: int, lists: Collection[int], now: datetime) -> list[int]:
        """Give one person back lists they had left; return which. The caller records it."""
        gone = self.model.Status.UNSUBSCRIBED
        rows = self.filter(subscriber=subscriber, list__in=lists, status=gone)
        found = list(rows.values_list("list", flat=True))
        rows.update(status=self.model.Status.ACTIVE, changed_at=now)
        return found

    def hold_domains(
        self, domains: Collection[str], holding: Sequence[tuple[int, str]], now: datetime
    ) -> int:
        """Hold back who is on a list that holds flags their domain has; return how many.

        `holding` is `MailingListQuerySet.holding`. Nobody is held who was cleared.
        """
        values = {**_pairs(holding), "domains": list(domains), "now": now}
        return changed(check_statements.HOLD_DOMAINS, values) if holding and domains else 0

    def hold_roles(self, holding: Sequence[tuple[int, str]], now: datetime) -> int:
        """Hold back addresses of roles on the lists that hold them; return how many."""
        lists = [pk for pk, kind in holding if kind == Kind.ROLE]
        values = {"lists": lists, "roles": sorted(flagging.ROLES), "now": now}
        return changed(check_statements.HOLD_ROLES, values) if lists else 0

    def hold_addresses(self, held: dict[str, str], on_list: int, source: str, now: datetime) -> int:
        """Hold back addresses (-> kind) that came onto a list from a source; return how many."""
        values = {
            "emails": list(held), "kinds": list(held.values()), "list": on_list,
            "source": source, "now": now,
        }  # fmt: skip
        return changed(check_statements.HOLD_ADDRESSES, values) if held else 0

    def release_domains(self, domains: Collection[str], now: datetime) -> int:
        """Let go who was held for what DNS says no more; return how many."""
        kinds = [kind.value for kind in flagging.OF_DNS]
        values = {"domains": list(domains), "kinds": kinds, "now": now}
        return changed(check_statements.RELEASE_DOMAINS, values) if domains else 0

    def release_accepted(self, holding: Sequence[tuple[int, str]], now: datetime) -> int:
        """Let go who is held for what their list does not hold any more; return how many."""
        return changed(check_statements.RELEASE_ACCEPTED, {**_pairs(holding), "now": now})

    def clear(self, pks: Collection[int], now: datetime) -> int:
        """Let held subscriptions be mailed, for good; return how many."""
        rows = self.filter(pk__in=pks, status=self.model.Status.HELD)
        return rows.update(
            status=self.model.Status.ACTIVE, held_for="", cleared_at=now, changed_at=now
        )


def _pairs(holding: Sequence[tuple[int, str]]) -> dict[str, list[Any]]:
    return {"lists": [pk for pk, _ in holding], "kinds": [kind for _, kind in holding]}


class ImportQuerySet(models.QuerySet["Import"]):
    def workable(self, now: datetime) -> Self:
        """Imports a worker may take: queued, or running with nobody's lease on them."""
        status = self.model.Status
        free = Q(lease_until=None) | Q(lease_until__lte=now)
        return self.filter(Q(status=status.QUEUED) | Q(free, status=status.RUNNING))

    def waiting_longest(self) -> list[int]:
        """Return the keys, those first that nobody has worked on for longest."""
        oldest = F("lease_until").asc(nulls_first=True)
        return list(self.order_by(oldest, "pk").values_list("pk", flat=True))

    def lease(self, pk: int, now: datetime, until: datetime) -> Import | None:
        """Take an import for the caller until `until`; None if it is not to be had (any more)."""
        rows = self.workable(now).filter(pk=pk)
        taken = rows.update(
            status=self.model.Status.RUNNING,
            lease_until=until,
            started_at=Coalesce("started_at", Value(now)),
        )
        return self.select_related("list").get(pk=pk) if taken else None

    def advance(self, pk: int, done: int, **fields: Any) -> bool:
        """Move a running import on from byte `done`; False if it does not run, or is elsewhere.

        Called last in the transaction that wrote the rows: of two workers who did the same rows,
        whatever became of their leases, one commits them and the other takes its rows back.
        """
        rows = self.filter(pk=pk, offset=done, status=self.model.Status.RUNNING)
        return bool(rows.update(**fields))

    def to_undo(self) -> list[int]:
        """Return the keys of imports that somebody wants taken back."""
        asked = self.filter(undo_asked_at__isnull=False, undone_at=None)
        return list(asked.order_by("undo_asked_at").values_list("pk", flat=True))

    def ask_undo(self, pk: int, now: datetime) -> bool:
        """Note that an import is to be taken back; False if somebody did before."""
        return bool(self.filter(pk=pk, undo_asked_at=None).update(undo_asked_at=now))

    def take_undo(self, pk: int, now: datetime) -> Import | None:
        """Return an import to be taken back, marked as done; None if another was faster."""
        rows = self.filter(pk=pk, undo_asked_at__isnull=False, undone_at=None)
        return self.get(pk=pk) if rows.update(undone_at=now) else None

    def release(self, pk: int, now: datetime) -> None:
        """Let another worker take a running import at once."""
        self.filter(pk=pk, status=self.model.Status.RUNNING).update(lease_until=now)


class SignupDayQuerySet(models.QuerySet["SignupDay"]):
    def add(self, form: int, now: datetime, column: str) -> None:
        """Count one more today in `column` (asked, confirmed, stopped)."""
        days = self.model._meta.db_table
        sql = (
            f"INSERT INTO {days} (form_id, day, {column}) VALUES (%s, %s, 1)"  # noqa: S608
            f" ON CONFLICT (form_id, day) DO UPDATE SET {column} = {days}.{column} + 1"
        )
        with connection.cursor() as cursor:
            cursor.execute(sql, [form, now.astimezone(UTC).date()])


class ConfirmationQuerySet(models.QuerySet["Confirmation"]):
    def due(self, now: datetime) -> Self:
        """Whose mail should be queued now: neither held nor too late."""
        return self.filter(queued_at=None, held_at=None, confirmed_at=None, expires_at__gt=now)

    def held(self) -> Self:
        """Those over their form's limit, until somebody decides."""
        return self.filter(held_at__isnull=False, queued_at=None)

    def since(self, when: datetime) -> Self:
        return self.filter(created_at__gt=when)
