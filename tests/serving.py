"""A Redis of one's own, to be stopped and started again in the middle of a test."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from emailplatform.embedded import sockets
from emailplatform.embedded.binaries import find_redis


class OwnRedis:
    """Keeps nothing on the disk: when it starts again it is empty."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="redis-"))
        self.socket = self.folder / "redis.sock"
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"unix://{self.socket}?db=0"

    def start(self) -> None:
        options = ["--port", "0", "--unixsocket", str(self.socket), "--save", ""]
        self.process = subprocess.Popen(
            [str(find_redis().path), *options, "--dir", str(self.folder)],
            stdout=subprocess.DEVNULL,
        )
        give_up_at = time.monotonic() + 20
        while not (sockets.ask(self.socket, b"PING\r\n") or b"").startswith(b"+PONG"):
            assert time.monotonic() < give_up_at, "Redis does not start."
            time.sleep(0.02)

    def stop(self) -> None:
        """Kill it: there is no farewell."""
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process = None
            self.socket.unlink(missing_ok=True)

    def remove(self) -> None:
        self.stop()
        shutil.rmtree(self.folder)
