"""The record of consent, in sets: written, read, erased."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Self

from django.db import connection, models, transaction
from django.db.models import Max, Q

from emailplatform.masking import masked

if TYPE_CHECKING:
    from subscribers.models import ConsentRecord, ConsentText


@dataclass(frozen=True, slots=True)
class Proof:
    """Where a change of consent came from, and what shows it."""

    via: str = "system"
    """One of ConsentRecord.Via."""
    ip: str = ""
    user_agent: str = ""
    language: str = ""
    """Which one the page spoke."""
    text: str | None = None
    """Digest of the ConsentText that was agreed to."""
    evidence: Mapping[str, Any] = field(default_factory=dict)
    """What else shows it. No address may be in here."""

    @property
    def details(self) -> str:
        """Return what may be erased later, as JSON."""
        own = {"ip": self.ip, "user_agent": self.user_agent[:300]}
        said = {name: value for name, value in own.items() if value}
        return json.dumps({**said, **self.evidence})


BY_SYSTEM = Proof()
BY_PROVIDER = Proof("provider")
BY_API = Proof("api")
BY_TEAM = Proof("admin")

INTO_RECORD = """
    INSERT INTO subscribers_consentrecord
        (chain, number, person, people, action, lists, via, source, language, text_id, at, details,
         details_hash, hash)
"""
"""Goes before AS_RECORD. `number` and the hashes are given by the trigger."""


def as_record(action: str, lists: str = "'{}'::bigint[]", source: str = "%(source)s::text") -> str:
    """Return the SELECT, up to its FROM, that makes records of `person` (address_key, id).

    The arguments are SQL; `params` fills in the rest.
    """
    return f"""
        SELECT person.address_key, 0, person.id, NULL::int8multirange, {action}, {lists},
            %(via)s::text, left({source}, 200), %(language)s::text, %(text)s::text,
            %(now)s::timestamptz, %(details)s::jsonb, ''::bytea, ''::bytea
    """


def params(proof: Proof, now: datetime) -> dict[str, Any]:
    """Return what `as_record` needs."""
    return {
        "via": proof.via,
        "language": proof.language,
        "text": proof.text,
        "details": proof.details,
        "now": now,
    }


class ConsentRecordQuerySet(models.QuerySet["ConsentRecord"]):
    def write(
        self,
        action: str,
        person: tuple[bytes, int | None],
        lists: Collection[int],
        now: datetime,
        proof: Proof,
        source: str = "",
    ) -> None:
        """Add to the chain of one person: (key of the address, key of the row if there is one)."""
        what = as_record("%(action)s::text", "%(lists)s::bigint[]")
        whose = "FROM (SELECT %(key)s::bytea AS address_key, %(person)s::bigint AS id) AS person"
        values = {
            **params(proof, now),
            "action": action,
            "key": person[0],
            "person": person[1],
            "lists": sorted(lists),
            "source": masked(source),
        }
        with connection.cursor() as cursor:
            cursor.execute(f"{INTO_RECORD} {what} {whose}", values)

    def of(self, key: bytes, person: int | None) -> Self:
        """Everything about a person: their own chain, and the imports that brought them."""
        wanted = Q(chain=key)
        if person is not None:
            wanted |= Q(people__isnull=False, people__has=person)
        return self.filter(wanted).select_related("text").order_by("-at", "-id")

    def forget_details(
        self,
        now: datetime,
        *,
        chain: bytes | None = None,
        before: datetime | None = None,
        limit: int = 10_000,
    ) -> int:
        """Forget ip, user agent and evidence: of one person, or of what is older.

        Returns how many, `limit` at most. The chains stay whole: they hold the salted hash of the
        details, and the salt goes with them.
        """
        rows = self.filter(erased_at=None)
        if chain is not None:
            rows = rows.filter(chain=chain)
        if before is not None:
            rows = rows.filter(at__lt=before)
        chosen = list(rows.order_by("at").values_list("pk", flat=True)[:limit])
        with transaction.atomic(), connection.cursor() as cursor:
            # The trigger lets nothing else through, and this only while the setting holds.
            cursor.execute("SELECT set_config('consent.erasing', 'on', true)")
            cursor.execute(
                """
                UPDATE subscribers_consentrecord
                SET details = NULL, salt = NULL, erased_at = %s
                WHERE id = ANY(%s::bigint[]) AND erased_at IS NULL
                """,
                [now, chosen],
            )
            count: int = cursor.rowcount
            cursor.execute("SELECT set_config('consent.erasing', 'off', true)")
        return count


class ConsentTextQuerySet(models.QuerySet["ConsentText"]):
    @transaction.atomic
    def keep(self, label: str, language: str, text: str) -> str:
        """Return the digest of a text; if it is new, it becomes the next version of its label."""
        digest = digest_of(label, language, text)
        if self.filter(digest=digest).exists():
            return digest
        with connection.cursor() as cursor:
            # Two who keep a first text at once take turns.
            cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [label])
        versions = self.filter(label=label, language=language)
        version = 1 + (versions.aggregate(latest=Max("version"))["latest"] or 0)
        facts = {"label": label, "language": language, "text": text, "version": version}
        self.get_or_create(digest=digest, defaults=facts)
        return digest


def digest_of(label: str, language: str, text: str) -> str:
    """Return the SHA-256 of a consent text, in hex."""
    return hashlib.sha256(json.dumps([label, language, text]).encode()).hexdigest()
