"""What waits, how fast it goes and what holds it up: `manage.py queues`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.core.serializers.json import DjangoJSONEncoder
from django.utils import timezone

from delivery import overseeing
from delivery.overseeing import Overview, Queue, Seen
from emailplatform.formats import number, relative, span


class Command(BaseCommand):
    help = "Show what waits per stream and mailbox provider, limits in force, and workers."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="As the API answers it.")

    def handle(self, *_: Any, **options: Any) -> None:
        facts = overseeing.overview(timezone.now())
        if options["json"]:
            data = overseeing.as_data(facts)
            self.stdout.write(json.dumps(data, cls=DjangoJSONEncoder, indent=2))
            return
        self._show(facts)

    def _show(self, facts: Overview) -> None:
        if facts.trouble:
            self.stdout.write(f"{facts.trouble}\n\n")
        head = ["stream", "mailboxes", "due", "oldest", "a minute", "under way", "in doubt"]
        self._table([*head, "held up by"], [_queue(queue) for queue in facts.queues])
        if facts.limits:
            rows = [
                [each.provider, each.words, "?" if each.used is None else number(each.used)]
                for each in facts.limits
            ]
            self._table(["provider", "limit", "used"], rows)
        self._table(["worker", "kind", "streams", "seen"], [_worker(w) for w in facts.workers])

    def _table(self, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
        for row in [head, *rows] if rows else [head, ["–"]]:
            cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
            self.stdout.write("  ".join(cells).rstrip())
        self.stdout.write("")


def _queue(queue: Queue) -> list[str]:
    slowed = [
        f"{each.provider}: {each.reason}"
        f" ({'held' if each.held_until else f'{each.per_minute} a minute'})"
        for each in queue.slowed
    ]
    return [
        queue.stream,
        queue.mailbox,
        f"{number(queue.due)}{'+' if queue.is_more else ''}",
        "–" if queue.oldest_due_s is None else span(queue.oldest_due_s),
        number(queue.per_minute),
        number(queue.in_flight),
        number(queue.in_doubt),
        "; ".join([*slowed, *queue.limits]) or "–",
    ]


def _worker(worker: Seen) -> list[str]:
    seen = relative(worker.seen_at, timezone.now()) if not worker.is_live else "at work"
    if worker.counts_alone:
        seen = "at work, counts alone"
    return [worker.name, worker.kind, ", ".join(worker.streams), seen]
