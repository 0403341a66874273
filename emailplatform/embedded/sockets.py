"""Asking what listens on a unix socket."""

import enum
import socket
import struct
import sys
from pathlib import Path

TIMEOUT_S = 2.0
MAX_PATH = 103
"""Bytes a socket's path may have: sun_path is 104 on macOS and 108 on Linux, with the final NUL."""


class State(enum.Enum):
    """What a server says of itself: gone, starting or stopping, at your service."""

    DOWN = "down"
    BUSY = "busy"
    READY = "ready"


def ask(path: Path, question: bytes) -> bytes | None:
    """Return the first bytes of the answer to `question`, b"" for none, None if nobody listens."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(TIMEOUT_S)
        try:
            client.connect(str(path))
        except (FileNotFoundError, ConnectionRefusedError):
            return None
        except OSError:  # the queue is full
            return b""
        try:
            client.sendall(question)
            return client.recv(1024)
        except OSError:
            return b""


def listener(path: Path) -> int:
    """Return the process id of who listens on the socket, 0 if nobody does.

    The kernel remembers it, so it cannot be stale as a pid file is.
    """
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(TIMEOUT_S)
        try:
            client.connect(str(path))
        except OSError:
            return 0
        if sys.platform == "darwin":
            return int.from_bytes(client.getsockopt(0, 2, 4), sys.byteorder)  # LOCAL_PEERPID
        pid, _uid, _gid = struct.unpack(
            "3i", client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        )
        return int(pid)
