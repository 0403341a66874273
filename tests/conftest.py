"""Real PostgreSQL and Redis for every test; the network only on loopback."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def pytest_configure() -> None:
    """Start the embedded servers unless the environment names others, before Django is set up."""
    os.environ.setdefault("LOCAL", "true")
    os.environ.setdefault("EMBEDDED_FSYNC", "off")
    if not ("DATABASE_URL" in os.environ and "REDIS_URL" in os.environ):
        os.environ.setdefault("VAR_DIR", str(ROOT / "var" / "test"))
        from emailplatform import embedded

        embedded.use(ROOT)


@pytest.fixture(autouse=True)
def no_outside_network(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Refuse connections to anything but this machine: a test that needs more is wrong."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: object) -> None:
        if isinstance(address, tuple) and address[0] not in {"127.0.0.1", "localhost", "::1"}:
            raise AssertionError(f"A test tried to reach {address[0]}.")
        return connect(self, address)  # type: ignore[arg-type]

    monkeypatch.setattr(socket.socket, "connect", guarded)
    yield
