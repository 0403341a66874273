from __future__ import annotations

import pytest

from subscribers import importing
from subscribers.models import Import
from subscribers.tasks import run_imports
from tests.subscribers.files import people, started

pytestmark = pytest.mark.django_db


def test_the_task_runs_every_import_that_waits_and_no_other(settings, tmp_path):
    settings.MEDIA_ROOT = tmp_path
    rows = [started(people(5, tag)) for tag in "abcd"]
    for row in rows[:3]:
        importing.confirm(row, row.mapping)
    rows[2].pause()

    run_imports()

    statuses = Import.objects.order_by("pk").values_list("status", flat=True)
    assert list(statuses) == ["done", "done", "paused", "mapping"]
