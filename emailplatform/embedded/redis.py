"""The embedded Redis or Valkey: how it is started, asked and stopped."""

import signal
from pathlib import Path
from urllib.parse import quote

from emailplatform.embedded import binaries, sockets
from emailplatform.embedded.places import Place, find_place
from emailplatform.embedded.sockets import State


class Redis:
    """One Redis server under `var`. Not `durable`: nothing is written to the disk."""

    title = "Redis"
    stopping = ((signal.SIGTERM, 20.0), (signal.SIGKILL, 5.0))

    def __init__(self, var: Path, *, durable: bool) -> None:
        self.place: Place = find_place("redis", var, unprivileged=False)
        self.durable = durable
        self.socket = self.place.sockets / "redis.sock"

    @property
    def url(self) -> str:
        return f"unix://{quote(str(self.socket))}?db=0"

    def state(self) -> State:
        answer = sockets.ask(self.socket, b"PING\r\n")
        if answer is None:
            return State.DOWN
        return State.READY if answer.startswith(b"+PONG") else State.BUSY

    def prepare(self) -> list[str | Path]:
        """Return what to run."""
        program = binaries.find_redis()
        self.place.own(self.place.data)
        settings: dict[str, str | Path] = {
            "port": "0",
            "unixsocket": self.socket,
            "unixsocketperm": "700",
            "dir": self.place.data,
            "appendonly": "yes" if self.durable else "no",
            "save": "",
            "maxmemory-policy": "noeviction",
            "daemonize": "no",
            "loglevel": "warning",
        }
        options = [word for name, value in settings.items() for word in (f"--{name}", value)]
        return [program.path, *options]

    def explain(self, log: str) -> str:
        """Return what the end of the log of a failed start means, "" if nothing known."""
        if any(sign in log for sign in ("RDB format version", "append only file", "signature")):
            return (
                f"{self.place.data} was written by a newer version, or is broken. It holds queues "
                "and caches only: move it away and start again."
            )
        return ""
