"""Logs are followed over rotation, truncation and restarts: every line once, in order."""

from __future__ import annotations

import gzip
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from webhooks.following import CHUNK, Follower, Place


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "mail.log"


class Reading:
    """A log that is read, with restarts in between."""

    def __init__(self, log: Path) -> None:
        self.log = log
        self.told: list[str] = []
        self.follower = Follower(log, Place(), self.told.append)

    def restart(self) -> None:
        self.follower.close()
        self.follower = Follower(self.log, self.follower.place, self.told.append)

    def all(self) -> list[bytes]:
        lines: list[bytes] = []
        while new := self.follower.read():
            lines += new
        return lines


def write(path: Path, *lines: str, end: str = "\n") -> None:
    with path.open("a") as file:
        file.write("\n".join(lines) + end)


def renamed(log: Path) -> None:
    log.rename(f"{log}.1")
    log.touch()


def copied_and_truncated(log: Path) -> None:
    shutil.copy(log, f"{log}.1")
    os.truncate(log, 0)


ROTATIONS = pytest.mark.parametrize("rotate", [renamed, copied_and_truncated])
RESTARTS = pytest.mark.parametrize("is_restarted", [False, True])


def test_a_log_that_is_not_there_is_waited_for(log):
    reading = Reading(log)
    assert reading.all() == []

    write(log, "one")

    assert reading.all() == [b"one"]


def test_a_line_that_is_being_written_is_read_when_it_is_whole(log):
    write(log, "one", "tw", end="")
    reading = Reading(log)
    assert reading.all() == [b"one"]

    write(log, "o")

    assert reading.all() == [b"two"]


@ROTATIONS
@RESTARTS
def test_what_was_not_read_before_a_rotation_is_read_first(
    log, rotate: Callable[[Path], None], is_restarted
):
    write(log, "one", "two")
    reading = Reading(log)
    assert reading.all() == [b"one", b"two"]

    write(log, "three")
    rotate(log)
    write(log, "four")
    if is_restarted:
        reading.restart()

    assert reading.all() == [b"three", b"four"]
    write(log, "five")
    assert reading.all() == [b"five"]
    assert reading.told == []


def test_a_logger_may_write_to_the_old_file_until_it_opens_the_new_one(log):
    write(log, "one")
    reading = Reading(log)
    reading.all()
    renamed(log)
    assert reading.all() == []

    write(Path(f"{log}.1"), "two")
    assert reading.all() == [b"two"]
    write(log, "three")

    assert reading.all() == [b"three"]


def test_several_rotations_while_nobody_reads_lose_nothing(log):
    write(log, "one")
    reading = Reading(log)
    reading.all()
    write(log, "two")
    log.rename(f"{log}.2")
    os.utime(f"{log}.2", (1000, 1000))
    write(log, "three")
    log.rename(f"{log}.1")
    write(log, "four")
    reading.restart()

    assert reading.all() == [b"two", b"three", b"four"]


def test_a_last_line_without_an_end_is_read_when_the_log_was_rotated(log):
    write(log, "one", "two", end="")
    reading = Reading(log)
    assert reading.all() == [b"one"]
    renamed(log)
    write(log, "three")

    assert reading.all() == [b"two", b"three"]


def test_a_compressed_log_is_left_alone_and_said_so(log):
    write(log, "one")
    reading = Reading(log)
    reading.all()
    write(log, "two")
    Path(f"{log}.2.gz").write_bytes(gzip.compress(log.read_bytes()))
    log.unlink()
    write(Path(f"{log}.1"), "three")
    write(log, "four")
    reading.restart()

    assert reading.all() == [b"three", b"four"]
    assert "may be lost" in reading.told[0]


def test_a_log_that_was_truncated_and_has_grown_past_the_place_is_read_anew(log):
    write(log, "one")
    reading = Reading(log)
    reading.all()
    os.truncate(log, 0)
    write(log, "something longer")

    assert reading.all() == [b"something longer"]
    assert "may be lost" in reading.told[0]


def test_a_line_without_end_is_passed_over(log):
    write(log, "x" * (CHUNK + 10), "one")

    assert Reading(log).all()[-1] == b"one"


@settings(deadline=None, max_examples=60)
@given(st.lists(st.sampled_from(["write", "write", "rename", "truncate", "read", "restart"])))
def test_whatever_happens_to_a_log_every_line_is_read_once(tmp_path_factory, steps):
    log = tmp_path_factory.mktemp("log") / "mail.log"
    log.touch()
    reading, written, read = Reading(log), 0, list[bytes]()
    rotated = 0
    for step in [*steps, "write", "read", "write", "read"]:
        if step == "write":
            written += 1
            write(log, f"line {written:04}")
        elif step == "read":
            read += reading.all()
        elif step == "restart":
            reading.restart()
        elif log.stat().st_size:
            read += reading.all()
            rotated += 1
            (renamed if step == "rename" else copied_and_truncated)(log)
            Path(f"{log}.1").rename(f"{log}.{rotated + 1:02}")
    assert read == [b"line %04d" % number for number in range(1, written + 1)]
