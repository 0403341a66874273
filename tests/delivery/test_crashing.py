"""Where a worker can be told to die, and who may say so."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from delivery import checks, crashing


def trap_at(text: str, how: str = "KILL") -> crashing.Trap:
    trap = crashing.read(text, how)
    assert trap is not None
    return trap


def test_without_a_word_there_is_no_trap():
    assert crashing.read("") is None
    assert crashing._trap is None, "the tests themselves run without one"


@pytest.mark.parametrize(("text", "nth"), [("answered", 1), ("answered:3", 3)])
def test_a_trap_is_sprung_once_at_its_turn(text, nth):
    trap = trap_at(text)

    sprung = [trap.is_sprung() for _ in range(5)]

    assert sprung.index(True) + 1 == nth
    assert sum(sprung) == 1


def test_a_trap_by_chance_is_sprung_about_as_often_as_it_says():
    trap = trap_at("claimed:0.2")

    assert 100 < sum(trap.is_sprung() for _ in range(1000)) < 300


@pytest.mark.parametrize("text", ["nowhere", "claimed:0", "claimed:x", "claimed:2.5"])
def test_what_is_no_place_or_no_time_is_refused_in_words(text):
    with pytest.raises(ImproperlyConfigured, match="CRASH_AT"):
        crashing.read(text)


def test_a_worker_sleeps_instead_where_that_is_asked_for():
    assert trap_at("claimed", "STOP").signal == signal.SIGSTOP
    with pytest.raises(ImproperlyConfigured, match="CRASH_SIGNAL"):
        crashing.read("claimed", "HUP")


def test_each_place_is_in_the_code_once_and_each_call_names_one():
    code = "\n".join(
        path.read_text(encoding="utf-8") for path in (settings.BASE_DIR / "delivery").rglob("*.py")
    )

    for name in crashing.POINTS:
        assert code.count(f'crashing.point("{name}")') == 1, name
    assert code.count('crashing.point("') == len(crashing.POINTS)


def test_production_does_not_start_with_a_place_to_die_at():
    keys = {name: f"only-for-this-test-{name}" for name in ("SECRET_KEY", "TOKEN_KEYS")}
    environment = {
        **os.environ,
        **keys,
        "ADDRESS_KEY": "only-for-this-test",
        "ENCRYPTION_KEYS": "b25seS1mb3ItbWFrZS1jaGVjay1uZXZlci1pbi11c2U=",
        "PUBLIC_URL": "https://mail.example.com",
        "LOCAL": "off",
        "CRASH_AT": "claimed",
    }

    run = subprocess.run(
        [sys.executable, "manage.py", "check"],
        cwd=settings.BASE_DIR,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )

    assert run.returncode != 0
    assert "CRASH_AT kills workers" in run.stderr


def test_a_check_says_so_too(settings):
    settings.LOCAL, settings.CRASH_AT = False, "claimed"

    assert [each.id for each in checks.nobody_is_killed_in_production()] == ["delivery.E002"]

    settings.LOCAL = True
    assert checks.nobody_is_killed_in_production() == []


def test_leases_below_a_second_are_refused(settings):
    settings.PREPARE_LEASE_S, settings.FLIGHT_LEASE_S = 0.5, 1

    assert [each.id for each in checks.a_lease_has_a_second()] == ["delivery.E003"]
