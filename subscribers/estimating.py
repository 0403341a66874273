"""What a whole import would do, counted by the database without changing a thing.

For a page that answers in a second there is `subscribers.rehearsing`; this reads every row.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from typing import Self

from django.db import transaction

from subscribers import chunking, importing, upserting
from subscribers.models import Import
from subscribers.parsing import Batch, Parser
from subscribers.reading import layout_of


@dataclass(slots=True)
class ImportReport:
    """What became, or would become, of the rows of a file; the fields are those of `Import`."""

    rows: int = 0
    created: int = 0
    updated: int = 0
    unchanged: int = 0
    duplicate: int = 0
    refused: int = 0
    subscribed: int = 0
    unmailable: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    warnings: Counter[str] = field(default_factory=Counter)

    @classmethod
    def of(cls, import_: Import) -> Self:
        """Return the report of an import as far as it has got."""
        return cls(
            rows=import_.rows,
            created=import_.created_count,
            updated=import_.updated_count,
            unchanged=import_.unchanged_count,
            duplicate=import_.duplicate_count,
            refused=import_.refused_count,
            subscribed=import_.subscribed_count,
            unmailable=import_.unmailable_count,
            reasons=Counter(import_.reasons),
            warnings=Counter(import_.warnings),
        )


def dry_run(
    import_: Import, mapping: Mapping[str, str] | None = None, known: str | None = None
) -> ImportReport:
    """Return what running an import that waits for its columns would do; nothing is written.

    `mapping` and `known` are the import's own if not given. Memory does not grow with the file:
    chunks go through temporary tables. Raises InvalidInput for a mapping that cannot be used.
    """
    mapping = import_.mapping if mapping is None else mapping
    importing.check_mapping(import_, mapping)
    report = ImportReport()
    with importing.opened(import_) as file, transaction.atomic():
        guessed = importing.attributes_of(mapping, layout_of(file, import_.delimiter), {})
        types = {name: kind for name, (_header, kind) in guessed.items()}
        parser = Parser(
            import_.headers,
            mapping,
            types | importing.known_types(),
            import_.policies,
            import_.tags,
        )
        read = chunking.batches(import_, file, parser)
        with upserting.shadowed_seen(), closing(read) as batches:
            for batch in batches:
                _add(report, batch, import_, known or import_.known)
    return report


def _add(report: ImportReport, batch: Batch, import_: Import, known: str) -> None:
    upserting.stage(batch.people)
    counts = upserting.estimate(import_.pk, import_.list_id, known)
    report.rows += batch.rows
    report.created += counts.created
    report.updated += counts.updated
    report.unchanged += counts.unchanged
    report.duplicate += counts.duplicates + batch.duplicates
    report.refused += len(batch.refused)
    report.subscribed += counts.subscribed
    report.unmailable += counts.unmailable
    report.reasons.update(refused.reason for refused in batch.refused)
    report.warnings.update(batch.warnings)
