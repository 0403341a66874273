"""Mail that was accepted and never spoken of: counted, told to operators, and asked for."""

from __future__ import annotations

import io
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from delivery.models import Alert, Message, ProviderAccount
from delivery.sandbox import config
from delivery.sandbox.server import Sandbox
from tests import make
from tests.calling import Api
from tests.delivery.providers.letters import person, small
from tests.delivery.providers.test_against_sandbox import CREDENTIALS, DOMAIN, QUIET, settings
from tests.webhooks.test_applying import apply_all
from webhooks import finding
from webhooks.models import Event, RawRequest, Silence

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 11, 23, 14, 20, tzinfo=UTC)
SENT = datetime(2026, 11, 23, 6, 30, tzinfo=UTC)


def sent(account: ProviderAccount, number: int, **fields: Any) -> None:
    """Let an account have sent so many messages, nearly eight hours before NOW."""
    campaign = make.launched()
    given = {"status": "sent", "sent_at": SENT, "provider": account, **fields}
    for _ in range(number):
        make.message(campaign, **given)


def test_what_was_not_reported_on_is_counted_by_lane_and_told_once_until_it_is_over():
    account, other = make.account("Shop"), make.account("Other")
    sent(account, 60)
    sent(account, 40, delivered_at=SENT)
    sent(account, 3, deferred_at=SENT)
    sent(other, 60, delivered_at=SENT)
    sent(other, 9)

    counts = [finding.find_silence(NOW + timedelta(minutes=10 * each)) for each in range(3)]

    assert counts == [1, 1, 1]
    row = Silence.objects.get(account=account)
    assert (row.stream, row.mailbox, row.sent, row.silent) == ("marketing", "gmail", 103, 60)
    assert row.hour == SENT.replace(minute=0)
    alert = Alert.objects.get()
    assert (alert.kind, alert.count) == ("silence", 1)
    assert alert.subject == "Shop, marketing mail to gmail"
    assert "took 103 messages to gmail and told nothing of 60" in alert.text
    assert [(gap.account, gap.silent) for gap in finding.gaps(NOW)] == [(account, 60), (other, 9)]

    Message.objects.filter(provider=account).update(delivered_at=SENT)
    assert finding.find_silence(NOW) == 0
    alert.refresh_from_db()
    assert alert.resolved_at
    assert [gap.account for gap in finding.gaps(NOW)] == [other]


def test_what_was_sent_lately_may_still_be_reported_on():
    sent(make.account(), 60, sent_at=NOW - timedelta(hours=5))

    assert finding.find_silence(NOW) == 0
    assert not Silence.objects.exists()


def test_a_mail_server_that_nobody_taught_to_tell_is_not_expected_to():
    deaf, relay = make.account(kind="smtp"), make.account(kind="smtp")
    relay.secrets = {"webhook_secrets": "a-secret-of-16-characters"}
    relay.save()
    sent(deaf, 60)
    sent(relay, 60)

    assert finding.find_silence(NOW) == 1
    assert [gap.account for gap in finding.gaps(NOW)] == [relay]


def test_the_api_says_what_is_silent():
    account = make.account("Shop")
    hour = timezone.now() - timedelta(hours=8)
    sent(account, 60, sent_at=hour)
    finding.find_silence(timezone.now())

    told = Api().get("email/webhooks/stats/").data["silent"]

    assert told == [
        {"account": "Shop", "stream": "marketing", "mailbox": "gmail", "sent": 60, "silent": 60}
    ]


# --- Asking ------------------------------------------------------------------------------


@pytest.fixture(params=["mailgun", "postmark"])
def asked(request: pytest.FixtureRequest) -> Iterator[tuple[ProviderAccount, Sandbox]]:
    """An account at a sandbox whose webhooks go nowhere."""
    kind = request.param
    options = config.Options().changed(QUIET)
    end = config.Account(
        name=kind, kind=kind, credentials=CREDENTIALS[kind], webhook_url="", domain=DOMAIN
    )
    sandbox = Sandbox(config.Config([end], options, port=0)).start()
    try:
        values = {**CREDENTIALS[kind], **settings(kind, sandbox, {})}
        yield make.account(f"The {kind}", kind=kind, secrets=values), sandbox
    finally:
        sandbox.stop()


def mailed(account: ProviderAccount, number: int) -> list[Message]:
    """Send so many mails through the account; its sandbox takes them."""
    campaign = make.launched()
    messages = [
        make.message(
            campaign,
            make.subscriber(f"ana{each}@example.com"),
            status="sent",
            sent_at=timezone.now(),
            provider=account,
        )
        for each in range(number)
    ]
    people = [
        person(each, message_id=message.token, email=message.email)
        for each, message in enumerate(messages)
    ]
    assert len(list(account.provider.send(small(people)))) == number
    return messages


def backfill(account: ProviderAccount, **options: Any) -> str:
    out = io.StringIO()
    call_command("backfill_events", account.name, stdout=out, **options)
    return out.getvalue()


def test_what_webhooks_did_not_tell_is_asked_for_and_changes_nothing_twice(asked, monkeypatch):
    monkeypatch.setattr("delivery.providers.mailgun_search.PAGE", 2)
    monkeypatch.setattr("delivery.providers.postmark_search.PAGE", 2)
    account, _sandbox = asked
    messages = mailed(account, 5)

    said = backfill(account)
    apply_all()
    backfill(account, since="10m")
    apply_all()

    assert said == f"5 events of {account} are stored and will be applied.\n"
    assert {row.status for row in RawRequest.objects.all()} == {"applied"}
    assert Event.objects.count() == 5
    for message in messages:
        message.refresh_from_db()
        assert message.delivered_at


def test_a_bounce_is_asked_for_with_its_class(asked):
    account, sandbox = asked
    sandbox.set_options(bounce=1.0)
    [message] = mailed(account, 1)

    backfill(account)
    apply_all()

    message.refresh_from_db()
    assert (message.bounce_class, message.delivered_at) == ("hard", None)


def test_a_key_that_may_not_ask_is_named_as_the_reason(asked):
    account, _sandbox = asked
    name = "api_key" if account.kind == "mailgun" else "server_token"
    account.secrets = {**account.secrets, name: "wrong"}
    account.save()

    with pytest.raises(CommandError, match="does not let this key read events"):
        backfill(account)


@pytest.mark.parametrize(
    ("kind", "options", "words"),
    [
        ("sendgrid", {}, "has no search for events"),
        ("mailgun", {"since": "yesterday"}, "is no span of time"),
        ("mailgun", {"since": "1h", "until": "2h"}, "must be longer ago"),
    ],
)
def test_what_cannot_be_asked_is_said_in_words(kind: str, options: dict[str, str], words: str):
    account = make.account("Shop", kind=kind)

    with pytest.raises(CommandError, match=words):
        backfill(account, **options)
    with pytest.raises(CommandError, match="There is no provider “Nobody”"):
        call_command("backfill_events", "Nobody")
