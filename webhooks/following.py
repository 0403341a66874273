"""Follows a log file over rotation and restarts. Knows no database: the caller keeps the place.

A place is an inode, an offset, and a fingerprint of the beginning of the file. When the log is
rotated (renamed and made anew, or copied and truncated), what was not read of the old file is read
first, wherever it lies beside the log now; compressed files are left alone.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

CHUNK = 1 << 20
"""Bytes that are read at a time; also the longest line."""
_HEAD = 1024
_PACKED = {".gz", ".xz", ".bz2", ".zst", ".zip"}


@dataclass(frozen=True, slots=True)
class Place:
    """How far a log was read. Offset 0 of inode 0: not at all."""

    inode: int = 0
    offset: int = 0
    head: str = ""
    """Of the first bytes before the offset: the same inode may be another file by now."""


class Follower:
    """Hands out complete lines, and the place behind them."""

    def __init__(self, path: Path, place: Place, say: Callable[[str], None]) -> None:
        self._path, self._say = path, say
        self._file = -1
        self.place = place
        self._older: list[Path] = []
        """Rotated files that are to be read before the log itself, the next one first."""

    def close(self) -> None:
        """Let go of the file."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def read(self) -> list[bytes]:
        """Return the next lines, without their ends; none if nothing new is there.

        `place` is behind them afterwards. Raises OSError if the file may not be read.
        """
        if self._file < 0 and not self._open():
            return []
        while True:
            if not self._is_same_file():
                self._lost_by_truncation()
            data = os.pread(self._file, CHUNK, self.place.offset)
            if end := _end_of_lines(data):
                return self._advance(data[:end])
            if not self._is_over():
                return []
            if data:
                return self._advance(data)  # The last line of a file that nobody writes to.
            if not self._next_file():
                return []

    # --- Places --------------------------------------------------------------------------

    def _advance(self, data: bytes) -> list[bytes]:
        place = self.place
        offset = place.offset + len(data)
        head = place.head
        if place.offset < _HEAD:
            head = _head_of(self._file, offset)
        self.place = Place(os.fstat(self._file).st_ino, offset, head)
        return data.splitlines()

    def _is_same_file(self) -> bool:
        """Say whether the open file still begins as it did, and is as long as was read."""
        place = self.place
        size = os.fstat(self._file).st_size
        return size >= place.offset and _head_of(self._file, place.offset) == place.head

    def _open(self) -> bool:
        """Open the file that goes on at the place; False while there is none."""
        found = self._find()
        if found is None:
            return False
        path, place = found
        try:
            self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        self.place = replace(place, inode=os.fstat(self._file).st_ino)
        return True

    def _find(self) -> tuple[Path, Place] | None:
        if not self.place.inode:
            return (self._path, Place()) if self._path.exists() else None
        rotated = sorted(self._rotated(), key=_written)
        for path in [self._path, *reversed(rotated)]:
            if _goes_on(path, self.place):
                self._older = rotated[rotated.index(path) + 1 :] if path in rotated else []
                return path, self.place
        if not self._path.exists():
            return None
        self._say(
            f"Where {self._path} was read to is gone or compressed: what was logged in between "
            "may be lost. All that lies there is read from its beginning."
        )
        self._older = [*rotated, self._path]
        return self._older.pop(0), Place()

    def _rotated(self) -> list[Path]:
        names = self._path.parent.glob(f"{self._path.name}?*")
        return [path for path in names if path.suffix not in _PACKED and path.is_file()]

    def _lost_by_truncation(self) -> None:
        """Go on in the copy that was made before the log was truncated, else at its beginning."""
        self.close()
        if not self._open():
            raise FileNotFoundError(f"{self._path} is gone.")

    # --- From one file to the next -------------------------------------------------------

    def _is_over(self) -> bool:
        """Say whether nobody writes to the open file any more.

        A logger writes to the old file until it opens the new one: once something stands there,
        the old one is complete.
        """
        if self._older:
            return True
        with contextlib.suppress(FileNotFoundError):
            new = self._path.stat()
            if new.st_ino != os.fstat(self._file).st_ino and new.st_size:
                # What was written since we looked comes first.
                return os.fstat(self._file).st_size <= self.place.offset or self._is_torn()
        return False

    def _is_torn(self) -> bool:
        rest = os.pread(self._file, CHUNK, self.place.offset)
        return b"\n" not in rest

    def _next_file(self) -> bool:
        self.close()
        path = self._older.pop(0) if self._older else self._path
        try:
            self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        self.place = Place(os.fstat(self._file).st_ino, 0, "")
        return True


def _end_of_lines(data: bytes) -> int:
    """Return where the last complete line ends; what fills a chunk is no line of a mail server."""
    return data.rfind(b"\n") + 1 or len(data) * (len(data) == CHUNK)


def _head_of(file: int, offset: int) -> str:
    """Return a fingerprint of the beginning of a file, as far as it was read; '' of nothing."""
    head = os.pread(file, min(offset, _HEAD), 0)
    return hashlib.sha256(head).hexdigest()[:32] if offset else ""


def _goes_on(path: Path, place: Place) -> bool:
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        if not place.offset:
            return os.fstat(file).st_ino == place.inode
        is_long_enough = os.fstat(file).st_size >= place.offset
        return is_long_enough and _head_of(file, place.offset) == place.head
    finally:
        os.close(file)


def _written(path: Path) -> float:
    """Return when a file was last written."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0
