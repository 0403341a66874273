"""Processes start, come back, and end with the one that started them."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import pytest

from emailplatform import processes
from emailplatform.processes import ROOT, ProcessGroup
from tests.emailplatform.embedding import eventually, kill

SLEEP = ["sleep", "60"]
STUBBORN = "trap '' TERM; echo deaf; while true; do sleep 0.1; done"
PARENT = """
import sys, time
from emailplatform import processes
processes.STOP_S = 1.0
group = processes.ProcessGroup(lambda *_: None)
group.start("child", sys.argv[1:])
print(group.pid("child"), flush=True)
while True:
    time.sleep(0.1)
    group.tend()
"""


@pytest.fixture
def lines() -> list[tuple[str, str]]:
    return []


@pytest.fixture
def group(lines):
    with ProcessGroup(lambda *line: lines.append(line)) as group:
        yield group


def test_a_process_runs_and_what_it_writes_is_heard(group, lines):
    group.start(
        "one", ["sh", "-c", 'echo "$GREETING"; echo aside >&2; sleep 60'], {"GREETING": "hé"}
    )

    assert group.is_alive("one")
    assert psutil.pid_exists(group.pid("one"))
    eventually(lambda: lines == [("one", "hé"), ("one", "aside")])


def test_leaving_the_context_stops_everything():
    with ProcessGroup(lambda *_: None) as group:
        group.start("one", SLEEP)
        group.start("two", SLEEP)
        pids = [group.pid("one"), group.pid("two")]

    assert not any(psutil.pid_exists(pid) for pid in pids)


def test_one_that_does_not_listen_is_killed_with_its_children(group, lines, monkeypatch):
    monkeypatch.setattr(processes, "STOP_S", 0.5)
    group.start("stubborn", ["sh", "-c", STUBBORN])
    eventually(lambda: ("stubborn", "deaf") in lines)
    pid = group.pid("stubborn")

    group.stop("stubborn")

    assert not psutil.pid_exists(pid)
    eventually(lambda: not [p for p in psutil.process_iter() if _group(p.pid) == pid])


def test_a_terminals_interrupt_does_not_reach_the_children(group):
    group.start("one", SLEEP)

    assert os.getsid(group.pid("one")) != os.getsid(0)


@pytest.mark.crash
def test_a_killed_process_is_announced_and_starts_again(group):
    group.start("one", SLEEP)
    first = group.pid("one")
    kill(first)
    eventually(lambda: not group.is_alive("one"))

    assert group.tend() == ["one ended (signal 9); it starts again in 1 s."]
    eventually(lambda: group.tend() == [] and group.is_alive("one"))
    assert group.pid("one") != first


def test_one_that_keeps_failing_waits_ever_longer(group, monkeypatch):
    monkeypatch.setattr(processes, "MAX_PAUSE_S", 0.0)
    group.start("broken", ["sh", "-c", "exit 3"])
    said: list[str] = []

    def has_failed_thrice() -> bool:
        said.extend(group.tend())
        return len(said) >= 3

    eventually(has_failed_thrice)

    assert said[0] == "broken ended (exit code 3); it starts again now."


@pytest.mark.parametrize(
    ("ran_s", "failures", "pause"), [(1, 0, 1), (1, 3, 8), (1, 9, 30), (99, 3, 0)]
)
def test_the_pause_grows_with_failures_and_not_for_one_that_ran_long(group, ran_s, failures, pause):
    group.start("one", ["true"])
    child = group._children["one"]
    child.process.wait()
    child.failures = failures

    said = group._plan(child, child.started_at + ran_s)

    assert said.endswith(f"in {pause} s." if pause else "now.")


def test_a_process_can_be_restarted_on_purpose(group):
    group.start("one", SLEEP)
    first = group.pid("one")

    group.restart("one")

    assert group.is_alive("one")
    assert group.pid("one") != first
    assert not psutil.pid_exists(first)


def test_a_name_runs_once(group):
    group.start("one", SLEEP)

    with pytest.raises(ValueError, match="one is running already"):
        group.start("one", SLEEP)


@pytest.mark.crash
@pytest.mark.parametrize("child", [SLEEP, ["sh", "-c", STUBBORN]])
def test_children_end_with_a_parent_that_is_killed(child):
    with _parent_of(child) as (parent, pid):
        parent.kill()

    eventually(lambda: not _lives(pid))


@pytest.mark.crash
def test_a_guard_that_is_killed_is_replaced():
    with _parent_of(SLEEP) as (parent, pid):
        owner = psutil.Process(parent.pid)
        (guard,) = [each.pid for each in owner.children() if "guard.py" in str(each.cmdline())]
        kill(guard)
        # Not only forked: it waits to be told more, so it has been told what there is.
        eventually(lambda: any(_waits(each) for each in owner.children() if each.pid != guard))

        parent.kill()

    eventually(lambda: not _lives(pid))


def _waits(process: psutil.Process) -> bool:
    """Say whether it is a guard that has started and reads."""
    try:
        return "guard.py" in str(process.cmdline()) and process.status() == psutil.STATUS_SLEEPING
    except psutil.NoSuchProcess:
        return False


@contextmanager
def _parent_of(child: list[str]) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """A process that tends a group with the child in it, and the child's process id."""
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, *child], cwd=ROOT, stdout=subprocess.PIPE
    ) as parent:
        assert parent.stdout
        yield parent, int(parent.stdout.readline())


def _lives(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _group(pid: int) -> int:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return 0
