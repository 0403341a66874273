"""What people do becomes their engagement: as it is heard, swept where nothing is told, or anew."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import transaction

from delivery import counting
from delivery.models import Message
from delivery.providers.base import Event as Heard
from delivery.providers.base import EventType
from subscribers.models import Engagement
from tests import make
from webhooks import feeling, reclassifying
from webhooks.concluding import apply_events, arrival
from webhooks.models import Event, QuietAccount

pytestmark = pytest.mark.django_db

NOON = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
THUNDERBIRD = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Thunderbird/128.4.0"
SCANNER = "Barracuda Sentinel (EE)"
LATER = NOON + timedelta(hours=2)


def mailed(person: Any = None, account: Any = None, **fields: Any) -> Message:
    given = {"status": "sent", "sent_at": NOON, "provider": account or make.account()}
    message = make.message(make.launched(), person, **{**given, **fields})
    counting.rebuild(message.campaign_id)
    return message


def hear(message: Message, kind: str, minutes: float = 5, **more: Any) -> None:
    at = NOON + timedelta(minutes=minutes)
    given: dict[str, Any] = {
        "dedupe_key": f"{message.pk} {kind} {minutes}",
        "user_agent": THUNDERBIRD,
        **more,
    }
    event = Heard(EventType(kind), at, message.email, message_id=message.token, **given)
    with transaction.atomic():
        apply_events([arrival(event, message.provider_id, None, False)], LATER)


def known(message: Message) -> Engagement:
    return Engagement.objects.get(pk=message.subscriber_id)


def test_a_mail_that_is_delivered_opened_and_clicked_in_counts_once_for_each() -> None:
    message = mailed(make.subscriber(time_zone="America/New_York"))

    hear(message, "delivered", 1)
    hear(message, "opened", 10)
    hear(message, "opened", 70)
    hear(message, "clicked", 71, url="https://shop.example/")

    row = known(message)
    assert (row.received, row.opened, row.clicked) == (1, 1, 1)
    assert row.first_received_at == row.last_received_at == NOON + timedelta(minutes=1)
    assert row.last_opened_at == NOON + timedelta(minutes=70)
    assert row.last_clicked_at == NOON + timedelta(minutes=71)
    assert row.heat == pytest.approx(3, abs=0.01)
    assert row.score == 34
    assert row.hours is not None
    assert (row.hours[7], row.hours[8], sum(row.hours)) == (1, 1, 2)


def test_machines_do_not_count() -> None:
    message = mailed()

    hear(message, "opened", user_agent=SCANNER)

    row = known(message)
    assert (row.received, row.opened, row.last_opened_at, row.heat) == (1, 0, None, 0)
    assert row.hours is None


def test_a_complaint_undoes_what_went_before() -> None:
    message = mailed()
    hear(message, "opened", 5)
    hear(message, "clicked", 6, url="https://shop.example/")
    assert known(message).score > 0

    hear(message, "complained", 60)

    assert known(message).score == 0


def test_a_soft_bounce_costs_a_little_and_a_block_nothing() -> None:
    soft, blocked = mailed(), mailed()

    hear(soft, "bounced", bounce_class="soft")
    hear(blocked, "bounced", bounce_class="block")

    assert known(soft).heat == pytest.approx(-1, abs=0.01)
    assert not Engagement.objects.filter(pk=blocked.subscriber_id, heat__lt=0).exists()


def test_a_click_that_turns_out_to_be_a_machines_is_taken_back() -> None:
    message = mailed()
    hear(message, "opened", 5)
    hear(message, "clicked", 90, url="https://shop.example/", user_agent=THUNDERBIRD)
    assert known(message).clicked == 1
    # As if our rules had not known this scanner at the time.
    Event.objects.filter(type="clicked").update(user_agent=SCANNER)

    list(reclassifying.reclassify(0, None, is_dry=False))

    row = known(message)
    assert (row.opened, row.clicked, row.last_clicked_at) == (1, 0, None)
    opened_at = NOON + timedelta(minutes=5)
    assert row.last_opened_at == opened_at
    assert row.heat == pytest.approx(2 ** ((opened_at - row.heat_at) / timedelta(days=30)))
    assert row.hours is not None
    assert sum(row.hours) == 1
    call_command("rebuild_engagement", check=True, stdout=StringIO())


def test_a_dry_run_of_reclassify_leaves_people_as_they_were() -> None:
    message = mailed()
    hear(message, "clicked", 90, url="https://shop.example/")
    Event.objects.filter(type="clicked").update(user_agent=SCANNER)

    list(reclassifying.reclassify(0, None, is_dry=True))

    assert known(message).clicked == 1


def test_what_somebody_tampered_with_is_found_and_put_right() -> None:
    message = mailed()
    hear(message, "opened", 5)
    good = known(message)
    Engagement.objects.filter(pk=good.pk).update(opened=7, heat=99, last_opened_at=None)

    with pytest.raises(CommandError, match=rf"1 people differ \(among them {good.pk}\)"):
        call_command("rebuild_engagement", check=True, stdout=StringIO())
    assert known(message).opened == 7, "a check changes nothing"
    out = StringIO()
    call_command("rebuild_engagement", stdout=out)

    assert "1 people differed and are right now" in out.getvalue()
    row = known(message)
    assert (row.opened, row.last_opened_at) == (1, good.last_opened_at)
    call_command("rebuild_engagement", check=True, stdout=StringIO())


def test_who_is_missing_is_made() -> None:
    message = mailed()
    hear(message, "opened", 5)
    Engagement.objects.all().delete()

    with pytest.raises(CommandError, match="1 people differ"):
        call_command("rebuild_engagement", check=True, stdout=StringIO())
    call_command("rebuild_engagement", stdout=StringIO())

    assert known(message).opened == 1


def test_where_nobody_tells_of_deliveries_what_was_sent_counts_after_a_while() -> None:
    quiet = make.account(kind="smtp")
    make.handoff(None, quiet, started_at=NOON)
    early, late, bounced = mailed(account=quiet), mailed(account=quiet), mailed(account=quiet)
    Message.objects.filter(pk=late.pk).update(sent_at=NOON + timedelta(hours=5))
    hear(bounced, "bounced", bounce_class="soft")

    feeling.sweep(NOON + timedelta(hours=6, minutes=30))
    feeling.sweep(NOON + timedelta(hours=6, minutes=30))

    assert known(early).received == 1
    assert known(early).last_received_at == NOON
    assert known(bounced).received == 0
    assert not Engagement.objects.filter(pk=late.subscriber_id).exists()
    feeling.sweep(NOON + timedelta(hours=48))
    assert known(late).received == 1
    call_command("rebuild_engagement", check=True, stdout=StringIO())


def test_a_mail_that_was_swept_is_not_counted_again_when_it_is_opened() -> None:
    quiet = make.account(kind="smtp")
    make.handoff(None, quiet, started_at=NOON)
    message = mailed(account=quiet)
    feeling.sweep(NOON + timedelta(hours=12))

    hear(message, "opened", 5)

    assert (known(message).received, known(message).opened) == (1, 1)
    call_command("rebuild_engagement", check=True, stdout=StringIO())


def test_accounts_that_tell_are_not_swept() -> None:
    telling = make.account()
    make.handoff(None, telling, started_at=NOON)
    told, lost = mailed(account=telling), mailed(account=telling)
    hear(told, "delivered")

    feeling.sweep(NOON + timedelta(hours=48))

    assert not QuietAccount.objects.exists()
    assert not Engagement.objects.filter(pk=lost.subscriber_id).exists()


def test_a_time_zone_nobody_knows_counts_as_utc() -> None:
    message = mailed(make.subscriber(time_zone="Atlantis/Capital"))

    hear(message, "opened", 5)

    row = known(message)
    assert row.hours is not None
    assert row.hours[12] == 1
