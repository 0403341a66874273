"""An import's file in chunks: read ahead by a thread, and written, each in one transaction.

Everything a chunk changes (people, subscriptions, refused rows, counters, the place in the file)
commits together, so an import goes on exactly where it stood, whoever was killed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any, BinaryIO

import psycopg
from django.db import OperationalError, transaction
from django.utils import timezone

from subscribers import upserting
from subscribers.models import Domain, Import, MailingList, Subscription
from subscribers.parsing import Batch, Parser
from subscribers.reading import Record, Records
from subscribers.upserting import Counts

CHUNK_ROWS = 10_000
CHUNK_BYTES = 8 << 20
"""A transaction takes so many rows, or bytes of the file, whichever comes first."""
LEASE = timedelta(minutes=2)
"""How long a worker owns an import after each chunk: many times what one takes."""
_TRIES = 5


class NoLongerOurs(Exception):
    """The import was paused, cancelled, or taken on by somebody else: nothing was written."""


def batches(import_: Import, file: BinaryIO, parser: Parser) -> Generator[Batch]:
    """Yield what is left of the file, chunk by chunk.

    While the caller writes one, a thread reads the next: at most two are in memory.
    """
    records = Records(file, import_.delimiter, import_.offset, import_.line)
    stream = iter(records)
    with ThreadPoolExecutor(1) as reader:
        ahead = reader.submit(_read, parser, records, stream)
        is_over = import_.offset >= import_.size
        while not is_over:
            batch = ahead.result()
            is_over = batch.offset >= import_.size
            ahead = reader.submit(_read, parser, records, stream)
            yield batch


def _read(parser: Parser, records: Records, stream: Iterator[Record]) -> Batch:
    batch = parser.parse(_bounded(records, stream))
    batch.offset, batch.line = records.offset, records.line
    return batch


def _bounded(records: Records, stream: Iterator[Record]) -> Iterator[Record]:
    end = records.offset + CHUNK_BYTES
    for count, record in enumerate(stream, 1):
        yield record
        if count == CHUNK_ROWS or records.offset >= end:
            return


def write(import_: Import, batch: Batch) -> None:
    """Commit a batch and the place behind it; try again when it got in another's way.

    Raises NoLongerOurs, having written nothing.
    """
    for tries_left in reversed(range(_TRIES)):
        try:
            fields = _write(import_, batch)
        except OperationalError as error:
            if not tries_left or not isinstance(error.__cause__, psycopg.errors.DeadlockDetected):
                raise
        else:
            for name, value in fields.items():
                setattr(import_, name, value)
            return


@transaction.atomic
def _write(import_: Import, batch: Batch) -> dict[str, Any]:
    """Write a batch; return the fields of the import as they are afterwards."""
    now = timezone.now()
    counts = Counts()
    if batch.people:
        upserting.stage(batch.people)
        counts = upserting.upsert(import_, len(batch.people), now)
        counts.held = _check(import_, batch, now)
    if batch.refused:
        upserting.store_refused(import_.pk, batch.refused)
    fields = {**_totals(import_, batch, counts), "lease_until": now + LEASE}
    if not Import.objects.advance(import_.pk, import_.offset, **fields):
        raise NoLongerOurs
    return fields


def _check(import_: Import, batch: Batch, now: datetime) -> int:
    """Hold back whom the list wants to be looked at; say which domains are yet to be asked about.

    The import does not wait for DNS: what is known of domains counts, the rest is found out soon.
    """
    flagged = Domain.objects.meet({each.email.partition("@")[2] for each in batch.people})
    if import_.list_id is None:
        return 0
    source = upserting.source_of(import_)
    held = Subscription.objects.hold_addresses(batch.held, import_.list_id, source, now)
    holding = MailingList.objects.filter(pk=import_.list_id).holding() if flagged else []
    return held + Subscription.objects.hold_domains(flagged, holding, now)


def _totals(import_: Import, batch: Batch, counts: Counts) -> dict[str, Any]:
    reasons = Counter(refused.reason for refused in batch.refused)
    return {
        "offset": batch.offset,
        "line": batch.line,
        "rows": import_.rows + batch.rows,
        "created_count": import_.created_count + counts.created,
        "updated_count": import_.updated_count + counts.updated,
        "unchanged_count": import_.unchanged_count + counts.unchanged,
        "duplicate_count": import_.duplicate_count + counts.duplicates + batch.duplicates,
        "refused_count": import_.refused_count + len(batch.refused),
        "subscribed_count": import_.subscribed_count + counts.subscribed,
        "unmailable_count": import_.unmailable_count + counts.unmailable,
        "held_count": import_.held_count + counts.held,
        "reasons": dict(Counter(import_.reasons) + reasons),
        "warnings": dict(Counter(import_.warnings) + batch.warnings),
    }
