"""The stages in their order; what one leaves behind, the next works with."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import TYPE_CHECKING

from subscribers.models import MailingList
from tests.bench import (
    asking,
    audience,
    clicks,
    growing,
    hearing,
    importing,
    machine,
    people,
    plans,
    providing,
    roundtrip,
    sending,
    urgency,
)
from tests.bench.processes import Processes
from tests.bench.table import Table, say

if TYPE_CHECKING:
    from tests.bench.__main__ import Sizes


_AUDIENCE = frozenset({"audience", "segments"})
"""Stages before a made-up audience."""


def run(sizes: Sizes, wanted: AbstractSet[str], folder: Path, path: Path) -> None:
    """Run the wanted stages; print the table and write it to `path`."""
    table, found = Table(), machine.describe()
    with Processes() as processes:
        if wanted & _AUDIENCE:
            say("Making an audience up …")
            audience.make(table, sizes.people, sizes.people * 10)
        if "audience" in wanted:
            audience.measure(table)
        if "segments" in wanted:
            say("Counting segments …")
            asking.measure(table)
        if wanted - _AUDIENCE:
            _main_job(processes, table, sizes, wanted, folder)
    table.show(found)
    table.write(path)


def _main_job(
    processes: Processes, table: Table, sizes: Sizes, wanted: AbstractSet[str], folder: Path
) -> None:
    everybody = _people(processes, table, sizes, folder)
    if wanted & {"expand", "plans"}:
        say("Expanding …")
        campaign = sending.measure_expansion(table, everybody)
        if "plans" in wanted:
            plans.explain(campaign, folder / "plans.txt")
    _send(processes, table, sizes, wanted, everybody, folder)
    for kind, peak in sorted(processes.peaks.items()):
        if kind not in {"load", "sink", "smtp-sink"}:
            table.add(f"peak_mb_{kind}", peak, "MB", "resident, the largest process")


def _people(processes: Processes, table: Table, sizes: Sizes, folder: Path) -> MailingList:
    say(f"Importing {sizes.people:,} people …")
    return importing.measure(processes, table, folder, sizes.people)


def _send(
    processes: Processes,
    table: Table,
    sizes: Sizes,
    wanted: AbstractSet[str],
    everybody: MailingList,
    folder: Path,
) -> None:
    batch = people.first_people("Batch", everybody, sizes.batch)
    campaign = None
    for kind in providing.KINDS:
        if kind in wanted or (kind == "sendgrid" and "webhooks" in wanted):
            say(f"Sending through {kind} …")
            sent = providing.measure(processes, table, kind, batch)
            campaign = campaign or sent
    if "webhooks" in wanted and campaign:
        say("Hearing …")
        hearing.measure_posts(processes, table, folder, campaign, sizes.posts)
        hearing.measure_applying(processes, table)
        hearing.measure_end_to_end(processes, table, folder, campaign, sizes.posts // 40)
        say("Clicking …")
        clicks.measure(table, campaign, sizes.posts // 4)
    if "sandbox" in wanted:
        say("Sending through the sandbox, and hearing …")
        few = people.first_people("Few", everybody, sizes.sandbox)
        roundtrip.measure(processes, table, folder, few)
    _grow(processes, table, sizes, wanted, everybody)


def _grow(
    processes: Processes,
    table: Table,
    sizes: Sizes,
    wanted: AbstractSet[str],
    everybody: MailingList,
) -> None:
    if "urgent" in wanted:
        say("Sending urgent mail beside a campaign …")
        many = people.first_people("Many", everybody, sizes.beside)
        urgency.measure(processes, table, many, sizes.urgent)
    if "curve" in wanted:
        say("Sending with more and more workers …")
        some = people.first_people("Curve", everybody, sizes.curve)
        growing.measure_curve(processes, table, some)
    if "million" in wanted:
        say("Sending to everybody …")
        growing.measure_million(processes, table, everybody)
