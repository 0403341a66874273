"""The providers' URLs: what is stored, what is refused, and how it is answered."""

from __future__ import annotations

import json
import secrets
import time
from datetime import timedelta

import pytest
from django.db import connection
from django.test import Client, override_settings
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from delivery.models import CampaignStat, Message, ProviderAccount
from delivery.providers import sns
from delivery.providers.base import Unavailable
from subscribers.models import Subscriber, Suppression
from tests import make
from tests.webhooks.esp import KINDS, Esp, esp, sendgrid_event
from webhooks import ingesting
from webhooks.applying import apply_pending
from webhooks.models import Event, RawRequest, WebhookCount

pytestmark = pytest.mark.django_db


def mailed(provider: Esp, email: str = "") -> Message:
    """Return a message that this provider has been given."""
    person = make.subscriber(email)
    return make.message(
        make.launched(), person, status="sent", provider=provider.account, sent_at=timezone.now()
    )


def counted() -> dict[str, int]:
    """Return how requests were taken; what became of them is counted beside it."""
    afterwards = ("applied", "failed", "events", "new")
    rows = WebhookCount.objects.exclude(outcome__in=afterwards)
    return dict(rows.values_list("outcome", "requests"))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("what", ["delivered", "hard bounce", "complaint", "open", "click"])
def test_what_a_provider_tells_reaches_message_and_person(client: Client, kind: str, what: str):
    provider = esp(kind)
    message = mailed(provider)

    answer = provider.post(client, provider.tells(what, message))
    apply_pending(10, timezone.now())

    assert answer.status_code == 200
    assert RawRequest.objects.get().status == "applied", RawRequest.objects.get().error
    message.refresh_from_db()
    person = Subscriber.objects.get()
    is_ended = what in {"hard bounce", "complaint"}
    assert (message.bounced_at is not None) == (what == "hard bounce")
    assert (message.complained_at is not None) == (what == "complaint")
    assert (message.delivered_at is not None) == (what in {"delivered", "open", "click"})
    assert (person.status != "active") == is_ended
    assert Suppression.objects.count() == is_ended
    assert Event.objects.get().message_id == message.pk


@pytest.mark.parametrize("kind", KINDS)
def test_unsubscribing_at_the_provider_ends_the_lists_of_the_campaign(client: Client, kind: str):
    provider = esp(kind)
    news, offers = make.mailing_list(), make.mailing_list()
    person = make.subscriber(lists=[news, offers])
    message = make.message(make.launched([news]), person, status="sent", provider=provider.account)

    provider.post(client, provider.tells("unsubscribe", message))
    apply_pending(10, timezone.now())

    standing = dict(person.subscriptions.values_list("list", "status"))
    assert standing == {news.pk: "unsubscribed", offers.pk: "active"}
    person.refresh_from_db()
    assert person.is_mailable


@pytest.mark.parametrize("kind", KINDS)
def test_one_changed_byte_makes_a_request_forged(client: Client, kind: str):
    provider = esp(kind)
    headers, body = provider.signed(provider.tells("complaint", mailed(provider)), timezone.now())
    if kind == "mailgun":  # Mailgun signs its token, not its event.
        body = body.replace(b'"token": "0', b'"token": "1')
    elif kind == "postmark":
        headers["authorization"] = headers["authorization"][:-3] + "AA="
    else:
        body = body.replace(b"@gmail.com", b"@gmail.con")

    answer = provider.post_raw(client, body, headers)

    assert answer.status_code == 400
    assert not RawRequest.objects.exists()
    assert counted() == {"forged": 1}


@pytest.mark.parametrize("kind", KINDS)
def test_without_a_secret_everything_is_refused(client: Client, kind: str):
    provider = esp(kind)
    headers, body = provider.signed(provider.tells("open", mailed(provider)), timezone.now())
    ProviderAccount.objects.update(secrets={})

    assert provider.post_raw(client, body, headers).status_code == 400
    assert not RawRequest.objects.exists()


def test_forged_requests_are_logged_without_their_body(client: Client, caplog):
    provider = esp("sendgrid")

    provider.post_raw(client, b'[{"email": "canary@example.com"}]', {})

    assert "forged" in caplog.text
    assert "canary" not in caplog.text


@pytest.mark.parametrize("kind", ["sendgrid", "mailgun", "ses", "generic"])
def test_a_genuine_request_that_is_late_is_stored_and_marked(client: Client, kind: str):
    provider = esp(kind)
    message = mailed(provider)
    long_ago = timezone.now() - timedelta(hours=5)

    answer = provider.post(client, provider.tells("delivered", message), at=long_ago)
    apply_pending(10, timezone.now())

    assert answer.status_code == 200
    assert RawRequest.objects.get().is_late
    assert counted() == {"late": 1}
    message.refresh_from_db()
    assert message.delivered_at


def test_a_single_use_token_is_good_once(client: Client):
    provider = esp("mailgun")
    message = mailed(provider)
    headers, body = provider.signed(provider.tells("delivered", message), timezone.now())
    other = body.replace(b'"delivered"', b'"complained"')

    answers = [provider.post_raw(client, each, headers) for each in (body, body, other)]
    apply_pending(10, timezone.now())

    assert [answer.status_code for answer in answers] == [200, 200, 200]
    assert RawRequest.objects.count() == 1
    assert counted() == {"stored": 1, "repeated": 2}
    message.refresh_from_db()
    assert message.delivered_at
    assert not message.complained_at


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_event_posted_again_counts_once(client: Client, kind: str):
    provider = esp(kind)
    payload = provider.tells("delivered", mailed(provider))
    at = timezone.now()
    headers, body = provider.signed(payload, at)

    for _ in range(3):
        provider.post_raw(client, body, headers)
        apply_pending(10, timezone.now())

    assert Event.objects.count() == 1
    assert CampaignStat.objects.get().delivered == 1


def test_credentials_are_not_stored(client: Client):
    provider = esp("postmark")
    payload = provider.tells("delivered", mailed(provider))
    headers, body = provider.signed(payload, timezone.now())
    more = {"cookie": "sessionid=canary", "user-agent": "Postmark"}

    provider.post_raw(client, body, {**headers, **more})

    assert RawRequest.objects.get().headers == {
        "content-type": "application/json",
        "user-agent": "Postmark",
    }


def test_the_body_is_stored_as_it_came(client: Client):
    provider = esp("postmark")
    headers, _ = provider.signed({}, timezone.now())
    body = b'\xef\xbb\xbf{"RecordType":  "Delivery"}\r\n\x00\xff'

    provider.post_raw(client, body, headers)

    assert bytes(RawRequest.objects.get().body) == body


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("wrong", ["token", "kind"])
def test_an_unknown_url_has_one_answer(client: Client, kind: str, wrong: str):
    provider = esp(kind)
    headers, body = provider.signed(provider.tells("open", mailed(provider)), timezone.now())
    token = provider.account.webhook_token
    path = {
        "token": f"/api/webhooks/email/{kind}/{token[:-1]}",
        "kind": f"/api/webhooks/email/{'ses' if kind == 'sendgrid' else 'sendgrid'}/{token}",
    }[wrong]

    answer = client.post(path, body, content_type="application/json", headers=headers)

    assert (answer.status_code, answer.content) == (404, b"Nobody listens here.\n")


@pytest.mark.parametrize("slash", ["", "/"])
def test_a_probe_is_answered(client: Client, slash: str):
    provider = esp("mailgun")

    assert client.head(provider.path + slash).status_code == 200
    assert client.get(provider.path + slash).content == b"Mailgun may post its events here.\n"
    assert client.put(provider.path).status_code == 405


@override_settings(DATA_UPLOAD_MAX_MEMORY_SIZE=1000)
def test_a_body_over_the_limit_is_refused(client: Client):
    provider = esp("postmark")

    assert provider.post(client, {"RecordType": "x" * 1000}).status_code == 413
    assert not RawRequest.objects.exists()


@pytest.mark.parametrize(
    ("kind", "payload", "reason"),
    [
        ("sendgrid", {"no": "array"}, "SendGrid sends an array"),
        ("mailgun", {"event-data": []}, "no event-data"),
        ("postmark", {"RecordType": "Inbound"}, "unknown event type"),
        ("ses", {"eventType": "Teapot"}, "unknown event type"),
        ("generic", {"type": "teapot"}, "unknown event type"),
    ],
)
def test_what_is_not_understood_is_kept_and_shown(client: Client, kind, payload, reason):
    provider = esp(kind)

    answer = provider.post(client, payload)
    apply_pending(10, timezone.now())

    assert answer.status_code == 200
    kept = RawRequest.objects.get()
    assert kept.status == "unparsable"
    assert reason in kept.error
    assert counted() == {"stored": 1, "unparsable": 1}


def test_strangers_are_slowed_down_and_providers_are_not(monkeypatch):
    monkeypatch.setattr("webhooks.views.FORGED_RATE", "3/h")
    client = Client(REMOTE_ADDR=f"2001:db8:{secrets.token_hex(2)}::1")
    provider = esp("sendgrid")
    message = mailed(provider)

    def tell() -> int:
        event = sendgrid_event(message, "open", timezone.now())
        return int(provider.post(client, [event]).status_code)

    genuine = [tell() for _ in range(5)]
    forged = [provider.post_raw(client, b"[]", {}) for _ in range(5)]
    unknown = client.post("/api/webhooks/email/sendgrid/nobody", b"[]", content_type="text/plain")
    after = tell()

    assert genuine == [200] * 5, "What is proved does not count."
    assert [each.status_code for each in forged] == [400, 400, 400, 429, 429]
    assert 0 < int(forged[-1]["Retry-After"]) <= 3600
    assert unknown.status_code == 429
    assert after == 200, "Nor is it refused for what else came from its address."
    assert counted() == {"forged": 3}
    assert RawRequest.objects.count() == 6


def test_a_signature_of_mailgun_s_is_refused_once_nobody_repeats_it(client: Client):
    provider = esp("mailgun", config={"webhook_window_min": "10080"})
    payload = provider.tells("complaint", mailed(provider))
    ages = [timedelta(hours=8), timedelta(hours=9, minutes=1)]

    answers = [provider.post(client, payload, at=timezone.now() - age) for age in ages]

    assert [each.status_code for each in answers] == [200, 400]
    assert counted() == {"forged": 1}
    assert RawRequest.objects.count() == 1


def test_without_redis_nothing_is_limited_and_nothing_breaks(client: Client, settings, caplog):
    settings.CACHES = {
        "default": {
            "BACKEND": "django.core.cache.backends.redis.RedisCache",
            "LOCATION": "unix:///nonexistent/redis.sock",
        }
    }
    provider = esp("sendgrid")

    answers = [provider.post_raw(client, b"[]", {}) for _ in range(3)]

    assert [each.status_code for each in answers] == [400, 400, 400]
    assert "Redis is away" in caplog.text


def test_an_sns_subscription_is_confirmed_once_it_is_proved(client: Client, monkeypatch):
    provider = esp("ses")
    confirmed = []
    monkeypatch.setattr(sns, "_call_confirm", lambda *call: confirmed.append(call))
    fields = {"Type": "SubscriptionConfirmation", "Token": "t" * 20, "SubscribeURL": "https://x"}
    message = provider.sns({}, timezone.now(), **fields)

    genuine = provider.post_raw(client, json.dumps(message).encode(), {})
    message["Token"] = "another"
    forged = provider.post_raw(client, json.dumps(message).encode(), {})

    assert (genuine.status_code, forged.status_code) == (200, 400)
    assert len(confirmed) == 1
    assert not RawRequest.objects.exists()


def test_what_cannot_be_judged_now_is_asked_for_again(client: Client, monkeypatch):
    def away(*_):
        raise Unavailable("Amazon's certificate could not be fetched.")

    provider = esp("ses")
    monkeypatch.setattr(sns, "_public_key", away)

    answer = provider.post(client, {"eventType": "Send"})

    assert answer.status_code == 503
    assert answer["Retry-After"] == "30"


def test_a_changed_secret_works_as_soon_as_the_account_is_read_again(client: Client, monkeypatch):
    provider = esp("postmark")
    payload = {"RecordType": "Delivery"}
    before = provider.post(client, payload)
    account = provider.account
    account.secrets = {"webhook_basic_auth": "new:password"}
    account.save()

    clock = time.monotonic() + ingesting.KNOWN_FOR_S
    monkeypatch.setattr("webhooks.ingesting.time.monotonic", lambda: clock)
    after = provider.post(client, payload)

    assert (before.status_code, after.status_code) == (200, 400)


def test_a_known_provider_costs_one_statement(client: Client):
    provider = esp("sendgrid")
    message = mailed(provider)
    provider.post(client, [sendgrid_event(message, "processed", timezone.now())])

    with CaptureQueriesContext(
        connection,
    ) as queries:
        provider.post(client, [sendgrid_event(message, "delivered", timezone.now())])

    assert [query["sql"].split()[0] for query in queries] == ["INSERT"]


def test_an_account_shows_when_it_was_last_heard(client: Client):
    provider = esp("sendgrid")

    provider.post(client, [])

    provider.account.refresh_from_db()
    assert provider.account.last_heard_at
    assert timezone.now() - provider.account.last_heard_at < timedelta(minutes=1)
    assert provider.account.version == 1
