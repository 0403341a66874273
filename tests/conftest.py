"""Real PostgreSQL and Redis for every test; the network only on loopback."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from django.conf import settings

from emailplatform import embedded

ROOT = Path(__file__).resolve().parent.parent


def pytest_configure() -> None:
    """Start the embedded servers unless the environment names others, then read the settings.

    pytest-django sets Django up after this. It would do so before any conftest if the settings
    were named in pyproject.toml.
    """
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "emailplatform.settings")
    os.environ.setdefault("LOCAL", "true")
    os.environ.setdefault("EMBEDDED_FSYNC", "off")
    os.environ.setdefault("VAR_DIR", str(ROOT / "var" / "test"))
    embedded.use(ROOT)
    settings.DATABASES  # noqa: B018  read them


@pytest.fixture(autouse=True)
def no_outside_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse connections to anything but this machine: a test that needs more is wrong."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: object) -> None:
        if isinstance(address, tuple) and address[0] not in {"127.0.0.1", "localhost", "::1"}:
            raise AssertionError(f"A test tried to reach {address[0]}.")
        return connect(self, address)  # type: ignore[arg-type]

    monkeypatch.setattr(socket.socket, "connect", guarded)
