"""What goes wrong on order, while the sandbox runs: over HTTP for every kind, and over SMTP."""

import contextlib
import smtplib
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests

from delivery.providers import connections, registry
from delivery.providers.base import Account, OutcomeUnknown, Provider, Unavailable
from delivery.sandbox.server import Sandbox
from tests.delivery.providers.letters import person, small

CREDENTIALS = {
    "sendgrid": {"api_key": "SG.key"},
    "mailgun": {"api_key": "key-mailgun"},
    "postmark": {"server_token": "token-postmark"},
    "ses": {"access_key_id": "AKIASANDBOX", "secret_access_key": "secret-ses"},
    "smtp": {"username": "user", "password": "word"},
}
KINDS = tuple(CREDENTIALS)


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Wait for a silent provider half a second instead of twenty."""
    for kind in ("sendgrid", "mailgun", "postmark"):
        monkeypatch.setattr(f"delivery.providers.{kind}.TIMEOUT", (1, 0.5))
    monkeypatch.setattr("delivery.providers.ses_client.READ_TIMEOUT_S", 0.5)
    monkeypatch.setattr("delivery.providers.smtp_session.FINAL_DOT_TIMEOUT_S", 0.5)
    yield
    connections.close_all()


def provider(sandbox: Sandbox, kind: str) -> Provider:
    address = {
        "sendgrid": {"api_url": f"{sandbox.url}/sendgrid/v3/"},
        "mailgun": {"api_url": f"{sandbox.url}/mailgun/v3", "domain": "news.example"},
        "postmark": {"api_url": f"{sandbox.url}/postmark/"},
        "ses": {"endpoint_url": f"{sandbox.url}/ses", "region": "us-east-1"},
        "smtp": {"host": "127.0.0.1", "port": str(sandbox.smtp_port), "security": "none"},
    }
    return registry.build(kind, Account(1, 1, {**CREDENTIALS[kind], **address[kind]}))


def send(sandbox: Sandbox, kind: str, number: int = 0) -> None:
    """Send one mail. Raises what the provider says."""
    batch = small([person(number)], from_email="news@news.example")
    list(provider(sandbox, kind).send(batch))


def order(sandbox: Sandbox, **what: Any) -> requests.Response:
    return requests.put(f"{sandbox.url}/_sandbox/faults", json=what, timeout=10)


def met(sandbox: Sandbox) -> dict[tuple[str, str], int]:
    told = requests.get(f"{sandbox.url}/_sandbox/faults", timeout=10).json()
    return {(one["account"], one["fault"]): one["met"] for one in told if one["met"]}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("fault", "kept"), [("hang", 2), ("reset", 2), ("broken", 2), ("lost", 1)])
def test_the_next_call_is_in_doubt_and_the_one_after_it_is_not(
    sandbox: Sandbox, kind: str, fault: str, kept: int
) -> None:
    order(sandbox, fault=fault, calls=1, account=kind)

    with pytest.raises(OutcomeUnknown):
        send(sandbox, kind)
    send(sandbox, kind)

    assert sandbox.stats()["messages"] == kept
    assert len(sandbox.duplicates()) == kept - 1
    assert met(sandbox) == {(kind, fault): 1}


@pytest.mark.parametrize("kind", KINDS)
def test_a_throttled_call_keeps_nothing(sandbox: Sandbox, kind: str) -> None:
    order(sandbox, fault="429", calls=1, account=kind)

    with pytest.raises(Unavailable):
        send(sandbox, kind)

    assert sandbox.stats()["messages"] == 0


def test_an_order_for_one_account_leaves_the_others_alone(sandbox: Sandbox) -> None:
    order(sandbox, fault="reset", calls=5, account="mailgun")

    send(sandbox, "sendgrid")

    assert met(sandbox) == {}


def test_a_share_of_all_calls_fails_whoever_makes_them(sandbox: Sandbox) -> None:
    order(sandbox, fault="reset", share=0.5)

    for number in range(30):
        with contextlib.suppress(OutcomeUnknown):
            send(sandbox, ("sendgrid", "postmark")[number % 2], number)

    counts = met(sandbox)
    assert set(counts) == {("sendgrid", "reset"), ("postmark", "reset")}
    assert 5 < sum(counts.values()) < 25
    assert sandbox.stats()["messages"] == 30


def test_nothing_goes_wrong_any_more_when_the_orders_are_taken_back(sandbox: Sandbox) -> None:
    order(sandbox, fault="lost", share=1, calls=3)
    requests.delete(f"{sandbox.url}/_sandbox/faults", timeout=10)

    send(sandbox, "sendgrid")

    assert requests.get(f"{sandbox.url}/_sandbox/faults", timeout=10).json() == []


@pytest.mark.parametrize(
    "what",
    [
        {"fault": "flood", "calls": 1},
        {"fault": "hang", "calls": -1},
        {"fault": "hang", "calls": True},
        {"fault": "hang", "share": 1.5},
        {"fault": "hang", "calls": 1, "account": "nobody"},
        {"fault": "hang", "times": 1},
    ],
)
def test_an_order_that_cannot_be_is_refused_and_changes_nothing(
    sandbox: Sandbox, what: dict[str, Any]
) -> None:
    answer = order(sandbox, **what)

    assert answer.status_code == 400
    assert answer.json()["error"].endswith(".")
    assert requests.get(f"{sandbox.url}/_sandbox/faults", timeout=10).json() == []


def test_a_sandbox_that_hangs_can_still_be_stopped(
    sandbox: Sandbox, wait: Callable[..., Any]
) -> None:
    order(sandbox, fault="hang", calls=1, account="smtp")
    client = smtplib.SMTP("127.0.0.1", sandbox.smtp_port, timeout=20)
    client.login("user", "word")
    for line in ("MAIL FROM:<news@news.example>", "RCPT TO:<anna@example.com>", "DATA"):
        client.docmd(line)
    client.send(b"Subject: x\r\n\r\nx\r\n.\r\n")
    wait(lambda: sandbox.stats()["messages"] == 1)

    began = time.monotonic()
    sandbox.stop()

    assert time.monotonic() - began < 5
    with pytest.raises(smtplib.SMTPServerDisconnected):
        client.getreply()
