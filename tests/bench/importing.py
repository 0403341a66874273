"""import_rows_per_s: from an uploaded file to people on a list, in a process of its own."""

from __future__ import annotations

import json
from pathlib import Path

from subscribers.models import MailingList
from tests.bench import people
from tests.bench.processes import MODULE, Failed, Processes
from tests.bench.table import Table

DEMO = Path(__file__).resolve().parents[2] / "demo" / "subscribers.csv"


def measure(processes: Processes, table: Table, folder: Path, count: int) -> MailingList:
    """Import `count` made-up people and the demo's file; return the list of the made-up ones."""
    path = folder / "people.csv"
    people.write_csv(path, count)
    everybody = MailingList.objects.create(name="Everybody")
    demo = MailingList.objects.create(name="Demo")
    _import(processes, table, "import_rows_per_s", path, everybody, people.MAPPING)
    _import(processes, table, "import_rows_per_s_10k_file", DEMO, demo, {})
    path.unlink()
    return everybody


def _import(
    processes: Processes,
    table: Table,
    name: str,
    path: Path,
    target: MailingList,
    mapping: dict[str, str],
) -> None:
    argv = [*MODULE, "tests.bench.worker", "import", str(path), str(target.pk)]
    processes.start("importer", [*argv, json.dumps(mapping)])
    done = processes.report("importer", 600)
    processes.stop("importer")
    if not done["created"]:
        raise Failed(f"Nobody was imported from {path}.")
    note = f"{done['rows']:,} rows, {done['seconds']:.1f} s, peak {done['peak_mb']:.0f} MB"
    table.add(name, done["rows"] / done["seconds"], "rows/s", note)
    processes.peaks["importer"] = max(processes.peaks["importer"], done["peak_mb"])
