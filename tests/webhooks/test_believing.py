"""Whose events are believed: of messages the account was given, queued again or in doubt."""

from __future__ import annotations

from typing import Any

import pytest
from django.utils import timezone

from delivery import counting, sending
from delivery.lanes import Lane
from delivery.models import CampaignStat, Message, ProviderAccount
from delivery.providers.base import Unavailable
from subscribers.models import Suppression
from tests import make, scripted
from tests.scripted import Scripted
from tests.webhooks.esp import sendgrid_event
from tests.webhooks.test_applying import HARD, apply_all, posted
from webhooks.models import Event

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def provider(monkeypatch: pytest.MonkeyPatch) -> None:
    scripted.install(monkeypatch)


def hear(account: ProviderAccount, message: Message, event: str, **more: Any) -> str:
    """Let an account tell something about a message; return what is noted at the request.

    The account speaks SendGrid's language, whatever it was while it sent.
    """
    ProviderAccount.objects.filter(pk=account.pk).update(kind="sendgrid")
    request = posted(account, sendgrid_event(message, event, timezone.now(), **more))
    apply_all()
    ProviderAccount.objects.filter(pk=account.pk).update(kind=account.kind)
    message.refresh_from_db()
    request.refresh_from_db()
    return request.error


def refused_by(*accounts: ProviderAccount) -> Message:
    """Return a message that each account answered with 503, so it is queued."""
    campaign = make.launched()
    message = make.message(campaign)
    for account in accounts:
        others = ProviderAccount.objects.exclude(pk=account.pk)
        others.update(status=ProviderAccount.Status.PAUSED)
        Scripted.whole[account.pk] = scripted.raising(Unavailable("503"))
        sending.send_next(Lane("marketing", "gmail", campaign.pk), campaign)
        others.update(status=ProviderAccount.Status.ACTIVE)
    message.refresh_from_db()
    assert (message.status, message.attempts) == ("queued", len(accounts))
    return message


@pytest.mark.parametrize("event", ["delivered", "open", "click", "processed", "unsubscribe"])
def test_a_call_that_seemed_refused_is_settled_by_evidence_and_not_made_again(event):
    account = scripted.account()
    message = refused_by(account)

    hear(account, message, event)
    Scripted.whole.clear()
    ProviderAccount.objects.update(cooling_until=None)
    sending.send_slice(1)

    message.refresh_from_db()
    assert (message.status, message.error) == ("sent", "")
    assert message.sent_at
    assert len(Scripted.calls[account.pk]) == 1
    assert CampaignStat.objects.get(sent=1).provider == account
    assert counting.rebuild(message.campaign_id or 0) == {}


def test_it_counts_for_the_account_that_gave_the_evidence():
    first, second = scripted.account("first"), scripted.account("second")
    message = refused_by(first, second)
    hear(second, message, "dropped")

    hear(first, message, "delivered")

    assert (message.status, message.provider) == ("sent", first)
    counted = CampaignStat.objects.filter(provider=first).values_list("sent", "delivered")
    assert list(counted) == [(1, 1)]
    assert counting.rebuild(message.campaign_id or 0) == {}


def test_a_drop_is_no_evidence():
    account = scripted.account()
    message = refused_by(account)

    hear(account, message, "dropped")

    assert message.status == "queued"


def test_what_was_never_tried_cannot_be_sent():
    message = make.message(make.launched())

    hear(make.account(), message, "delivered")

    assert (message.status, message.delivered_at) == ("queued", None)


def test_another_account_is_not_believed():
    ours, theirs = make.account(), make.account()
    sent: dict[str, Any] = {"status": "sent", "attempts": 1, "provider": ours}
    message = make.message(make.launched(), **sent)
    make.handoff(make.launched(), theirs, in_flight_at=timezone.now())

    note = hear(theirs, message, "bounce", **HARD)

    assert message.bounced_at is None
    assert not Suppression.objects.exists()
    assert (Event.objects.get().message_id, Event.objects.get().subscriber_id) == (None, None)
    assert note.startswith("Unmatched events: 1.")


def tried(message: Message, account: ProviderAccount, *, was_called: bool = True) -> None:
    """Write down that an account was, or was to be, called with a message, and did not take it."""
    at = timezone.now() if was_called else None
    handoff = make.handoff(message.campaign, account, in_flight_at=at)
    message.failed_attempts.create(handoff=handoff, provider=account, status="queued")


@pytest.mark.parametrize("is_of_a_campaign", [True, False])
def test_of_several_tries_only_accounts_that_were_called_with_it_are_believed(is_of_a_campaign):
    first, last, prepared, stranger = (make.account() for _ in range(4))
    campaign = make.launched() if is_of_a_campaign else None
    message = make.message(campaign, status="sent", attempts=3, provider=last)
    tried(message, first)
    tried(message, prepared, was_called=False)
    # For the same lane, with another message.
    tried(make.message(campaign), stranger)

    assert hear(prepared, message, "click").startswith("Unmatched")
    assert hear(stranger, message, "click").startswith("Unmatched")
    assert message.clicked_at is None
    assert hear(first, message, "open") == ""
    assert message.opened_at
