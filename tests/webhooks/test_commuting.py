"""Events commute: whatever the order, the repetitions and the batches, the end is the same."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import transaction
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from delivery import counting
from delivery.models import CampaignStat, Message
from subscribers.models import Engagement, Subscriber, Suppression
from tests import make
from webhooks import feeling
from webhooks.applying import apply_pending
from webhooks.marks import MARKS
from webhooks.models import RawRequest

pytestmark = pytest.mark.django_db

START = datetime(2026, 11, 20, 8, 0, tzinfo=UTC)
BOUNCES = {
    "hard": {"status": "5.1.1", "bounce_classification": "Invalid Address"},
    "soft": {"status": "4.2.2", "bounce_classification": "Mailbox Unavailable"},
    "block": {"status": "5.7.1", "type": "blocked"},
}
WORDS = [
    "processed",
    "delivered",
    "deferred",
    "dropped",
    "open",
    "click",
    "unsubscribe",
    "spamreport",
    *BOUNCES,
]
COUNTED = (
    *("received", "opened", "clicked"),
    *("first_received_at", "last_received_at", "last_opened_at", "last_clicked_at"),
)
MACHINE, PERSON = "Barracuda Sentinel", "Thunderbird"

events = st.lists(
    st.tuples(
        st.integers(0, 2),
        st.sampled_from(WORDS),
        st.integers(0, 200).map(lambda minutes: START + timedelta(minutes=minutes)),
        st.sampled_from([MACHINE, PERSON]),
    ),
    max_size=12,
)


@given(events=events, data=st.data())
@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
def test_any_order_and_repetition_ends_the_same(events: list[Any], data: st.DataObject):
    order = list(range(len(events)))
    repeated = order + data.draw(
        st.lists(st.sampled_from(order), max_size=6) if order else st.just([])
    )
    shuffled = data.draw(st.permutations(repeated))
    size = data.draw(st.integers(2, 8))

    straight = outcome(events, order, size=100)
    mixed = outcome(events, shuffled, size=size)

    assert mixed == straight
    assert straight["messages"] == [expected(events, index) for index in range(3)]


def outcome(events: list[Any], order: list[int], size: int) -> dict[str, Any]:
    """Return the state after applying the events in this order, so many in each request."""
    with transaction.atomic():
        news = make.mailing_list()
        campaign, account = make.launched([news]), make.account()
        people = [make.subscriber(lists=[news]) for _ in range(3)]
        messages = [
            make.message(campaign, each, status="sent", provider=account, sent_at=START)
            for each in people
        ]
        counting.rebuild(campaign.pk)
        for start in range(0, len(order), size):
            entries = [entry(events[n], n, messages) for n in order[start : start + size]]
            RawRequest.objects.create(account=account, body=json.dumps(entries).encode())
            apply_pending(10, timezone.now())
        assert not RawRequest.objects.exclude(status="applied").exists()
        state: dict[str, Any] = {
            "messages": [times(Message.objects.get(pk=each.pk)) for each in messages],
            "people": list(
                Subscriber.objects.order_by("pk").values_list(
                    "soft_bounces", "subscriptions__status"
                )
            ),
            "mailable": [each.is_mailable for each in Subscriber.objects.order_by("pk")],
            "engagement": engagement(),
            "suppressed": Suppression.objects.count(),
            "counted": list(
                CampaignStat.objects.order_by("hour").values_list("hour", *counting.COUNTED)
            ),
        }
        assert counting.rebuild(campaign.pk) == {}
        assert [each.wrong for each in feeling.rebuild(timezone.now(), is_check=True)] == [0]
        for each in feeling.rebuild(timezone.now(), is_check=False):
            assert not each.wrong
        assert engagement() == state["engagement"]
        # An hour from which everything moved to an earlier one is left with zeros.
        rows = CampaignStat.objects.order_by("hour").values_list("hour", *counting.COUNTED)
        assert list(rows) == [row for row in state["counted"] if any(row[1:])]
        state["counted"] = list(rows)
        transaction.set_rollback(True)
    return state


def engagement() -> list[Any]:
    """Return what is known of what people did, by the order of their ids; nothing of nobody."""
    rows = [
        (
            *(getattr(row, name) for name in COUNTED),
            row.hours and list(row.hours),
            # Halves every 30 days: as of one moment all ways to it come to the same.
            round(row.heat * 2 ** ((row.heat_at - START) / timedelta(days=30)), 6),
        )
        for row in Engagement.objects.order_by("subscriber_id")
    ]
    return [row for row in rows if any(row)]


def entry(event: Any, number: int, messages: list[Message]) -> dict[str, Any]:
    index, word, at, agent = event
    return {
        "email": messages[index].email,
        "message_id": messages[index].token,
        "event": "bounce" if word in BOUNCES else word,
        "timestamp": int(at.timestamp()),
        "sg_event_id": f"event-{number}",
        "useragent": agent,
        **BOUNCES.get(word, {}),
    }


def times(message: Message) -> dict[str, Any]:
    return {name: getattr(message, name) for name in (*MARKS, "bounce_class", "status")}


def expected(events: list[Any], index: int) -> dict[str, Any]:
    """Return what a message must say in the end: the rules once more, in plain words."""
    own = [(word, at, agent == MACHINE) for number, word, at, agent in events if number == index]

    def first(*chosen: tuple[str, bool | None]) -> datetime | None:
        return min(
            (
                at
                for word, at, by_machine in own
                for wanted, machine in chosen
                if word == wanted and machine in (None, by_machine)
            ),
            default=None,
        )

    said = {word for word, _, _ in own}
    return {
        "delivered_at": first(("delivered", None), ("open", None), ("click", False)),
        "deferred_at": first(("deferred", None)),
        "bounced_at": first(("hard", None), ("soft", None), ("block", None)),
        "dropped_at": first(("dropped", None)),
        "opened_at": first(("open", False)),
        "person_opened_at": first(("open", False)),
        "machine_opened_at": first(("open", True)),
        "clicked_at": first(("click", False)),
        "person_clicked_at": first(("click", False)),
        "machine_clicked_at": first(("click", True)),
        "unsubscribed_at": first(("unsubscribe", None)),
        "complained_at": first(("spamreport", None)),
        "bounce_class": next((each for each in ("hard", "block", "soft") if each in said), ""),
        "status": "sent",
    }
