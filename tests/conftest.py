"""Real PostgreSQL and Redis for every test; the network only on loopback."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import django
import pytest
from django.db import connection
from pytest_django import DjangoDbBlocker

from emailplatform import embedded

ROOT = Path(__file__).resolve().parent.parent


def _prepare() -> None:
    """Start the embedded servers unless the environment names others, then set Django up.

    While this file is imported: the conftests of folders below may import models, and pytest
    reads those before it configures anything.
    """
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "emailplatform.settings")
    os.environ.setdefault("LOCAL", "true")
    os.environ.setdefault("EMBEDDED_FSYNC", "off")
    os.environ.setdefault("ROUTING_FRESH_S", "0")
    os.environ.setdefault("DNS_RESOLVERS", "off")
    # Redis outlives a run: tests that send to the same address would run into it.
    os.environ.setdefault("RECIPIENT_RATE", "")
    os.environ.setdefault("VAR_DIR", str(ROOT / "var" / "test"))
    embedded.use(ROOT)
    django.setup()


_prepare()


@pytest.fixture(autouse=True)
def no_outside_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse connections to anything but this machine: a test that needs more is wrong."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: object) -> None:
        if isinstance(address, tuple) and address[0] not in {"127.0.0.1", "localhost", "::1"}:
            raise AssertionError(f"A test tried to reach {address[0]}.")
        return connect(self, address)  # type: ignore[arg-type]

    monkeypatch.setattr(socket.socket, "connect", guarded)


@pytest.fixture(scope="session", autouse=True)
def nobody_is_left(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """End what still talks to the test database at the end, so that it can be dropped.

    A server thread or a worker that a test stopped may take a moment to hang up.
    """
    yield
    with django_db_blocker.unblock(), connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
