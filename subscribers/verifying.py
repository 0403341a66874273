"""Recomputes the record of consent: every hash, the ends of the chains, and the seals over all.

In Python, from the rows alone: nothing of what the database computed is believed.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import connection, transaction
from django.db.models import TextField
from django.db.models.functions import Cast

from emailplatform.secrets import seal
from subscribers.consents import digest_of
from subscribers.models import ConsentAnchor, ConsentChain, ConsentRecord, ConsentText

MOST_BREAKS = 20
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_COLUMNS = (
    "id", "chain", "number", "person", "people", "action", "lists", "via", "source", "language",
    "text_id", "at", "details_text", "salt", "details_hash", "erased_at", "hash",
)  # fmt: skip


@dataclass(slots=True)
class Report:
    """What was looked at, and what does not fit: sentences, the first ones only."""

    records: int = 0
    chains: int = 0
    texts: int = 0
    anchors: int = 0
    sealed: int = 0
    """Records that an anchor covers."""
    newest_seal: str = ""
    """In hex: kept elsewhere, it shows whether the newest anchors were cut off."""
    breaks: list[str] = field(default_factory=list)

    def complain(self, sentence: str) -> None:
        if len(self.breaks) < MOST_BREAKS:
            self.breaks.append(sentence)


def verify() -> Report:
    """Walk everything as it stood at one moment. Memory does not grow with it."""
    report = Report()
    is_outermost = not connection.in_atomic_block
    with transaction.atomic():
        if is_outermost:  # else the caller's transaction has begun to look already
            with connection.cursor() as cursor:
                cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        _verify_texts(report)
        _verify_chains(report)
        _verify_anchors(report)
    return report


# --- Texts and chains --------------------------------------------------------------------


def _verify_texts(report: Report) -> None:
    for each in ConsentText.objects.order_by("label", "language", "version").iterator():
        report.texts += 1
        if digest_of(each.label, each.language, each.text) != each.digest:
            report.complain(f"The text “{each}” was changed.")


def _verify_chains(report: Report) -> None:
    heads = iter(ConsentChain.objects.order_by("key").values_list("key", "number", "hash"))
    head = next(heads, None)
    for key, rows in _by_chain():
        while head and bytes(head[0]) < key:
            report.complain(f"The chain {bytes(head[0]).hex()} is gone: it had {head[1]} records.")
            head = next(heads, None)
        number, last = _walk(report, key, rows)
        report.chains += 1
        if head is None or bytes(head[0]) != key:
            report.complain(f"The end of chain {key.hex()} is not on file.")
        else:
            if (head[1], bytes(head[2])) != (number, last):
                report.complain(
                    f"Chain {key.hex()} ends at record {number}; it should have {head[1]}."
                )
            head = next(heads, None)
    while head:
        report.complain(f"The chain {bytes(head[0]).hex()} is gone: it had {head[1]} records.")
        head = next(heads, None)


def _by_chain() -> Iterator[tuple[bytes, Iterator[dict[str, Any]]]]:
    """Yield each chain with its rows in order; the rows must be used up before the next."""
    found = ConsentRecord.objects.annotate(details_text=Cast("details", TextField()))
    rows = found.order_by("chain", "number").values(*_COLUMNS).iterator(chunk_size=2_000)
    ahead = next(rows, None)

    def of(key: bytes) -> Iterator[dict[str, Any]]:
        nonlocal ahead
        while ahead and bytes(ahead["chain"]) == key:
            yield ahead
            ahead = next(rows, None)

    while ahead:
        key = bytes(ahead["chain"])
        yield key, of(key)


def _walk(report: Report, key: bytes, rows: Iterator[dict[str, Any]]) -> tuple[int, bytes]:
    """Check the rows of one chain; return how long it is, and its last hash."""
    number, last = 0, b""
    for row in rows:
        report.records += 1
        if row["number"] != number + 1:
            report.complain(
                f"Record {row['id']} is number {row['number']} of chain {key.hex()}, "
                f"after number {number}: one is missing."
            )
        if _hash_of(row, last) != bytes(row["hash"]):
            report.complain(f"Record {row['id']} (number {row['number']}) was changed.")
        if not _has_own_details(row):
            report.complain(f"The details of record {row['id']} were changed.")
        number, last = row["number"], bytes(row["hash"])
    return number, last


def _hash_of(row: dict[str, Any], previous: bytes) -> bytes:
    """Return what the trigger must have computed: the text is that of PostgreSQL's jsonb."""
    said = [
        bytes(row["chain"]).hex(), row["number"], row["person"], row["people"], row["action"],
        row["lists"], row["via"], row["source"], row["language"], row["text_id"],
        (row["at"] - _EPOCH) // _MICROSECOND, bytes(row["details_hash"]).hex(), previous.hex(),
    ]  # fmt: skip
    return hashlib.sha256(json.dumps(said, ensure_ascii=False).encode()).digest()


def _has_own_details(row: dict[str, Any]) -> bool:
    if row["details_text"] is None or row["salt"] is None:
        return row["erased_at"] is not None and row["details_text"] is None
    salted = bytes(row["salt"]) + row["details_text"].encode()
    return hashlib.sha256(salted).digest() == bytes(row["details_hash"])


# --- Anchors -----------------------------------------------------------------------------


def _verify_anchors(report: Report) -> None:
    previous, after = b"", 0
    for anchor in ConsentAnchor.objects.order_by("pk").iterator():
        report.anchors += 1
        count, digest = _digest(previous, after, anchor.up_to)
        report.sealed += count
        if (count, digest) != (anchor.count, bytes(anchor.digest)):
            report.complain(
                f"Records {after + 1} to {anchor.up_to} are not those that were sealed on "
                f"{anchor.at:%Y-%m-%d %H:%M} UTC: {anchor.count} then, {count} now."
            )
        if not hmac.compare_digest(_seal(anchor), bytes(anchor.seal)):
            report.complain(f"The seal of {anchor} is not ours.")
        previous, after = bytes(anchor.digest), anchor.up_to
        report.newest_seal = bytes(anchor.seal).hex()


def _digest(previous: bytes, after: int, up_to: int) -> tuple[int, bytes]:
    digest, count = hashlib.sha256(previous), 0
    rows = ConsentRecord.objects.filter(pk__gt=after, pk__lte=up_to).order_by("pk")
    for found in rows.values_list("hash", flat=True).iterator(chunk_size=10_000):
        digest.update(found)
        count += 1
    return count, digest.digest()


def _seal(anchor: ConsentAnchor) -> bytes:
    moment = (anchor.at - _EPOCH) // _MICROSECOND
    said = f"{anchor.up_to}.{anchor.count}.{moment}.{bytes(anchor.digest).hex()}"
    return seal("consent anchor", said.encode())


@transaction.atomic
def anchor(now: datetime) -> ConsentAnchor | None:
    """Seal what was recorded since the last time; None if there is nothing new.

    Keys are given before rows are committed: writers are waited for, and wait a moment, so that no
    record can appear later among those that are sealed.
    """
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL lock_timeout = '10s'")
        cursor.execute("LOCK TABLE subscribers_consentanchor IN SHARE ROW EXCLUSIVE MODE")
        cursor.execute("LOCK TABLE subscribers_consentrecord IN SHARE MODE")
    last = ConsentAnchor.objects.order_by("-pk").first()
    newest = ConsentRecord.objects.order_by("-pk").values_list("pk", flat=True).first()
    after = last.up_to if last else 0
    if newest is None or newest <= after:
        return None
    count, digest = _digest(bytes(last.digest) if last else b"", after, newest)
    made = ConsentAnchor(up_to=newest, count=count, digest=digest, at=now)
    made.seal = _seal(made)
    made.save()
    return made


def has_seal(seal_in_hex: str) -> bool:
    """Is there an anchor with this seal?"""
    try:
        wanted = bytes.fromhex(seal_in_hex)
    except ValueError:
        return False
    return ConsentAnchor.objects.filter(seal=wanted).exists()
