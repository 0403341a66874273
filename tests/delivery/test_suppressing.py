"""The claim decides, in its own statement: what a suppression stops does not leave."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from delivery.models import Message
from delivery.sending import send_slice
from tests import make, scripted

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _scripted(monkeypatch):
    scripted.install(monkeypatch)
    scripted.account()


def sent() -> set[str]:
    send_slice(5)
    assert not Message.objects.exclude(status__in=["sent", "skipped"]).exists()
    return set(Message.objects.filter(status="sent").values_list("email", flat=True))


def test_a_campaign_stops_at_what_is_for_it_and_at_nothing_else():
    news, offers = make.mailing_list(), make.mailing_list()
    campaign = make.launched([news])
    now = timezone.now()
    kept: dict[str, dict[str, Any]] = {
        "other-list@gmail.com": {"reason": "blocked", "list": offers},
        "other-stream@gmail.com": {"reason": "blocked", "stream": "transactional"},
        "over@gmail.com": {"reason": "soft_bounced", "expires_at": now - timedelta(seconds=1)},
        "nothing@gmail.com": {},
    }
    stopped: dict[str, dict[str, Any]] = {
        "list@gmail.com": {"reason": "unsubscribed", "list": news},
        "stream@gmail.com": {"reason": "blocked", "stream": "marketing"},
        "resting@gmail.com": {"reason": "soft_bounced", "expires_at": now + timedelta(days=1)},
        "all@gmail.com": {"reason": "complained"},
    }
    for email, fields in (kept | stopped).items():
        make.message(campaign, make.subscriber(email))
        if fields:
            make.suppression(email, **fields)

    assert sent() == set(kept)
    assert set(Message.objects.filter(status="skipped").values_list("error", flat=True)) == {
        "suppressed"
    }


@pytest.mark.parametrize(
    ("stream", "fields", "is_sent"),
    [
        ("transactional", {"reason": "soft_bounced", "days": 1}, True),
        ("transactional", {"reason": "blocked", "stream": "marketing"}, True),
        ("transactional", {"reason": "blocked", "stream": "transactional"}, False),
        ("transactional", {"reason": "blocked", "days": -1}, True),
        ("critical", {"reason": "complained"}, True),
        ("critical", {"reason": "blocked", "stream": "critical"}, False),
    ],
)
def test_mail_by_api_stops_at_what_is_for_its_stream(stream, fields, is_sent):
    days = fields.pop("days", 0)
    if days:
        fields["expires_at"] = timezone.now() + timedelta(days=days)
    make.suppression("ana@gmail.com", **fields)
    make.mail("ana@gmail.com", stream=stream)

    assert sent() == ({"ana@gmail.com"} if is_sent else set())
