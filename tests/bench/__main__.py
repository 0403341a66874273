"""`python -m tests.bench`: run every stage, print the table, write var/bench.json."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from dataclasses import dataclass, replace
from pathlib import Path

from emailplatform import embedded

ROOT = Path(__file__).resolve().parents[2]
SENDING = ("sendgrid", "ses", "mailgun", "postmark", "smtp")
STAGES = ("import", "expand", *SENDING, "sandbox", "webhooks", "urgent")
OTHERS = ("curve", "million", "plans", "audience", "segments")
"""Only when they are asked for."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much of everything."""

    people: int
    batch: int
    """Messages through each kind of provider, with one worker and again with two."""
    sandbox: int
    posts: int
    curve: int
    """Messages with each number of workers."""
    beside: int
    """Messages of the campaign beside which urgent mail is sent."""
    urgent: int


FULL = Sizes(
    people=1_000_000,
    batch=100_000,
    sandbox=20_000,
    posts=20_000,
    curve=60_000,
    beside=200_000,
    urgent=150,
)
QUICK = Sizes(
    people=50_000, batch=5_000, sandbox=2_000, posts=3_000, curve=10_000, beside=50_000, urgent=30
)


def main() -> int:
    """Measure; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small numbers, two minutes")
    parser.add_argument("--people", type=int, help="rows of the import (1,000,000)")
    known = ", ".join((*STAGES, *OTHERS))
    parser.add_argument("--stages", default=",".join(STAGES), help=f"of {known}")
    parser.add_argument("--json", type=Path, default=ROOT / "var" / "bench.json")
    given = parser.parse_args()
    sizes = QUICK if given.quick else FULL
    if given.people:
        sizes = replace(sizes, people=given.people)
    unknown = set(given.stages.split(",")) - {*STAGES, *OTHERS}
    if unknown:
        parser.error(f"There is no stage {', '.join(sorted(unknown))}.")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    prepare()

    from tests.bench import stages
    from tests.bench.processes import Failed

    try:
        stages.run(sizes, set(given.stages.split(",")), ROOT / "var" / "bench", given.json)
    except KeyboardInterrupt:
        sys.stderr.write("Stopped.\n")
        return 130
    except Failed as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def prepare() -> None:
    """Start servers of the benchmark's own, durable ones, and set Django up on an empty database.

    What DATABASE_URL and REDIS_URL name is left alone: the data of a benchmark are thrown away.
    """
    for variable in ("DATABASE_URL", "REDIS_URL", "DATABASE_URL_FILE", "REDIS_URL_FILE"):
        os.environ.pop(variable, None)
    os.environ |= {
        "DJANGO_SETTINGS_MODULE": "emailplatform.settings",
        "LOCAL": "on",
        "LOG_LEVEL": "WARNING",
        "VAR_DIR": str(ROOT / "var" / "bench"),
        "EMBEDDED_FSYNC": "on",
        "POSTAL_ADDRESS": "Example Press, 1 Example Street, Lisbon",
    }
    try:
        embedded.use(ROOT)
    except embedded.EmbeddedError as error:
        sys.exit(str(error))

    import django

    django.setup()

    from django.core.management import call_command
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("DROP SCHEMA public CASCADE")
        cursor.execute("CREATE SCHEMA public")
    call_command("migrate", verbosity=0)


if __name__ == "__main__":
    sys.exit(main())
