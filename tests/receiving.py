"""A real HTTP server on loopback that behaves as badly as a test wants."""

from __future__ import annotations

import json
import socket
import ssl
import threading
from collections.abc import Callable
from typing import Any

Script = Callable[[socket.socket], None]
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def answer(status: int, body: bytes = b"", **headers: str) -> bytes:
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    head = f"HTTP/1.1 {status} Said\r\nContent-Length: {len(body)}\r\n{lines}\r\n"
    return head.encode() + body


class Receiver:
    """Takes POSTs and answers each with the next of `answers` (bytes, or a script), else 200."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.got: list[tuple[dict[str, str], bytes]] = []
        self.answers: list[bytes | Script] = []
        self.usually: bytes | Script = OK
        self.connections = 0
        self._tls = tls
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._server = socket.create_server(("127.0.0.1", 0), backlog=200)
        self.port = self._server.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/hook"
        self.is_over = threading.Event()
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self.is_over.set()
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self._thread.join()
        with self._lock:
            for each in self._open:
                each.close()

    def ids(self) -> list[str]:
        with self._lock:
            return [headers["webhook-id"] for headers, _body in self.got]

    def bodies(self) -> list[dict[str, Any]]:
        with self._lock:
            return [json.loads(body) for _headers, body in self.got]

    def _listen(self) -> None:
        while not self.is_over.is_set():
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            with self._lock:
                self.connections += 1
                self._open.add(client)
            threading.Thread(target=self._serve, args=[client], daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        try:
            if self._tls:
                client = self._tls.wrap_socket(client, server_side=True)
            with client, client.makefile("rb") as lines:
                while self._serve_one(client, lines):
                    pass
        except (OSError, ValueError, KeyError):
            pass  # hung up, or speaks something else
        finally:
            with self._lock:
                self._open.discard(client)

    def _serve_one(self, client: socket.socket, lines: Any) -> bool:
        if not lines.readline():
            return False
        headers = {}
        while (line := lines.readline().decode("latin-1").strip()) != "":
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        body = lines.read(int(headers["content-length"]))
        with self._lock:
            self.got.append((headers, body))
            said = self.answers.pop(0) if self.answers else self.usually
        if callable(said):
            said(client)
            return False
        client.sendall(said)
        return True
