"""A From address that a provider does not take is that mail's trouble, not the account's."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from delivery import breaking, routing, sending
from delivery.lanes import Lane
from delivery.models import Message, ProviderAccount, SenderRefusal
from delivery.providers.base import Batch, Unavailable
from tests import make, scripted
from tests.calling import Api
from tests.pages import member
from tests.scripted import Scripted

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _scripted(monkeypatch: pytest.MonkeyPatch) -> None:
    scripted.install(monkeypatch)
    routing.forget()


def picky(name: str, domain: str) -> ProviderAccount:
    """Return an account that takes mail from one domain only."""
    account = scripted.account(name)

    def whole(batch: Batch) -> None:
        if not batch.from_email.endswith(f"@{domain}"):
            raise Unavailable("403: from is not verified", is_sender_fault=True)

    Scripted.whole[account.pk] = whole
    routing.forget()
    return account


def ask(sender: str, to: str = "ana@gmail.com", **fields: Any) -> str:
    mail = {"from": sender, "to": to, "subject": "Hi", "text": "Hi", **fields}
    answer = Api().post("email/send", mail)
    assert answer.status == 202, answer.data
    return str(answer.data["id"])


def test_the_mail_goes_by_another_account_and_the_breaker_stays_closed():
    first, second = picky("first", "a.example"), picky("second", "b.example")

    for number in range(4):
        ask("x@a.example", f"a{number}@gmail.com")
        ask("x@b.example", f"b{number}@gmail.com")
    sending.send_slice(5)

    assert set(Message.objects.values_list("status", flat=True)) == {"sent"}
    for account in (first, second):
        account.refresh_from_db()
        assert (account.circuit, account.failures, account.cooling_until) == ("closed", 0, None)
        assert len(Scripted.calls[account.pk]) <= 5  # each learns once, and then remembers


def test_mail_nobody_takes_waits_and_holds_up_nobody():
    picky("first", "a.example")
    stranger = ask("x@stranger.example", stream="critical")
    for number in range(3):
        ask("x@a.example", f"a{number}@gmail.com", stream="critical")

    sending.send_slice(5)

    states = {each.token: each.status for each in Message.objects.all()}
    assert states.pop(stranger) == "queued"
    assert set(states.values()) == {"sent"}
    with pytest.raises(routing.NoProvider, match=r"does not take mail from stranger\.example: 403"):
        routing.choose(Lane("critical", "gmail"), timezone.now(), "stranger.example")


def test_it_is_asked_again_later_or_when_somebody_changed_something():
    account = picky("first", "a.example")
    ask("x@b.example")
    sending.send_slice(5)
    refusal = SenderRefusal.objects.get()
    assert refusal.until > timezone.now() + timedelta(minutes=14)
    Scripted.whole.clear()

    breaking.close(account, "Its settings were saved.", timezone.now())
    routing.forget()
    sending.send_slice(5)

    assert Message.objects.get().status == "sent"
    assert not SenderRefusal.objects.exists()


def test_a_campaign_from_such_an_address_says_so_and_waits():
    picky("first", "a.example")
    campaign = make.launched(from_email="x@b.example")
    make.message(campaign)

    sending.send_slice(5)

    campaign.refresh_from_db()
    assert "first does not take mail from b.example: 403" in campaign.problem
    assert Message.objects.get().status == "queued"


def test_the_provider_s_page_says_whose_mail_it_does_not_take():
    account = picky("first", "a.example")
    breaking.refuse_sender(account, "b.example", "403: not verified", timezone.now())
    breaking.refuse_sender(account, "old.example", "403", timezone.now() - timedelta(hours=1))

    page = member("Operator").get(f"/admin/delivery/provideraccount/{account.pk}/change/")

    text = page.content.decode()
    assert "It does not take mail from <strong>b.example</strong>: 403: not verified" in text
    assert "old.example" not in text
