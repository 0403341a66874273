"""The providers on loopback."""

from collections.abc import Iterator

import pytest

from delivery.providers import (
    connections,
    mailgun,
    postmark,
    sendgrid,
    ses_client,
    smtp_opening,
    smtp_session,
)
from tests.delivery.providers import esps


@pytest.fixture(autouse=True)
def _no_connection_is_kept_for_the_next_test() -> Iterator[None]:
    yield
    connections.close_all()


@pytest.fixture
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for a silent provider half a second instead of twenty."""
    for module in (sendgrid, mailgun, postmark):
        monkeypatch.setattr(module, "TIMEOUT", (0.5, 0.5))
    for module in (ses_client, smtp_opening, smtp_session):
        monkeypatch.setattr(module, "READ_TIMEOUT_S", 0.5)
    for module in (ses_client, smtp_opening):
        monkeypatch.setattr(module, "CONNECT_TIMEOUT_S", 0.5)
    monkeypatch.setattr(smtp_session, "FINAL_DOT_TIMEOUT_S", 0.5)


@pytest.fixture(params=esps.KINDS)
def esp(request: pytest.FixtureRequest) -> Iterator[esps.Esp]:
    """Every kind of provider, one after the other."""
    with esps.esp(request.param) as model:
        yield model


@pytest.fixture(params=esps.HTTP_KINDS)
def http_esp(request: pytest.FixtureRequest) -> Iterator[esps.Esp]:
    """Every kind of provider that has an HTTP API."""
    with esps.esp(request.param) as model:
        yield model
