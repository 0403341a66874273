"""Real processes, killed with SIGKILL in the middle of an import."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time

import pytest
from django.conf import settings as django_settings
from django.db import connection

from subscribers import importing
from subscribers.models import Import, Subscriber, Subscription
from tests import make
from tests.subscribers.files import ROOT, people, started, table

KILLS = 4
WORKER = """
import sys
import django

django.setup()
from django.conf import settings
from django.db import connections

connections["default"].settings_dict["NAME"] = sys.argv[1]
settings.MEDIA_ROOT = sys.argv[2]
from subscribers import chunking, importing

chunking.CHUNK_ROWS = 200
print("ready", flush=True)
importing.run(int(sys.argv[3]), 60)
"""


def worker(pk: int) -> subprocess.Popen[bytes]:
    """Return a process that works on the import, just as it begins."""
    name = connection.settings_dict["NAME"]
    process = subprocess.Popen(
        [sys.executable, "-c", WORKER, name, str(django_settings.MEDIA_ROOT), str(pk)],
        env={**os.environ, "PYTHONPATH": str(ROOT), "ADDRESS_KEY": django_settings.ADDRESS_KEY},
        stdout=subprocess.PIPE,
        cwd=ROOT,
    )
    assert process.stdout
    assert process.stdout.readline() == b"ready\n"
    process.stdout.close()
    return process


def wait_for_progress(row: Import) -> None:
    """Return when the import has got further than the row knows."""
    deadline = time.monotonic() + 30
    while Import.objects.get(pk=row.pk).line == row.line:
        assert time.monotonic() < deadline, "the worker does nothing"
        time.sleep(0.005)


@pytest.mark.crash
@pytest.mark.django_db(transaction=True)
def test_a_killed_import_goes_on_where_it_was_and_counts_every_row_once(settings, tmp_path):
    settings.MEDIA_ROOT = tmp_path
    news = make.mailing_list()
    content = people(6_000)
    again = people(500).partition(b"\r\n")[2]
    wrong = table(*[[f"wrong{n}", "x", ""] for n in range(250)])
    row = started(content + again + wrong, news)
    importing.confirm(row, row.mapping)
    dice = random.Random(7)

    lines = [row.line]
    for _ in range(KILLS):
        process = worker(row.pk)
        wait_for_progress(row)
        time.sleep(dice.uniform(0, 0.1))  # somewhere in a later chunk
        process.kill()
        process.wait(10)
        Import.objects.filter(pk=row.pk, status="running").update(lease_until=None)
        row.refresh_from_db()
        lines.append(row.line)
    in_the_middle = row.status
    importing.run(row.pk, 60)
    row.refresh_from_db()

    assert in_the_middle == Import.Status.RUNNING
    assert row.status == Import.Status.DONE
    assert lines == sorted(set(lines))
    assert (row.rows, row.created_count, row.updated_count) == (6_750, 6_000, 0)
    assert (row.duplicate_count, row.refused_count) == (500, 250)
    assert row.refused.count() == 250
    assert row.line == 6_751
    assert Subscriber.objects.count() == Subscription.objects.count() == 6_000
