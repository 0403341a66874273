"""The processes that do the work: `python -m tests.bench.worker import|send|apply …`.

Each prints one JSON object when it is done or told to stop.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

IDLE_S = 0.1
stop = threading.Event()


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.worker")
    kinds = parser.add_subparsers(dest="kind", required=True)
    importer = kinds.add_parser("import")
    importer.add_argument("file", type=Path)
    importer.add_argument("list", type=int)
    importer.add_argument("mapping", type=json.loads)
    sender = kinds.add_parser("send")
    sender.add_argument("threads", type=int)
    kinds.add_parser("apply")
    given = vars(parser.parse_args())
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())

    import django

    django.setup()
    kinds_of_work: dict[str, Callable[..., dict[str, Any]]] = {
        "import": import_people,
        "send": send,
        "apply": apply,
    }
    report = kinds_of_work[given.pop("kind")](**given)

    from tests.bench.machine import peak_mb

    print(json.dumps({**report, "peak_mb": peak_mb()}), flush=True)  # noqa: T201 (the parent reads)


def import_people(file: Path, list: int, mapping: dict[str, str]) -> dict[str, Any]:  # noqa: A002
    """Import a file; return rows and seconds, from the upload to the last row."""
    from subscribers import importing
    from subscribers.models import MailingList

    started = time.monotonic()
    with file.open("rb") as content:
        work = importing.start(content, file.name, MailingList.objects.get(pk=list))
    importing.confirm(work, {**work.mapping, **mapping})
    while not work.finished_at and not stop.is_set():
        importing.run(work.pk)
        work.refresh_from_db()
    seconds = time.monotonic() - started
    return {"rows": work.rows, "created": work.created_count, "seconds": seconds}


def send(threads: int) -> dict[str, Any]:
    """Send campaigns, as the task does, until told to stop; return CPU and time per step."""
    from delivery import sending
    from delivery.models import Stream
    from tests.bench.steps import Steps

    steps = Steps()
    steps.watch()

    def loop() -> None:
        while not stop.is_set():
            if not sending.send_slice(1.0, [Stream.MARKETING]):
                stop.wait(IDLE_S)

    hands = [threading.Thread(target=loop) for _ in range(threads)]
    for hand in hands:
        hand.start()
    print("ready", flush=True)  # noqa: T201 (the parent waits for it)
    before = sum(os.times()[:2])
    stop.wait()
    for hand in hands:
        hand.join()
    return {"cpu_s": sum(os.times()[:2]) - before, "steps": steps.seconds()}


def apply() -> dict[str, Any]:
    """Apply stored webhooks until told to stop; return CPU and the seconds at work."""
    from django.utils import timezone

    from webhooks import applying
    from webhooks.tasks import BATCH

    print("ready", flush=True)  # noqa: T201 (the parent waits for it)
    before, busy, requests = sum(os.times()[:2]), 0.0, 0
    while not stop.is_set():
        started = time.monotonic()
        looked_at = applying.apply_pending(BATCH, timezone.now())
        if looked_at:
            requests += looked_at
            busy += time.monotonic() - started
        else:
            stop.wait(IDLE_S)
    return {"cpu_s": sum(os.times()[:2]) - before, "busy_s": busy, "requests": requests}


if __name__ == "__main__":
    main()
