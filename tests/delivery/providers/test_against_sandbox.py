"""Both halves of a provider against the sandbox, which was written apart from them.

A mail goes out, arrives as it should be read, and what the sandbox then tells by webhook is
believed, understood, and names our message and the provider's own.
"""

import base64
import hashlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest
import requests

from delivery.providers import registry
from delivery.providers.base import (
    Account,
    Address,
    Attachment,
    Event,
    EventType,
    Forged,
    Provider,
    Skeleton,
    Unavailable,
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

    def told(self, what: EventType, times: int) -> list[Event]:
        """Return the events of a type, once they are so many."""
        deadline = time.monotonic() + 15
        while time.monotonic() < deadline:
            found = [event for event in self.events() if event.type is what]
            if len(found) >= times:
                return found
            time.sleep(0.02)
        raise AssertionError(f"Only {len(found)} of {times} were told as {what}.")

    def delivered(self, people: int) -> list[Event]:
        """Return the events that say delivered, once they are as many as people."""
        return self.told(EventType.DELIVERED, people)


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
            "configuration_set": "events",
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


PDF = Attachment(
    "Rechnung für März.pdf", "application/pdf", b"%PDF\r\n.\n" + bytes(range(256)) * 99
)
LOGO = Attachment("logo.png", "image/png", b"\x89PNG\r\n" * 50, content_id="logo@example.org")
COPIES: dict[str, Any] = {
    "more_to": [Address("bo@example.com", "Bo, Dr.")],
    "cc": [Address("dan@example.com", "Dän")],
    "bcc": [Address("eve@example.com", "Eve")],
}


def shown(attachment: Attachment) -> tuple[str, int, str]:
    content = attachment.content
    return attachment.content_id, len(content), hashlib.sha256(content).hexdigest()


def test_a_mail_with_everything_reaches_all_whom_it_names(both: Both) -> None:
    batch = small(
        [person(**COPIES)],
        attachments=[PDF, LOGO],
        metadata={"order": "A-1007"},
        tags=["paid"],
        headers={"X-Order": "A-1007"},
        reply_to="answers@example.org",
        is_transactional=True,
    )

    [result] = both.provider.send(batch)

    assert (result.verdict, result.refused_copies) == (Verdict.ACCEPTED, {})
    inbox = {mail["recipient"]: mail for mail in both.sandbox.messages()}
    assert set(inbox) == {
        "ana1@example.com",
        "bo@example.com",
        "dan@example.com",
        "eve@example.com",
    }
    for mail in inbox.values():
        assert "bo@example.com" in mail["to"]
        assert "dan@example.com" in mail["cc"]
        assert "eve" not in f"{mail['to']}{mail['cc']}{mail['headers']}".lower()
        assert unix(mail["html"]) == batch.html.fill(batch.recipients[0].html)
        assert mail["message_id"] == "m1"
        assert mail["headers"]["X-Order"] == "A-1007"
        files = [(one["content_id"], one["size"], one["sha256"]) for one in mail["attachments"]]
        assert sorted(files) == sorted([shown(PDF), shown(LOGO)])
        assert PDF.filename in {one["filename"] for one in mail["attachments"]}


def test_an_attachment_can_be_taken_from_the_inbox(both: Both) -> None:
    list(both.provider.send(small(1, attachments=[PDF])))

    [mail] = both.sandbox.messages()
    url = f"{both.sandbox.url}/messages/{mail['id']}"
    assert "für März.pdf" in requests.get(url, timeout=10).text
    got = requests.get(f"{url}/files/0", timeout=10)

    assert got.content == PDF.content
    assert got.headers["Content-Disposition"].startswith("attachment;")
    assert requests.get(f"{url}/files/1", timeout=10).status_code == 404


def test_the_inbox_shows_a_picture_where_the_mail_does(both: Both) -> None:
    html = Skeleton(('<p>Hello</p><img src="cid:logo@example.org">',))

    list(both.provider.send(small([person(html=())], html=html, attachments=[LOGO])))

    [mail] = both.sandbox.messages()
    shown = requests.get(f"{both.sandbox.url}/messages/{mail['id']}/body", timeout=10).text
    assert f'<img src="data:image/png;base64,{base64.b64encode(LOGO.content).decode()}">' in shown


def test_a_batch_with_a_file_reaches_everybody(both: Both) -> None:
    batch = small(3, attachments=[PDF])

    results = list(both.provider.send(batch))

    assert {result.verdict for result in results} == {Verdict.ACCEPTED}
    inbox = {mail["message_id"]: mail for mail in both.sandbox.messages()}
    for to in batch.recipients:
        assert unix(inbox[to.message_id]["html"]) == batch.html.fill(to.html)
        assert [one["size"] for one in inbox[to.message_id]["attachments"]] == [len(PDF.content)]


@pytest.mark.parametrize("both", HEARING_KINDS, indirect=True)
def test_events_of_a_mail_with_copies_name_the_one_concerned(both: Both) -> None:
    both.sandbox.set_options(vary_by="address")
    cc, bcc = [Address("bounce+dan@example.com")], [Address("eve@example.com")]

    list(both.provider.send(small([person(cc=cc, bcc=bcc)])))

    delivered = {event.recipient for event in both.delivered(2)}
    assert delivered == {"ana1@example.com", "eve@example.com"}
    [bounced] = both.told(EventType.BOUNCED, 1)
    assert (bounced.recipient, bounced.message_id) == ("bounce+dan@example.com", "m1")


@pytest.mark.parametrize("both", HEARING_KINDS, indirect=True)
def test_metadata_comes_back_with_every_event(both: Both) -> None:
    list(both.provider.send(small(2, metadata={"order": "A-1007"})))

    for event in both.delivered(2):
        assert "A-1007" in str(event.raw)
        assert event.message_id in {"m0", "m1"}


@pytest.mark.parametrize("both", ["ses"], indirect=True)
def test_who_of_several_opened_amazon_does_not_say(both: Both) -> None:
    both.sandbox.set_options(open=1.0)

    list(both.provider.send(small([person(cc=[Address("dan@example.com")])])))

    assert [event.recipient for event in both.told(EventType.OPENED, 2)] == ["", ""]


@pytest.mark.parametrize("both", ["smtp", "postmark"], indirect=True)
def test_a_copy_that_is_refused_is_told(both: Both) -> None:
    dead = {"smtp": "bounce+dan@example.com", "postmark": "inactive+dan@example.com"}
    copy = dead[both.provider.kind]

    [result] = both.provider.send(small([person(cc=[Address(copy), Address("eve@example.com")])]))

    assert result.verdict is Verdict.ACCEPTED
    assert list(result.refused_copies) == [copy]
    taken = {mail["recipient"] for mail in both.sandbox.messages()}
    assert taken == {"ana1@example.com", "eve@example.com"}


@pytest.mark.parametrize("both", ["postmark"], indirect=True)
def test_postmark_s_streams_are_honoured(both: Both) -> None:
    list(both.provider.send(small(1)))
    list(both.provider.send(small([person(1)], is_transactional=True)))

    assert [mail["stream"] for mail in both.sandbox.messages()] == ["broadcast", "outbound"]
    values = {**both.provider.account.values, "transactional_stream": "nowhere"}
    stranger = registry.build("postmark", Account(2, 1, values))
    with pytest.raises(Unavailable) as raised:
        list(stranger.send(small(1, is_transactional=True)))
    assert raised.value.is_account_fault


@pytest.mark.parametrize("both", ["sendgrid", "mailgun", "postmark"], indirect=True)
def test_the_sandbox_takes_what_is_just_below_the_limit(both: Both) -> None:
    size = both.provider.max_message_bytes * 3 // 4 - 1_000_000
    large = Attachment("large.bin", "application/octet-stream", b"\0" * size)

    [result] = both.provider.send(small(1, attachments=[large]))

    assert result.verdict is Verdict.ACCEPTED
    [mail] = both.sandbox.messages()
    assert mail["attachments"][0]["size"] == size


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
