"""Hearing back over HTTP: what was heard, how it is doing, trying again, what is listened to."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.test import Client
from django.utils import timezone

from delivery.models import ProviderAccount
from delivery.providers.base import EventType
from emailplatform.models import AuditEntry
from tests import make
from tests.calling import Api
from tests.pages import use_own_cache
from tests.webhooks.esp import esp, sendgrid_event
from tests.webhooks.test_applying import HARD, apply_all, mailed, posted
from tests.webhooks.test_concluding import mail_with_copies
from webhooks import ingesting
from webhooks.models import Event, RawRequest

pytestmark = pytest.mark.django_db
AT = "email/webhooks/"


@pytest.fixture(autouse=True)
def own_cache(settings: Any) -> None:
    use_own_cache(settings)


def ids(answer: Any) -> list[int]:
    return [row["id"] for row in answer.data["results"]]


# --- Events ------------------------------------------------------------------------------


def test_events_are_found_by_everything_they_are_asked_for_by():
    one, other = make.account("One"), make.account("Other")
    message, second, mail = mailed(one), mailed(other), mail_with_copies(provider=one)
    entries = [
        sendgrid_event(message, "delivered", timezone.now()),
        sendgrid_event(message, "open", timezone.now()),
        sendgrid_event(mail, "delivered", timezone.now(), email="bob@example.com"),
    ]
    posted(one, *entries)
    posted(other, sendgrid_event(second, "bounce", timezone.now(), **HARD))
    apply_all()
    delivered, opened, copied, bounced = Event.objects.order_by("pk")
    api = Api()

    def found(**query: Any) -> list[int]:
        return ids(api.get(f"{AT}events/", **query))

    assert found() == [bounced.pk, copied.pk, opened.pk, delivered.pk]
    assert found(account="Other") == found(type="bounced") == [bounced.pk]
    assert found(message=message.token) == [opened.pk, delivered.pk]
    assert found(campaign=second.campaign_id) == [bounced.pk]
    assert found(recipient=message.email.upper()) == [opened.pk, delivered.pk]
    assert found(recipient="ann@gmail.com") == found(standing="copy") == [copied.pk]
    later = (timezone.now() + timedelta(minutes=1)).isoformat()
    assert found(since=later) == found(recipient="nobody") == found(message="x") == []
    assert len(found(until=later)) == 4
    assert api.get(f"{AT}events/", type="teapot").status == 400
    [row] = api.get(f"{AT}events/", type="bounced").data["results"]
    assert (row["message"], row["bounce_class"]) == (second.token, "hard")


def test_events_come_in_pages_in_which_nothing_is_skipped():
    message = mailed(make.account())
    assert message.provider
    posted(message.provider, *(sendgrid_event(message, "open", timezone.now()) for _ in range(5)))
    apply_all()
    api = Api()

    first = api.get(f"{AT}events/", limit=3)
    second = api.get(first.data["next"])

    assert ids(first) + ids(second) == sorted(Event.objects.values_list("pk", flat=True))[::-1]


# --- Trying again ------------------------------------------------------------------------


def test_a_dead_letter_is_listed_with_its_traceback_and_tried_again():
    account = make.account()
    dead = posted(account, status="failed", error="It broke.", traceback="Traceback: in line 1")
    posted(account, status="applied")
    api = Api()

    assert ids(api.get(f"{AT}requests/", status="failed")) == [dead.pk]
    assert api.get(f"{AT}requests/{dead.pk}/").data["traceback"] == "Traceback: in line 1"
    answer, again = api.post(f"{AT}retry/{dead.pk}/"), api.post(f"{AT}retry/{dead.pk}")

    assert (answer.status, answer.data["status"]) == (202, "pending")
    assert (again.status, again.error["code"]) == (409, "invalid_transition")
    assert api.post(f"{AT}retry/999999999/").status == 404
    entry = AuditEntry.objects.get()
    assert (entry.action, entry.object_id) == ("webhook.retry", dead.pk)
    apply_all()
    dead.refresh_from_db()
    assert dead.status == "applied"


def test_looking_takes_one_right_and_trying_again_another():
    dead = posted(make.account(), status="failed")
    reader = Api(make.api_key("read"))

    assert reader.get(f"{AT}requests/").status == 200
    assert reader.post(f"{AT}retry/{dead.pk}/").status == 403
    assert reader.put(f"{AT}config/", {"account": "x"}).status == 403
    for path in ("events/", "requests/", "stats/", "config/"):
        assert Api(None).get(f"{AT}{path}").status == 401


# --- Counts ------------------------------------------------------------------------------


def test_the_stats_say_what_came_of_everything_that_came(client: Client):
    provider = esp("sendgrid", name="Shop")
    message = mailed(provider.account)
    entry = sendgrid_event(message, "delivered", timezone.now())
    for _ in range(2):
        provider.post(client, [entry])
    provider.post(client, [entry], at=timezone.now() - timedelta(hours=1))
    provider.post(client, {"no": "array"})
    provider.post_raw(client, b"[]", {})
    apply_all()

    answer = Api().get(f"{AT}stats/")

    assert (answer.data["hours"], answer.data["waiting"]) == (24, 0)
    [row] = answer.data["accounts"]
    assert row["account"] == "Shop"
    assert {name: row[name] for name in row if name not in {"account", "kind"}} | {
        "lag_p50_s": 0,
        "lag_max_s": 0,
        "last_heard_at": 0,
    } == {
        "received": 4,
        "applied": 3,
        "late": 1,
        "forged": 1,
        "repeated": 0,
        "unparsable": 1,
        "failed": 0,
        "events": 3,
        "events_applied": 1,
        "events_duplicate": 2,
        "lag_p50_s": 0,
        "lag_max_s": 0,
        "last_heard_at": 0,
    }
    assert 0 <= row["lag_p50_s"] <= row["lag_max_s"] < 60
    for hours in ("0", "745", "-1", "soon", "9" * 5000):
        assert Api().get(f"{AT}stats/", hours=hours).status == 400


def test_health_needs_no_key_and_counts_the_queue(client: Client):
    account = make.account(name="Hush")
    message = mailed(account)
    posted(account, sendgrid_event(message, "open", timezone.now()))
    apply_all()
    long_ago = timezone.now() - timedelta(minutes=5)
    posted(account, due_at=long_ago)
    posted(account, due_at=timezone.now() + timedelta(hours=1))

    answer = client.get("/api/webhooks/email/health")

    assert answer.status_code == 200
    told = answer.json()
    assert told["status"] == "degraded"
    assert 299 < told["lag_s"] < 400
    assert told["queue"] == {"waiting": 2, "active": 0, "completed": 1, "failed": 0}
    assert b"Hush" not in answer.content
    assert client.post("/api/webhooks/email/health").status_code == 405


@pytest.mark.django_db(transaction=True)
def test_what_a_worker_holds_is_active():
    held = posted(make.account())
    counted: list[Any] = []

    from concurrent.futures import ThreadPoolExecutor

    def look() -> None:
        counted.append(RawRequest.objects.queue(timezone.now()))
        connection.close()

    with transaction.atomic(), ThreadPoolExecutor(1) as pool:
        taken = RawRequest.objects.take(10, 1000, timezone.now())
        assert [each.id for each in taken] == [held.pk]
        pool.submit(look).result(30)

    assert (counted[0].waiting, counted[0].active) == (1, 1)


# --- What is listened to -----------------------------------------------------------------


def test_secrets_are_added_and_replaced_and_never_told(client: Client):
    provider = esp("generic", name="Relay")
    message = mailed(provider.account)
    api = Api()

    added = api.put(f"{AT}config/", {"account": "Relay", "add_secret": "the-new-secret-of-ours"})
    ingesting.forget_listeners()
    old = provider.post(client, provider.tells("delivered", message)).status_code
    only = api.put(f"{AT}config/", {"account": "Relay", "secrets": ["the-new-secret-of-ours"]})
    ingesting.forget_listeners()
    gone = provider.post(client, provider.tells("open", message)).status_code
    provider.keys["secret"] = "the-new-secret-of-ours"
    new = provider.post(client, provider.tells("open", message)).status_code

    assert (added.data["secrets"], only.data["secrets"]) == (2, 1)
    assert (old, gone, new) == (200, 400, 200)
    assert "of-ours" not in str(api.get(f"{AT}config/").data) + str(added) + str(only)
    actions = AuditEntry.objects.values_list("action", "object_id")
    assert list(actions) == [("webhooks.config", provider.account.pk)] * 2


def test_types_and_windows_are_set_by_account():
    make.account("Shop", kind="sendgrid", config={"api_url": "https://x.example/"})
    api = Api()

    answer = api.put(f"{AT}config/", {"account": "Shop", "types": ["delivered"], "window_min": 60})

    told = answer.data
    assert told["window_min"] == 60
    assert {"delivered", "bounced", "complained", "unsubscribed"} <= set(told["types"])
    assert "opened" not in told["types"]
    account = ProviderAccount.objects.get()
    assert account.config["api_url"] == "https://x.example/"
    back = api.put(f"{AT}config/", {"account": "Shop", "types": [], "window_min": None}).data
    assert (back["window_min"], len(back["types"])) == (10, len(EventType))
    assert "webhook_types" not in ProviderAccount.objects.get().config


@pytest.mark.parametrize(
    ("kind", "wish", "param"),
    [
        ("sendgrid", {"types": ["teapot"]}, "types"),
        ("sendgrid", {"window_min": 0}, "window_min"),
        ("sendgrid", {"window_min": 10**6}, "window_min"),
        ("sendgrid", {"add_secret": "no key"}, "add_secret"),
        ("postmark", {"secrets": ["nopassword:"]}, "secrets"),
        ("smtp", {"add_secret": "short"}, "add_secret"),
        ("smtp", {"secrets": []}, "secrets"),
        ("smtp", {"secret": "x"}, "secret"),
    ],
)
def test_what_could_not_work_is_refused_and_nothing_is_changed(kind, wish, param):
    account = make.account("Shop", kind=kind)

    answer = Api().put(f"{AT}config/", {"account": "Shop", **wish})

    assert (answer.status, answer.error["param"]) == (400, param)
    unchanged = ProviderAccount.objects.get()
    assert (unchanged.version, unchanged.config) == (account.version, account.config)
    assert not AuditEntry.objects.exists()


def test_these_addresses_have_a_limit_of_their_own(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("webhooks.api.hearing.WebhookThrottle.rate", "3/min", raising=False)
    api = Api()

    answers = [api.get(f"{AT}stats/") for _ in range(5)]

    assert {429} <= {each.status for each in answers[3:]}
    assert [each.status for each in answers[:3]] == [200, 200, 200]
    assert int(answers[-1].headers["Retry-After"]) <= 60
    assert api.get("system/status/").status == 200


# --- People and machines -----------------------------------------------------------------


def test_an_open_says_whose_it_was_and_what_told_it():
    account = make.account()
    message = mailed(account)
    agents = {"machine": "Barracuda Sentinel", "person": "Thunderbird", "unsure": ""}
    for agent in agents.values():
        posted(account, sendgrid_event(message, "open", timezone.now(), useragent=agent))
    posted(account, sendgrid_event(message, "delivered", timezone.now()))
    apply_all()
    api = Api()

    told = {verdict: api.get(f"{AT}events/", verdict=verdict).data["results"] for verdict in agents}
    [delivered] = api.get(f"{AT}events/", type="delivered").data["results"]

    for verdict, reason in (("machine", "agent"), ("person", "ordinary"), ("unsure", "no_agent")):
        assert [(row["verdict"], row["verdict_reason"]) for row in told[verdict]] == [
            (verdict, reason)
        ]
    assert (delivered["verdict"], delivered["verdict_reason"]) == (None, "")
    assert api.get(f"{AT}events/", verdict="cat").status == 400
