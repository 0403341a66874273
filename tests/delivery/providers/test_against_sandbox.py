"""Both halves of a provider against the sandbox, which was written apart from them.

A mail goes out, arrives as it should be read, and what the sandbox then tells by webhook is
believed, understood, and names our message and the provider's own.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest

from delivery.providers import registry
from delivery.providers.base import (
    Account,
    Event,
    EventType,
    Forged,
    Provider,
    Verdict,
    WebhookRequest,
)
from delivery.sandbox import config
from delivery.sandbox.server import Sandbox
from delivery.sandbox.signing import make_keys
from tests.delivery.providers import wire
from tests.delivery.providers.letters import newsletter, person, small

KINDS = tuple(registry.KINDS)
HEARING_KINDS = ("sendgrid", "ses", "mailgun", "postmark")
DOMAIN = "example.org"
CREDENTIALS = {
    "sendgrid": {"api_key": "SG.key"},
    "mailgun": {"api_key": "key-mailgun"},
    "postmark": {"server_token": "token-postmark"},
    "ses": {"access_key_id": "AKIASANDBOX", "secret_access_key": "secret-ses"},
    "smtp": {"username": "user", "password": "word"},
}
QUIET = {
    "bounce": 0,
    "soft_bounce": 0,
    "block": 0,
    "defer": 0,
    "open": 0,
    "machine_open": 0,
    "click": 0,
    "machine_click": 0,
    "complaint": 0,
    "unsubscribe": 0,
    "event_latency": 0,
}


@dataclass
class Both:
    """A provider, and the sandbox on its other side."""

    provider: Provider
    sandbox: Sandbox
    platform: wire.HttpServer

    def events(self) -> list[Event]:
        """Return what was told so far, verified and parsed."""
        found: list[Event] = []
        for request in self.platform.requests:
            heard = WebhookRequest(request.headers, request.body, datetime.now(UTC))
            self.provider.verify(heard)
            found += self.provider.parse(heard)
        return found

    def delivered(self, people: int) -> list[Event]:
        """Return the events that say delivered, once they are as many as people."""
        deadline = time.monotonic() + 15
        while time.monotonic() < deadline:
            found = [event for event in self.events() if event.type is EventType.DELIVERED]
            if len(found) >= people:
                return found
            time.sleep(0.02)
        raise AssertionError(f"Only {len(found)} of {people} deliveries were told.")


@pytest.fixture(params=KINDS)
def both(request: pytest.FixtureRequest) -> Iterator[Both]:
    kind = request.param
    keys = make_keys(kind)
    with wire.http_server() as platform:
        account = config.Account(
            name=kind,
            kind=kind,
            credentials=CREDENTIALS[kind],
            webhook_url="" if kind == "smtp" else platform.url,
            signing=keys,
            domain=DOMAIN,
        )
        options = config.Options().changed(QUIET)
        sandbox = Sandbox(config.Config([account], options, port=0, smtp_port=0)).start()
        try:
            values = {**CREDENTIALS[kind], **settings(kind, sandbox, keys)}
            yield Both(registry.build(kind, Account(1, 1, values)), sandbox, platform)
        finally:
            sandbox.stop()


def settings(kind: str, sandbox: Sandbox, keys: dict[str, str]) -> dict[str, str]:
    url = f"{sandbox.url}/{kind}"
    return {
        "sendgrid": {"api_url": f"{url}/v3/", "webhook_public_key": keys.get("public_key", "")},
        "mailgun": {
            "api_url": f"{url}/v3",
            "domain": DOMAIN,
            "webhook_signing_key": keys.get("signing_key", ""),
        },
        "postmark": {
            "api_url": f"{url}/",
            "webhook_basic_auth": f"{keys.get('user')}:{keys.get('password')}",
        },
        "ses": {
            "region": "us-east-1",
            "endpoint_url": url,
            "topic_arns": keys.get("topic_arn", ""),
            "sns_certificate": keys.get("certificate", ""),
        },
        "smtp": {"host": "127.0.0.1", "port": str(sandbox.smtp_port), "security": "none"},
    }[kind]


def test_everybody_gets_the_newsletter(both: Both) -> None:
    batch = newsletter(20)

    results = list(both.provider.send(batch))

    assert {result.verdict for result in results} == {Verdict.ACCEPTED}
    inbox = {message["recipient"]: message for message in both.sandbox.messages()}
    assert len(inbox) == len(results) == 20
    for to in batch.recipients:
        mail = inbox[to.email]
        assert mail["message_id"] == to.message_id
        assert mail["subject"] == batch.subject.fill(to.subject)
        assert unix(mail["html"]) == batch.html.fill(to.html)
        assert unix(mail["text"]) == batch.text.fill(to.text)
        assert mail["headers"]["List-Unsubscribe"] == to.headers["List-Unsubscribe"]


@pytest.mark.parametrize("both", HEARING_KINDS, indirect=True)
def test_every_delivery_is_told_with_our_id_and_the_provider_s(both: Both) -> None:
    results = list(both.provider.send(small(20)))

    told = {event.message_id: event for event in both.delivered(20)}
    assert {result.message_id for result in results} == set(told)
    for result in results:
        assert told[result.message_id].provider_message_id == result.provider_message_id


def unix(text: str) -> str:
    return text.replace("\r\n", "\n")


def test_a_person_over_the_limit_and_one_with_an_odd_name_arrive_too(both: Both) -> None:
    people = [
        person(0, name='Zoë "Z"; Lee, Dr.', subject=("ä ö ü" * 40,)),
        person(1, html=("<p>ü “x” {{n}}</p>\n" * 12_000, "https://t.example/1")),
        person(2, email="ana@bücher.example"),
    ]
    batch = small(people)

    results = list(both.provider.send(batch))

    assert {result.verdict for result in results} == {Verdict.ACCEPTED}
    inbox = {message["message_id"]: message for message in both.sandbox.messages()}
    assert inbox["m0"]["subject"] == batch.subject.fill(people[0].subject)
    assert unix(inbox["m1"]["html"]) == batch.html.fill(people[1].html)
    assert inbox["m2"]["recipient"] == "ana@xn--bcher-kva.example"


@pytest.mark.parametrize("both", HEARING_KINDS, indirect=True)
def test_an_event_of_another_account_is_not_believed(both: Both) -> None:
    list(both.provider.send(small(1)))
    both.delivered(1)
    request = both.platform.requests[0]
    keys = make_keys(both.provider.kind)
    values = {**both.provider.account.values, **settings(both.provider.kind, both.sandbox, keys)}
    other = registry.build(both.provider.kind, Account(2, 1, values))

    with pytest.raises(Forged):
        other.verify(WebhookRequest(request.headers, request.body, datetime.now(UTC)))
