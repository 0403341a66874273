"""rebuild_stats --check: the counters beside the messages, the messages beside the events."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from io import StringIO
from threading import Event as Flag
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone

from delivery import counting
from delivery.counting import Delta
from delivery.models import CampaignStat, Message
from tests import make
from tests.webhooks.esp import sendgrid_event
from tests.webhooks.test_applying import HARD, SOFT, apply_all, mailed, posted
from webhooks import comparing

pytestmark = pytest.mark.django_db(transaction=True)

KINDS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("delivered", {}),
    ("open", {}),
    ("click", {}),
    ("bounce", SOFT),
    ("bounce", HARD),
)


def check(*words: str) -> list[str]:
    """Return the lines of `rebuild_stats --check`."""
    out = StringIO()
    call_command("rebuild_stats", "--check", *words, stdout=out)
    return out.getvalue().splitlines()


def heard(messages: list[Message]) -> None:
    """Post all kinds of events about the messages and apply them."""
    at = timezone.now() - timedelta(hours=2)
    entries = [
        sendgrid_event(message, event, at + timedelta(hours=number % 3), **more)
        for number, (event, more) in enumerate(KINDS)
        for message in messages
    ]
    assert messages[0].provider
    posted(messages[0].provider, *entries)
    apply_all()


def test_after_events_of_all_kinds_nothing_is_adrift():
    account, campaign = make.account(), make.launched(name="News")
    messages = [mailed(account, campaign) for _ in range(5)]
    messages.append(make.mail(status="sent", provider=account, sent_at=timezone.now()))
    counting.rebuild(campaign.pk)
    counting.rebuild(None)

    heard(messages)

    assert CampaignStat.objects.count() > 3
    assert check() == [
        f"Campaign {campaign.pk} (News): drift 0",
        "Mail sent by API: drift 0",
        "Drift in all: 0",
    ]


def test_counters_that_are_wrong_are_told_and_left():
    account, campaign = make.account(name="Acme"), make.launched(name="News")
    right = make.launched(name="Right")
    message = mailed(account, campaign)
    counting.rebuild(campaign.pk)
    heard([message])
    row = CampaignStat.objects.filter(opened=1).get()
    hour = row.hour - timedelta(hours=5)
    # One open stands in a wrong hour: the sum is right and still two counters are wrong.
    counting.add([Delta(campaign.pk, account.pk, "gmail", hour, "opened", 1)])
    counting.add([Delta(campaign.pk, account.pk, "gmail", row.hour, "opened", -1)])
    counting.add([Delta(None, account.pk, "gmail", hour, "sent", 3)])
    before = list(CampaignStat.objects.order_by("pk").values())
    out = StringIO()

    with pytest.raises(CommandError, match="drifted"):
        call_command("rebuild_stats", "--check", stdout=out)

    assert out.getvalue().splitlines() == [
        f"Campaign {campaign.pk} (News): Acme: opened by 2",
        f"Campaign {right.pk} (Right): drift 0",
        "Mail sent by API: Acme: sent by 3",
        "Drift in all: 5",
    ]
    assert list(CampaignStat.objects.order_by("pk").values()) == before
    assert check(str(right.pk))[-1] == "Drift in all: 0"


@pytest.mark.parametrize(
    "wrong",
    [
        {"opened_at": None},
        {"complained_at": timezone.now()},
        {"bounce_class": "block"},
        {"delivered_at": timezone.now()},
    ],
)
def test_a_message_that_is_not_what_its_events_say_is_named(wrong):
    account, campaign = make.account(), make.launched(name="News")
    messages = [mailed(account, campaign) for _ in range(3)]
    heard(messages)
    Message.objects.filter(pk=messages[1].pk).update(**wrong)
    counting.rebuild(campaign.pk)
    out = StringIO()

    with pytest.raises(CommandError):
        call_command("rebuild_stats", "--check", str(campaign.pk), stdout=out)

    words = f"1 messages unlike their events ({messages[1].token})"
    assert out.getvalue().splitlines()[0] == f"Campaign {campaign.pk} (News): {words}"


def test_events_that_are_applied_meanwhile_make_no_drift():
    account, campaign = make.account(), make.launched()
    messages = [mailed(account, campaign) for _ in range(20)]
    counting.rebuild(campaign.pk)
    done = Flag()

    def apply() -> None:
        try:
            for number, (event, more) in enumerate(KINDS * 4):
                at = timezone.now() - timedelta(minutes=number)
                posted(account, *(sendgrid_event(each, event, at, **more) for each in messages))
                apply_all()
        finally:
            connection.close()
            done.set()

    found = []
    with ThreadPoolExecutor(1) as pool:
        applying = pool.submit(apply)
        while not done.is_set():
            found.append(comparing.compare())
        applying.result(60)

    assert len(found) > 3
    assert [each for each in found if each.counters or each.messages] == []
    assert Message.objects.exclude(opened_at=None).count() == 20
