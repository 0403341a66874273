"""File locks (flock): they end with the last process that has the descriptor, kill -9 included."""

import fcntl
import os
import time
from pathlib import Path

SHARED = fcntl.LOCK_SH
EXCLUSIVE = fcntl.LOCK_EX


def open_lock(path: Path) -> int:
    """Return a descriptor of the lock file, made if missing; not inherited by children."""
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def take(lock: int, kind: int) -> bool:
    """Take the lock if it can be had at once; say whether it was."""
    try:
        fcntl.flock(lock, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def wait_for(lock: int, kind: int, seconds: float) -> bool:
    """Take the lock as soon as it can be had; False after `seconds`."""
    deadline = time.monotonic() + seconds
    while not take(lock, kind):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def is_current(lock: int, path: Path) -> bool:
    """Say whether `path` is still the file that `lock` has open: it was not deleted meanwhile."""
    try:
        return os.path.samestat(os.fstat(lock), path.stat())
    except OSError:
        return False
