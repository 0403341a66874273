"""Own events, histories and trends over HTTP."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from delivery.models import CampaignStat, Message
from emailplatform import secrets
from subscribers import consenting
from subscribers.models import Subscriber, Subscription
from tests import make
from tests.calling import Answer, Api
from webhooks import registering
from webhooks.models import Event, Tracked

pytestmark = pytest.mark.django_db

TRACK = "engagement/track"
SHOP = "https://shop.example.com"
BUY = {
    "id": "order-1",
    "type": "conversion",
    "name": "purchase",
    "value": "49.90",
    "currency": "EUR",
}


def _mailed(email: str = "ann@gmail.com") -> Message:
    sent = timezone.now() - timedelta(hours=1)
    return make.message(
        make.launched([]),
        make.subscriber(email),
        status="sent",
        sent_at=sent,
        provider=make.account(),
    )


def _page(body: Any, **headers: str) -> Answer:
    """Post as a page does: no key, and JSON called text."""
    client = Client(raise_request_exception=False, headers=headers)
    text = body if isinstance(body, str) else json.dumps(body)
    answer = client.post(f"/api/v1/{TRACK}", text, content_type="text/plain")
    return Answer(answer.status_code, answer.json(), answer.headers)


# --- Own events --------------------------------------------------------------------------


def test_a_purchase_counts_once_for_person_and_campaign() -> None:
    message = _mailed()
    told = {**BUY, "email": "Ann@gmail.com", "campaign": message.campaign_id}

    answers = [Api().post(TRACK, told), Api().post(TRACK, {**told, "value": "1.00"})]

    assert [(each.status, each.data) for each in answers] == [(202, {"accepted": 1})] * 2
    event = Event.objects.get()
    assert (event.type, event.message_id) == ("converted", message.pk)
    assert (event.subscriber_id, event.campaign_id) == (message.subscriber_id, message.campaign_id)
    tracked = Tracked.objects.get()
    assert (tracked.value, tracked.currency, tracked.via) == (Decimal("49.90"), "EUR", "key")
    report = Api().get(f"campaigns/{message.campaign_id}/conversions").data
    assert report == {
        "count": 1,
        "conversions": [{"name": "purchase", "currency": "EUR", "count": 1, "value": "49.9000"}],
    }


def test_what_a_person_does_without_any_mail_is_theirs_all_the_same() -> None:
    person = make.subscriber("ann@gmail.com")
    events = [
        {"id": "1", "type": "reply", "email": "ann@gmail.com"},
        {"id": "2", "type": "custom", "subscriber": person.pk, "name": "login",
         "properties": {"plan": "pro"}},
    ]  # fmt: skip

    assert Api().post(TRACK, {"events": events}).data == {"accepted": 2}

    rows = Event.objects.order_by("dedupe_key").values_list("type", "subscriber_id", "standing")
    assert list(rows) == [("replied", person.pk, ""), ("custom", person.pk, "")]
    assert Tracked.objects.get().properties == {"plan": "pro"}


def test_an_own_click_is_in_the_counters_of_the_campaign() -> None:
    message = _mailed()

    click = {"id": "1", "type": "click", "message": message.token, "url": f"{SHOP}/a"}
    assert Api().post(TRACK, click).status == 202

    message.refresh_from_db()
    assert message.clicked_at is not None
    assert sum(CampaignStat.objects.values_list("clicked", flat=True)) == 1


def test_a_conversion_is_no_evidence_that_a_mail_in_doubt_was_sent() -> None:
    message = _mailed()
    Message.objects.update(status="unknown", sent_at=None)

    Api().post(TRACK, {**BUY, "message": message.token})

    message.refresh_from_db()
    assert message.status == "unknown"


def test_one_bad_event_of_many_stores_none_and_is_named() -> None:
    make.subscriber("ann@gmail.com")
    good = {**BUY, "email": "ann@gmail.com"}

    answer = Api().post(TRACK, {"events": [good, {**good, "id": "2", "email": "bo@gmail.com"}]})

    assert (answer.status, answer.error["param"]) == (400, "events.1.email")
    assert not Event.objects.exists()


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"email": None}, "email"),
        ({"subscriber": 1}, "email"),
        ({"email": "nobody@gmail.com"}, "email"),
        ({"campaign": 999_999}, "campaign"),
        ({"id": ""}, "id"),
        ({"id": "x" * 101}, "id"),
        ({"type": "delivered"}, "type"),
        ({"type": "custom", "value": "1"}, "value"),
        ({"value": "NaN"}, "value"),
        ({"value": "1e30"}, "value"),
        ({"currency": "euro"}, "currency"),
        ({"properties": {"a": "x" * 3000}}, "properties"),
        ({"properties": {"a": "\x00"}}, "properties"),
        ({"occurred_at": "2030-01-01T00:00:00Z"}, "occurred_at"),
        ({"occurred_at": "2001-01-01T00:00:00Z"}, "occurred_at"),
        ({"surname": "x"}, "surname"),
    ],
)
def test_what_cannot_be_told_is_refused_by_name(change: dict[str, Any], param: str) -> None:
    make.subscriber("ann@gmail.com")

    answer = Api().post(TRACK, {**BUY, "email": "ann@gmail.com", **change})

    assert (answer.status, answer.data["error"]["param"]) == (400, param)
    assert not Event.objects.exists()


def test_a_page_tells_with_a_token_what_its_person_did(settings: Any) -> None:
    settings.TRACK_ORIGINS = [SHOP]
    message = _mailed()
    api = Api(make.api_key("read"))
    path = "subscribers/ann@gmail.com/track-token"
    token = api.get(path, campaign=message.campaign_id).data["token"]

    answer = _page({**BUY, "token": token}, origin=SHOP, user_agent="Mozilla/5.0")

    assert answer.status == 202
    assert answer.headers["Access-Control-Allow-Origin"] == SHOP
    event = Event.objects.get()
    assert (event.message_id, event.user_agent) == (message.pk, "Mozilla/5.0")
    assert Tracked.objects.get().via == "token"


def test_the_same_id_on_the_pages_of_two_people_is_two_events() -> None:
    for email in ("ann@gmail.com", "bo@gmail.com"):
        token = registering.token_for(make.subscriber(email))
        _page({**BUY, "token": token})
        _page({**BUY, "token": token})

    assert Event.objects.count() == 2


@pytest.mark.parametrize("origin", ["https://evil.example.com", "null"])
def test_other_pages_are_not_listened_to(origin: str, settings: Any) -> None:
    settings.TRACK_ORIGINS = [SHOP]
    token = registering.token_for(make.subscriber())

    answer = _page({**BUY, "token": token}, origin=origin)

    assert answer.status == 401
    assert "Access-Control-Allow-Origin" not in answer.headers
    asked = Client().options(f"/api/v1/{TRACK}", headers={"origin": origin})
    assert "Access-Control-Allow-Origin" not in asked.headers


def test_a_browser_that_asks_first_is_answered(settings: Any) -> None:
    settings.TRACK_ORIGINS = [SHOP]

    asked = Client().options(f"/api/v1/{TRACK}", headers={"origin": SHOP})

    assert asked.status_code == 204
    assert asked.headers["Access-Control-Allow-Origin"] == SHOP


@pytest.mark.parametrize("token", [None, "", "1.2", "0.5f.forged", 7, "\ud800", {"a": 1}])
def test_without_a_good_token_nothing_is_stored(token: Any) -> None:
    make.subscriber()
    other = secrets.sign("unsubscribe", 1, 0)

    assert _page({**BUY, "token": token}).status in (400, 401)
    assert _page({**BUY, "token": other}).status == 401
    assert _page("[]").status == 401
    assert not Event.objects.exists()


def test_a_page_tells_no_replies_and_names_nobody_else() -> None:
    token = registering.token_for(make.subscriber())
    make.subscriber("bo@gmail.com")

    assert _page({"id": "1", "type": "reply", "token": token}).status == 400
    assert _page({**BUY, "token": token, "email": "bo@gmail.com"}).status == 400


@pytest.mark.parametrize("scope", ["read", "manage", "send", "export"])
def test_telling_takes_a_scope_of_its_own(scope: str) -> None:
    make.subscriber("ann@gmail.com")

    assert Api(make.api_key(scope)).post(TRACK, {**BUY, "email": "ann@gmail.com"}).status == 403
    assert Api(make.api_key("track")).get("subscribers").status == 403


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)
_FIELDS = ["id", "type", "email", "subscriber", "message", "campaign", "value", "currency", "name",
           "properties", "occurred_at", "url", "ip", "user_agent", "events", "token"]  # fmt: skip


@settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    change=st.dictionaries(
        st.sampled_from(_FIELDS),
        _VALUES | st.sampled_from(["custom", "open", "EUR", "1.5", "::1"]),
        max_size=4,
    )
)
def test_no_event_is_a_server_error(change: dict[str, Any]) -> None:
    Subscriber.objects.filter(email="ann@gmail.com").exists() or make.subscriber("ann@gmail.com")
    body = json.dumps({**BUY, "email": "ann@gmail.com", **change})

    assert Api().post(TRACK, body).status < 500
    assert _page(body).status < 500


# --- One person --------------------------------------------------------------------------


def test_a_history_has_mails_events_and_consent_in_one_line_page_by_page() -> None:
    news = make.mailing_list()
    message = _mailed()
    person = message.subscriber
    assert person is not None
    Subscription.objects.create(subscriber=person, list=news)
    Api().post(TRACK, {**BUY, "message": message.token})
    consenting.unsubscribe(person, [news.pk], timezone.now())

    seen: list[tuple[str, str]] = []
    url, pages = f"subscribers/{person.email}/history?limit=1", 0
    while url and pages < 9:
        answer = Api().get(url)
        seen += [(row["kind"], row["type"]) for row in answer.data["results"]]
        url, pages = answer.data["next"], pages + 1

    assert seen == [("consent", "left"), ("event", "converted"), ("message", "sent")]
    same = Api().get(f"analytics/subscriber/{person.pk}/history/").data["results"]
    assert [(row["kind"], row["type"]) for row in same] == seen
    assert same[1]["details"]["value"] == "49.9000"
    only = Api().get(f"subscribers/{person.pk}/history?kind=event&kind=consent").data["results"]
    assert [row["kind"] for row in only] == ["consent", "event"]


def test_pages_of_a_history_stand_still_while_things_happen() -> None:
    person = make.subscriber("ann@gmail.com")
    at = timezone.now() - timedelta(days=1)
    for number in range(6):
        Event.objects.create(
            dedupe_key=f"old{number}", type="opened", occurred_at=at, subscriber_id=person.pk
        )
    first = Api().get("subscribers/ann@gmail.com/history", limit=2).data
    ids = [row["id"] for row in first["results"]]

    Event.objects.create(
        dedupe_key="new", type="opened", occurred_at=timezone.now(), subscriber_id=person.pk
    )
    url = first["next"]
    while url:
        page = Api().get(url).data
        ids += [row["id"] for row in page["results"]]
        url = page["next"]

    expected = Event.objects.exclude(dedupe_key="new").order_by("-pk").values_list("pk", flat=True)
    assert ids == list(expected)


@pytest.mark.parametrize(
    "cursor", ["x", "W10", "bnVsbA", "WyIyMDI2IiwgImV2ZW50IiwgMV0", "é", "%00"]
)
def test_a_cursor_that_is_none_is_refused(cursor: str) -> None:
    make.subscriber("ann@gmail.com")

    answer = Api().get("subscribers/ann@gmail.com/history", cursor=cursor)

    assert (answer.status, answer.error["param"]) == (400, "cursor")


# --- Over time ---------------------------------------------------------------------------


def _counted(hour: datetime, campaign: Any = None, mailbox: str = "gmail", **counts: int) -> None:
    CampaignStat.objects.create(
        campaign=campaign, provider=make.account(), mailbox=mailbox, hour=hour, **counts
    )


def _points(**query: Any) -> list[dict[str, Any]]:
    answer = Api().get("analytics/trends", **query)
    assert answer.status == 200, answer.data
    points: list[dict[str, Any]] = answer.data["points"]
    return points


def test_days_begin_where_somebody_lives() -> None:
    _counted(datetime(2026, 10, 24, 22, 0, tzinfo=UTC), sent=1)  # midnight in Berlin
    _counted(datetime(2026, 10, 25, 22, 0, tzinfo=UTC), sent=2)  # 23:00 of a day of 25 hours
    _counted(datetime(2026, 10, 25, 23, 0, tzinfo=UTC), sent=4)  # midnight again

    points = _points(
        since="2026-10-24T22:00:00Z", until="2026-10-26T23:00:00Z", time_zone="Europe/Berlin"
    )

    assert [(each["start"], each["sent"]) for each in points] == [
        ("2026-10-25T00:00:00+02:00", 3),
        ("2026-10-26T00:00:00+01:00", 4),
    ]


def test_the_hour_that_comes_twice_is_two_points() -> None:
    _counted(datetime(2026, 10, 25, 0, 0, tzinfo=UTC), sent=1)
    _counted(datetime(2026, 10, 25, 1, 0, tzinfo=UTC), sent=2)

    points = _points(
        period="hour",
        since="2026-10-25T00:00:00Z",
        until="2026-10-25T02:00:00Z",
        time_zone="Europe/Berlin",
    )

    assert [(each["start"], each["sent"]) for each in points] == [
        ("2026-10-25T02:00:00+02:00", 1),
        ("2026-10-25T02:00:00+01:00", 2),
    ]


def test_trends_are_of_all_mail_or_of_a_part() -> None:
    news = make.mailing_list()
    campaign = make.launched([news])
    hour = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)
    _counted(hour, campaign, sent=5, opened=3, person_opened=2, machine_opened=1)
    _counted(hour, None, "microsoft", sent=7)
    span = {"since": "2026-11-20T00:00:00Z", "until": "2026-11-21T00:00:00Z"}

    def sent(**query: Any) -> list[int]:
        return [each["sent"] for each in _points(**span, **query)]

    assert sent() == [12]
    assert sent(campaign=campaign.pk) == sent(list=news.pk) == sent(mailbox="gmail") == [5]
    assert sent(period="week") == [12]
    point = _points(**span, campaign=campaign.pk)[0]
    assert (point["opened"], point["person_opened"], point["machine_opened"]) == (3, 2, 1)
    assert (point["added"], point["left"]) == (None, None)


def test_who_came_and_who_left_is_counted() -> None:
    news = make.mailing_list()
    person = make.subscriber("ann@gmail.com", [news])
    make.subscriber("bo@outlook.com")
    consenting.unsubscribe(person, [], timezone.now())

    everybody, listed = _points()[-1], _points(list=news.pk)[-1]

    assert (everybody["added"], everybody["left"]) == (2, 1)
    assert (listed["added"], listed["left"]) == (1, 1)
    assert _points(mailbox="microsoft")[-1]["added"] == 1


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ({"period": "month"}, "period"),
        ({"period": "hour", "since": "2020-01-01T00:00:00Z"}, "period"),
        ({"since": "2026-01-02T00:00:00Z", "until": "2026-01-01T00:00:00Z"}, "until"),
        ({"time_zone": "Mars/Olympus"}, "time_zone"),
        ({"since": "yesterday"}, "since"),
        ({"campaign": "x"}, "campaign"),
        ({"campaign": 10**30}, "campaign"),
        ({"mailbox": "pigeon"}, "mailbox"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_a_trend_that_cannot_be_drawn_is_refused_by_name(query: dict[str, Any], param: str) -> None:
    answer = Api().get("analytics/trends", **query)

    assert (answer.status, answer.error["param"]) == (400, param)
