"""A minimal HTTP sink: takes every POST, answers as SendGrid does, and counts.

    python -m delivery.sandbox.sink --port 8027

For benchmarks of the sender alone: it reads no body beyond its Content-Length and keeps nothing.
GET / answers {"requests": …, "bytes": …}.
"""

import argparse
import asyncio
import json
import re
import sys
from collections.abc import Sequence

_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d+)", re.IGNORECASE)
_CONTINUE = re.compile(rb"\r\nexpect:[ \t]*100-continue", re.IGNORECASE)
_ACCEPTED = (
    b"HTTP/1.1 202 Accepted\r\nServer: nginx\r\nContent-Length: 0\r\n"
    b"Connection: keep-alive\r\nX-Message-Id: sink-%d\r\n\r\n"
)
MAX_HEAD = 64 * 1024


class Sink:
    """What all connections count together."""

    def __init__(self) -> None:
        self.requests = 0
        self.bytes = 0

    def protocol(self) -> "Connection":
        """Return the protocol of one connection."""
        return Connection(self)


class Connection(asyncio.Protocol):
    """One client's connection: heads are read, bodies are only counted."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._head = b""
        self._missing = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember where to answer."""
        if isinstance(transport, asyncio.Transport):
            self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer every request that is complete."""
        while data:
            if self._missing:
                taken = min(self._missing, len(data))
                self._missing -= taken
                data = data[taken:]
                if not self._missing:
                    self._answer()
                continue
            data = self._read_head(data)

    def _read_head(self, data: bytes) -> bytes:
        """Read on in the head of a request; return what comes after it."""
        self._head += data
        end = self._head.find(b"\r\n\r\n")
        if end < 0:
            if len(self._head) > MAX_HEAD:
                self._transport.abort()
            return b""
        head, rest = self._head[: end + 2], self._head[end + 4 :]
        self._head = b""
        if head.startswith(b"GET"):
            self._report()
            return rest
        length = _LENGTH.search(head)
        self._missing = int(length.group(1)) if length else 0
        self._sink.bytes += self._missing
        if _CONTINUE.search(head):
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if not self._missing:
            self._answer()
        return rest

    def _answer(self) -> None:
        self._sink.requests += 1
        self._transport.write(_ACCEPTED % self._sink.requests)

    def _report(self) -> None:
        body = json.dumps({"requests": self._sink.requests, "bytes": self._sink.bytes}).encode()
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
        self._transport.write(head.encode() + b"\r\n\r\n" + body)


async def serve(host: str, port: int) -> None:
    """Listen for ever."""
    server = await asyncio.get_running_loop().create_server(Sink().protocol, host, port)
    sys.stdout.write(f"Sink: http://{host}:{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until interrupted; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m delivery.sandbox.sink", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8027)
    given = parser.parse_args(arguments)
    try:
        asyncio.run(serve(given.host, given.port))
    except KeyboardInterrupt:
        return 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
