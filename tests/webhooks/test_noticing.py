"""What a mail server refuses in the session: a bounce at once, with its class and what follows."""

from __future__ import annotations

import pytest
from django.utils import timezone

from campaigns.models import Campaign
from delivery import counting, expanding, reports, sending
from delivery.models import Message, ProviderAccount, Refusal
from delivery.providers import connections
from delivery.querysets import Outcome
from delivery.sandbox.config import Account, Config, Options
from delivery.sandbox.server import Sandbox
from subscribers.models import Suppression
from tests import make
from webhooks import concluding
from webhooks.models import Event
from webhooks.noticing import notice_refusals

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def sandbox():
    accounts = [Account("smtp", "smtp", {"username": "user", "password": "secret"})]
    options = Options(answer_latency=0, bounce=0, soft_bounce=0, block=0, defer=0, drop=0)
    running = Sandbox(Config(accounts=accounts, options=options, port=0, smtp_port=0)).start()
    yield running
    connections.close_all()
    running.stop()


@pytest.fixture
def account(sandbox: Sandbox) -> ProviderAccount:
    return make.account(
        "Own Postfix",
        kind="smtp",
        config={"host": "127.0.0.1", "port": str(sandbox.smtp_port), "security": "none"},
        secrets={"username": "user", "password": "secret"},
    )


def sent_to(*emails: str) -> Campaign:
    """Send a campaign to these, and tell what the server refused."""
    newsletter = make.mailing_list()
    people = [make.subscriber(email, lists=[newsletter]) for email in emails]
    campaign = make.launched([newsletter])
    campaign.audience["highest"] = people[-1].pk
    campaign.save()
    while expanding.expand_chunk(campaign, timezone.now()):
        pass
    sending.send_slice(5)
    while notice_refusals(100, timezone.now()):
        pass
    return campaign


def message_to(email: str) -> Message:
    return Message.objects.get(email=email)


def is_suppressed(message: Message) -> bool:
    return Suppression.objects.filter(address_key=bytes(message.address_key)).exists()


def test_a_mailbox_that_does_not_exist_is_a_hard_bounce_and_is_not_mailed_again(account):
    campaign = sent_to("bounce+a@example.com", "ana@example.com")

    gone, arrived = message_to("bounce+a@example.com"), message_to("ana@example.com")
    assert (gone.status, gone.bounce_class) == ("failed", "hard")
    assert gone.bounced_at is not None
    assert is_suppressed(gone)
    assert (arrived.status, arrived.bounced_at) == ("sent", None)
    told = Event.objects.get()
    assert (told.account, told.type, told.recipient) == (account, "bounced", gone.email)
    assert told.reason.startswith("550 5.1.1 The email account")
    assert reports.totals(campaign).bounced == 1
    assert counting.rebuild(campaign.pk) == {}


@pytest.mark.parametrize("email", ["block+a@example.com", "drop+a@example.com"])
def test_a_refusal_that_is_about_us_suppresses_nobody(account, email):
    campaign = sent_to(email)

    message = message_to(email)
    assert (message.status, message.bounce_class) == ("failed", "block")
    assert not is_suppressed(message)
    assert reports.totals(campaign).soft_bounced == 1


def test_a_mailbox_that_refuses_for_now_has_not_bounced(account):
    sent_to("soft+a@example.com")

    message = message_to("soft+a@example.com")
    assert (message.status, message.bounced_at) == ("queued", None)
    assert not Event.objects.exists()


def test_a_refusal_is_told_once(account):
    sent_to("bounce+a@example.com")

    assert not Refusal.objects.exists()
    assert notice_refusals(100, timezone.now()) == 0
    assert Event.objects.count() == 1


def test_what_we_refuse_ourselves_is_no_bounce(account):
    message = make.message(make.launched(), status="failed", provider=account)
    Refusal.objects.create(
        message_id=message.pk,
        provider_id=account.pk,
        fault="content",
        said="The mail is too large for the mail server.",
        at=timezone.now(),
    )

    assert notice_refusals(100, timezone.now()) == 1

    assert not Event.objects.exists()


@pytest.mark.parametrize("status", ["unknown", "queued"])
def test_a_refusal_says_nothing_of_a_later_try(account, status):
    campaign = sent_to("block+a@example.com")
    message = message_to("block+a@example.com")
    Message.objects.filter(pk=message.pk).queue_again(timezone.now())
    handoff = make.handoff(campaign, account, status="in_flight")
    Message.objects.filter(pk=message.pk).update(status="sending", handoff=handoff)

    Message.objects.record(handoff.pk, [Outcome(message.pk, status)], timezone.now())
    concluding.settle_doubts()

    message.refresh_from_db()
    assert message.status == status


def test_what_was_queued_again_before_its_refusal_was_told_stays_queued(account):
    message = make.message(make.launched(), status="queued", attempts=1, provider=account)
    Refusal.objects.create(
        message_id=message.pk,
        provider_id=account.pk,
        fault="content",
        said="The mail server answered 550: 5.7.1 spam",
        at=timezone.now(),
    )

    notice_refusals(100, timezone.now())

    message.refresh_from_db()
    assert message.status == "queued"
    assert not Event.objects.exists()
