"""Sets of suppressions: who gets no mail, by reason, reach and time."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from django.db import connection, models
from django.db.models import OuterRef, Q, Subquery
from django.db.models.functions import Now

from emailplatform.masking import masked
from subscribers import consents
from subscribers.consents import BY_PROVIDER, Proof

if TYPE_CHECKING:
    from subscribers.models import Suppression

STOPPING: Mapping[str, list[str]] = MappingProxyType(
    {
        "critical": ["bounced", "blocked"],
        "transactional": ["bounced", "blocked", "complained"],
        "marketing": ["bounced", "blocked", "complained", "unsubscribed", "soft_bounced"],
    }
)
"""Stream -> the reasons of suppressions that stop its mail.

Who took our newsletter for spam still wants to get back into the account.
"""


@dataclass(frozen=True, slots=True)
class Reach:
    """What mail is stopped, and until when: all of it for good, unless said."""

    stream: str = ""
    list: int | None = None
    expires_at: datetime | None = None

    @property
    def is_closing(self) -> bool:
        return not self.stream and self.list is None and self.expires_at is None


EVERYTHING = Reach()


class Told(NamedTuple):
    """An address that is to be suppressed, why, and what shows it."""

    key: bytes
    reason: str
    source: str
    event: int | None = None


CLOSES = "x.stream = '' AND x.list_id IS NULL AND x.expires_at IS NULL"
"""SQL: a suppression `x` that closes a person altogether."""

GRAVEST = "array_position(ARRAY['bounced', 'blocked', 'complained', 'unsubscribed'], x.reason)"
"""SQL: its place among the reasons, the gravest first."""

REASON_OF = f"""
    SELECT x.id, x.reason FROM subscribers_suppression x
    WHERE x.address_key = {{key}} AND {CLOSES} ORDER BY {GRAVEST} LIMIT 1
"""  # noqa: S608 (constants)
"""SQL: the suppression that says which status a new person with an address has."""

_WHY = "said.reason || CASE WHEN said.source = '' THEN '' ELSE ': ' || said.source END"


class SuppressionQuerySet(models.QuerySet["Suppression"]):
    def of(self, key: bytes) -> Self:
        """Those of one address, what closes it first, then the newest."""
        closes = models.F("expires_at").asc(nulls_first=True)
        return self.filter(address_key=key).order_by("stream", closes, "-created_at", "-id")

    def in_force(self, now: datetime | Now | None = None) -> Self:
        """Those that are not over; by the database's clock unless `now` is given."""
        return self.filter(Q(expires_at=None) | Q(expires_at__gt=now or Now()))

    def closing(self) -> Self:
        """Those that close a person altogether."""
        return self.filter(stream="", list=None, expires_at=None)

    def with_emails(self) -> Any:
        """Those with their list, and as `email` the address where we still know a person of it."""
        from subscribers.models import Subscriber

        people = Subscriber.objects.filter(address_key=OuterRef("address_key"))
        rows = self.select_related("list").order_by("pk")
        return rows.annotate(email=Subquery(people.values("email")[:1]))

    def gravest(self, keys: Collection[bytes]) -> dict[bytes, str]:
        """Return address_key -> the gravest reason that closes it, of those that are closed."""
        grave = list(STOPPING["marketing"])
        found: dict[bytes, str] = {}
        rows = self.closing().filter(address_key__in=list(keys))
        for key, reason in rows.values_list("address_key", "reason"):
            known = found.setdefault(bytes(key), reason)
            found[bytes(key)] = min(known, reason, key=grave.index)
        return found

    def said_no(self, key: bytes, lists: Collection[int]) -> Self:
        """What a person takes back who wants mail (of these lists) after all: their own word."""
        rows = self.filter(address_key=key, reason=self.model.Reason.UNSUBSCRIBED)
        return rows.filter(Q(list=None) | Q(list__in=lists))

    def closed_lists(self, key: bytes, now: datetime) -> set[int]:
        """Return the lists whose campaigns an address is not to get."""
        rows = self.in_force(now).filter(address_key=key, list__isnull=False)
        return set(rows.values_list("list", flat=True))

    def stopping(self, stream: str, lists: Collection[int] = ()) -> Self:
        """Those that stop mail of a stream now, or campaigns to one of the lists."""
        of_list = Q(list=None) | Q(list__in=lists) if lists else Q(list=None)
        rows = self.in_force().filter(of_list, reason__in=STOPPING[stream])
        return rows.filter(stream__in=["", stream])

    def suppress_many(
        self,
        rows: Sequence[tuple[bytes, str, str] | Told],
        now: datetime,
        proof: Proof | None = BY_PROVIDER,
        reach: Reach = EVERYTHING,
    ) -> int:
        """Suppress (address_key, reason, source) rows, close the people; return how many are new.

        One statement, which puts the new ones on record; with no `proof` the caller does. Of a
        reason and reach the first row stays, and so does the person's status; of rows with one
        address the first counts. Saying it again changes nothing, except that a later end, or
        none, takes the place of an end. Only what closes everything for good closes people.
        """
        if not rows:
            return 0
        told = [Told(*row) for row in rows]
        record = f"""
            , recorded AS (
                {consents.INTO_RECORD} {consents.as_record("'suppressed'", source=_WHY)}
                FROM suppressed JOIN said ON said.key = suppressed.address_key
                CROSS JOIN LATERAL (
                    SELECT said.key AS address_key, (
                        SELECT min(id) FROM subscribers_subscriber WHERE address_key = said.key
                    ) AS id
                ) AS person
                ORDER BY said.key
            )
        """  # noqa: S608 (constants)
        sql = f"""
            WITH said AS (
                SELECT DISTINCT ON (key) key, reason, left(source, 200) AS source, event
                FROM unnest(
                    %(keys)s::bytea[], %(reasons)s::text[], %(sources)s::text[], %(events)s::int8[]
                ) WITH ORDINALITY AS row(key, reason, source, event, place)
                ORDER BY key, place
            ), suppressed AS (
                INSERT INTO subscribers_suppression AS known
                    (address_key, reason, source, event, stream, list_id, expires_at, created_at)
                SELECT key, reason, source, event, %(stream)s, %(list)s::bigint,
                    %(expires_at)s::timestamptz, %(now)s
                FROM said
                ON CONFLICT (address_key, reason, stream, list_id) DO UPDATE
                SET expires_at = excluded.expires_at, source = excluded.source,
                    event = excluded.event
                WHERE known.expires_at < coalesce(excluded.expires_at, 'infinity')
                RETURNING address_key
            ), closed AS (
                UPDATE subscribers_subscriber AS person
                SET status = said.reason, status_changed_at = %(now)s, updated_at = %(now)s
                FROM said
                WHERE %(is_closing)s AND person.address_key = said.key
                  AND person.status IN ('active', 'pending')
            ) {record if proof else ""}
            SELECT count(*) FROM suppressed
        """  # noqa: S608 (constants)
        values: dict[str, Any] = {
            **consents.params(proof or BY_PROVIDER, now),
            "keys": [each.key for each in told],
            "reasons": [each.reason for each in told],
            "sources": [masked(each.source) for each in told],
            "events": [each.event for each in told],
            "stream": reach.stream,
            "list": reach.list,
            "expires_at": reach.expires_at,
            "is_closing": reach.is_closing,
        }
        with connection.cursor() as cursor:
            cursor.execute(sql, values)
            count: int = cursor.fetchone()[0]
            return count

    def end_expired(self, now: datetime, limit: int = 10_000) -> int:
        """Delete those that are over; return how many, `limit` at most."""
        over = self.filter(expires_at__lte=now).order_by("expires_at")[:limit]
        return self.filter(pk__in=list(over.values_list("pk", flat=True))).delete()[0]
