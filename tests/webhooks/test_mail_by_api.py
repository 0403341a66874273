"""Mail sent by API is heard of and counted like that of campaigns."""

from __future__ import annotations

import json
import time
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.utils import timezone

from delivery import counting, monitoring, sending
from delivery.models import CampaignStat, Message
from delivery.providers.base import Event, EventType, OutcomeUnknown
from tests import make, scripted
from tests.calling import Api
from tests.scripted import Scripted
from webhooks import doubting
from webhooks.concluding import apply_own
from webhooks.models import RawRequest

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _scripted(monkeypatch: pytest.MonkeyPatch) -> None:
    scripted.install(monkeypatch)


def sent() -> Message:
    scripted.account()
    mail = {"from": "a@shop.example", "to": "ana@gmail.com", "subject": "Hi", "text": "Hi"}
    assert Api().post("email/send", mail).status == 202
    sending.send_slice(5)
    return Message.objects.get()


def hear(message: Message, kind: EventType, key: str = "1", **fields: Any) -> None:
    apply_own(
        Event(
            type=kind,
            occurred_at=timezone.now(),
            recipient=message.email,
            dedupe_key=f"{kind}:{key}",
            message_id=message.token,
            **fields,
        ),
        timezone.now(),
    )


def test_what_was_sent_delivered_and_clicked_is_counted_once():
    message = sent()
    for _ in range(2):
        hear(message, EventType.DELIVERED)
        hear(message, EventType.CLICKED, url="https://shop.example/")

    stat = CampaignStat.objects.get()
    assert (stat.campaign, stat.sent, stat.delivered, stat.clicked) == (None, 1, 1, 1)
    assert counting.rebuild(None) == {}
    [totals] = monitoring.volumes(make.NOW.replace(year=2020)).values()
    assert (totals.sent, totals.delivered) == (1, 1)


def test_a_counter_that_is_wrong_is_found_and_mended():
    message = sent()
    CampaignStat.objects.update(sent=5)

    assert counting.rebuild(None) == {message.provider_id: {"sent": -4}}
    assert counting.rebuild(None) == {}


def test_the_events_stand_beside_the_mail():
    message = sent()
    hear(message, EventType.BOUNCED, bounce_class="hard", reason="550 5.1.1 no such user")

    told = Api().get(f"email/messages/{message.token}/").data

    assert told["bounced_at"]
    [event] = told["events"]
    assert (event["type"], event["bounce_class"]) == ("bounced", "hard")
    assert event["reason"] == "550 5.1.1 no such user"


def in_doubt() -> Message:
    """Send a mail whose provider never answers, more than a minute ago."""
    account = scripted.account()
    Scripted.whole[account.pk] = scripted.raising(OutcomeUnknown("silence"))
    mail = {"from": "a@shop.example", "to": "ana@gmail.com", "subject": "Hi", "text": "Hi"}
    assert Api().post("email/send", mail).status == 202
    sending.send_slice(5)
    return Message.objects.get(status="unknown")


def test_nothing_is_sent_again_while_webhooks_lie_unread():
    message = in_doubt()
    later = timezone.now() + timedelta(minutes=2)
    assert message.provider
    unread = RawRequest.objects.create(account=message.provider, body=b"{}")

    assert doubting.settle(later) == 0

    unread.delete()
    assert doubting.settle(later) == 1
    message.refresh_from_db()
    assert (message.status, message.doubts) == ("queued", 1)


@pytest.mark.django_db(transaction=True)
def test_dispatch_hears_back_without_a_broker():
    message = in_doubt()
    hear_later = {"event": "delivered", "sg_event_id": "1", "timestamp": int(time.time())}
    assert message.provider
    message.provider.kind = "sendgrid"
    message.provider.save()
    body = [{**hear_later, "email": message.email, "message_id": message.token}]
    RawRequest.objects.create(account=message.provider, body=json.dumps(body).encode())

    call_command("dispatch", once=True, stdout=StringIO())

    message.refresh_from_db()
    assert message.status == "sent"
    assert message.delivered_at
