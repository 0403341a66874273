"""A campaign of the newsletter: launched, expanded, sent by workers; and what that took."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.utils import timezone

from campaigns import launching
from campaigns.models import Campaign, Template
from delivery import expanding, reports
from delivery.models import Message, ProviderAccount
from subscribers.models import MailingList
from tests.bench.machine import postgres_cpu_s
from tests.bench.processes import MODULE, PATIENCE_S, Failed, Processes
from tests.bench.table import Table

if TYPE_CHECKING:
    from collections.abc import Iterator

DEMO = Path(__file__).resolve().parents[2] / "demo"
SENDERS, THREADS = 2, 2
LOOK_EVERY_S = 0.05
SLOWEST_PER_S = 100
"""Messages per second; below that the benchmark gives up."""
GROUPS = {"route": "claim", "take off": "record", "close": "record"}
"""Smaller steps -> the step of the budget that they belong to."""


@dataclass(frozen=True, slots=True)
class Run:
    """One campaign, sent."""

    campaign: Campaign
    sent: int
    seconds: float
    senders: list[dict[str, Any]]
    postgres_s: float

    def per_message_us(self, step: str) -> tuple[float, float, float]:
        """Return what a step took per message: by the clock, of worker CPU, of PostgreSQL's CPU."""
        took = [
            times
            for each in self.senders
            for name, times in each["steps"].items()
            if GROUPS.get(name, name) == step
        ]
        wall, cpu, database = (sum(column) / self.sent * 1e6 for column in zip(*took, strict=True))
        return wall, cpu, database

    @property
    def cpu_us(self) -> float:
        spent: float = sum(each["cpu_s"] for each in self.senders)
        return spent / self.sent * 1e6


# --- Expanding ---------------------------------------------------------------------------


def measure_expansion(table: Table, everybody: MailingList) -> Campaign:
    """Launch a campaign to all people and measure how fast it becomes messages; it is paused."""
    campaign = make_campaign("Everybody", everybody)
    launching.launch(campaign, timezone.now())
    started = time.monotonic()
    expanding.expand_all(timezone.now())
    seconds = time.monotonic() - started
    campaign.refresh_from_db()
    total = reports.progress(campaign, timezone.now()).total
    campaign.move_to(Campaign.Status.PAUSED)
    table.add("expand_messages_per_s", total / seconds, "messages/s", f"{total:,} messages")
    return campaign


def make_campaign(name: str, target: MailingList) -> Campaign:
    """Return a draft of the 20 kB newsletter to a list."""
    template, _ = Template.objects.get_or_create(
        name="Newsletter of 20 kB",
        defaults={
            "format": Template.Format.HTML,
            "subject": "Five guides & three experiments for {{ first_name }}",
            "body": (DEMO / "newsletter-20k.html.j2").read_text(encoding="utf-8"),
            "text": (DEMO / "newsletter-20k.txt.j2").read_text(encoding="utf-8"),
        },
    )
    campaign = Campaign.objects.create(
        name=name, template=template, from_name="Example Press", from_email="news@press.example"
    )
    campaign.lists.add(target)
    return campaign


# --- Sending -------------------------------------------------------------------------------


def send(processes: Processes, name: str, target: MailingList, senders: int = SENDERS) -> Run:
    """Send the newsletter to a list with workers that wait already; return when all is recorded."""
    campaign = make_campaign(name, target)
    with sending_processes(processes, senders) as reports_of_senders:
        before = postgres_cpu_s()
        started = time.monotonic()
        launching.launch(campaign, timezone.now())
        expanding.expand_all(timezone.now())
        queued = reports.progress(campaign, timezone.now()).total
        await_end(campaign, time.monotonic() + PATIENCE_S + queued / SLOWEST_PER_S)
        seconds = time.monotonic() - started
        spent = postgres_cpu_s() - before
    progress = reports.progress(campaign, timezone.now())
    if not progress.sent or progress.sent != progress.total:
        raise Failed(f"{name}: of {progress.total} messages {progress.sent} were sent: {progress}")
    return Run(campaign, progress.sent, seconds, reports_of_senders, spent)


def await_end(campaign: Campaign, deadline: float) -> None:
    """Wait until nothing of the campaign is queued or under way, and finish it."""
    while Message.objects.is_under_way(campaign.pk):
        if time.monotonic() > deadline:
            raise Failed(f"{campaign} is not done: {reports.progress(campaign, timezone.now())}")
        time.sleep(LOOK_EVERY_S)
    expanding.finish_done(timezone.now())


@contextmanager
def sending_processes(processes: Processes, count: int) -> Iterator[list[dict[str, Any]]]:
    """Run the sending processes; what they report is in the list afterwards."""
    names = [f"sender {number}" for number in range(count)]
    for name in names:
        processes.start(name, [*MODULE, "tests.bench.worker", "send", str(THREADS)])
    for name in names:
        processes.line(name, "ready")
    found: list[dict[str, Any]] = []
    yield found
    found += [processes.stop_and_report(name) for name in names]


def use_only(accounts: Sequence[ProviderAccount]) -> Sequence[ProviderAccount]:
    """Pause every other account."""
    for other in ProviderAccount.objects.exclude(pk__in=[each.pk for each in accounts]):
        other.pause()
    return accounts


def tell_steps(table: Table, name: str, run: Run) -> None:
    """Add what each step costs per message."""
    for step in ("claim", "compose", "call", "record"):
        wall, cpu, database = run.per_message_us(step)
        words = f"CPU: worker {cpu:.0f} + PostgreSQL {database:.0f}; {wall:.0f} by the clock"
        table.add(f"{name}_{step}_us", cpu + database, "µs/message", words)
    table.add(f"{name}_worker_cpu_us", run.cpu_us, "µs/message", "all CPU of the workers")
    spent = run.postgres_s / run.sent * 1e6
    table.add(f"{name}_postgres_cpu_us", spent, "µs/message", "all CPU of PostgreSQL")
    peak = max(each["peak_mb"] for each in run.senders)
    table.add(f"{name}_worker_peak_mb", peak, "MB", "resident, the larger worker")
