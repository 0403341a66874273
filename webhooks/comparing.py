"""Counters and times on messages beside what the stored events say: is anything adrift?"""

from __future__ import annotations

from dataclasses import dataclass

from django.db import connection, transaction

from delivery import counting
from webhooks.models import Event
from webhooks.querysets import Drifted

WORK_MEM = "128MB"
"""To group events by message without files, once by hand: not what a page may take."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """What is not as a rebuild would make it."""

    counters: list[counting.Drift]
    """Against the messages."""
    messages: list[Drifted]
    """Against the events."""


def compare() -> Comparison:
    """Compare everything in one snapshot. Events may come meanwhile: nobody waits for anybody.

    Begins its own transaction, so call it outside of any.
    """
    with transaction.atomic(durable=True), connection.cursor() as cursor:
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        cursor.execute(f"SET LOCAL work_mem = '{WORK_MEM}'")
        return Comparison(counting.drift(), Event.objects.drifted())
