"""How sending grows: with more worker processes, and with a million recipients."""

from __future__ import annotations

from subscribers.models import MailingList
from tests.bench.processes import Processes
from tests.bench.providing import provider
from tests.bench.sending import SENDERS, THREADS, Run, send, tell_steps
from tests.bench.table import Table

MOST_WORKERS = 4


def measure_curve(processes: Processes, table: Table, target: MailingList) -> None:
    """Send the same through SendGrid's sink with 1, 2, 3 … worker processes."""
    with provider(processes, "sendgrid"):
        for count in range(1, MOST_WORKERS + 1):
            run = send(processes, f"Curve, {count} workers", target, senders=count)
            words = f"{run.sent:,} messages, {THREADS} threads each; {_cpu(run)}"
            name = f"curve_messages_per_s_{count}_workers"
            table.add(name, run.sent / run.seconds, "messages/s", words)


def measure_million(processes: Processes, table: Table, everybody: MailingList) -> None:
    """Send to all imported people: what a claim costs then, and how much memory a worker takes."""
    with provider(processes, "sendgrid"):
        run = send(processes, "Everybody", everybody)
    words = f"{run.sent:,} messages, SendGrid; {SENDERS} workers; {_cpu(run)}"
    table.add("million_messages_per_s", run.sent / run.seconds, "messages/s", words)
    tell_steps(table, "million", run)


def _cpu(run: Run) -> str:
    postgres_us = run.postgres_s / run.sent * 1e6
    return f"CPU a message: workers {run.cpu_us:.0f} + PostgreSQL {postgres_us:.0f} µs"
