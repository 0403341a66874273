"""The short form of the drill: the command itself, with servers of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.conf import settings

from delivery.crashing import POINTS

pytestmark = pytest.mark.crash

GIVEN = ("DATABASE_URL", "REDIS_URL", "EMBEDDED_DATABASE_URL", "EMBEDDED_REDIS_URL")


def drill(var: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if name not in GIVEN}
    return subprocess.run(
        [sys.executable, "manage.py", "crash_drill", "--no-color", *arguments],
        cwd=settings.BASE_DIR,
        env={**kept, "VAR_DIR": str(var), "LOCAL": "on", **more},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_worker_killed_at_each_place_with_a_name_neither_loses_nor_doubles_a_mail(tmp_path):
    run = drill(tmp_path, "--people", "240", "--kinds", "sendgrid", "--scenario", "points")

    assert run.returncode == 0, run.stdout + run.stderr
    rows = [line for line in run.stdout.splitlines() if line.startswith("killed at")]
    assert [row.split()[2] for row in rows] == list(POINTS)
    assert all(row.endswith("good") for row in rows)
    assert "9 kills: 0 lost, 0 doubled" in run.stdout
    assert not (tmp_path / "drill").exists(), "it leaves nothing behind"


@pytest.mark.parametrize(
    ("name", "url"),
    [
        ("DATABASE_URL", "postgres://mail@127.0.0.1:1/mail"),
        ("REDIS_URL", "redis://127.0.0.1:1/0"),
    ],
)
def test_it_touches_no_server_that_somebody_uses(tmp_path, name, url):
    run = drill(tmp_path, **{name: url})

    assert run.returncode == 1
    assert f"{name} is set" in run.stderr
    assert not (tmp_path / "drill").exists()


def test_it_does_not_run_in_production(tmp_path):
    keys = {name: f"only-for-this-test-{name}" for name in ("SECRET_KEY", "TOKEN_KEYS")}
    run = drill(
        tmp_path,
        **keys,
        ADDRESS_KEY="only-for-this-test",
        ENCRYPTION_KEYS="b25seS1mb3ItbWFrZS1jaGVjay1uZXZlci1pbi11c2U=",
        PUBLIC_URL="https://mail.example.com",
        LOCAL="off",
    )

    assert run.returncode == 1
    assert "LOCAL=on" in run.stderr


def test_a_kind_nobody_knows_is_refused_before_anything_starts(tmp_path):
    run = drill(tmp_path, "--kinds", "pigeon")

    assert run.returncode == 1
    assert "--kinds takes some of sendgrid" in run.stderr
