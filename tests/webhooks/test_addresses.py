"""Which account hears what is posted to which address, and what strangers learn from it."""

from __future__ import annotations

import json
import secrets
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from django.test import Client
from django.utils import timezone

from delivery.models import ProviderAccount
from emailplatform.limiting import Ceiling
from tests.webhooks.esp import KINDS, esp
from tests.webhooks.test_views import mailed
from webhooks import views
from webhooks.applying import apply_pending
from webhooks.models import Event, RawRequest

pytestmark = pytest.mark.django_db
REFUSED = (400, b"The request does not prove where it comes from.\n")


def post(client: Client, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, bytes]:
    answer = client.post(path, body, content_type="application/json", headers=headers)
    return answer.status_code, answer.content


@pytest.mark.parametrize("kind", KINDS)
def test_the_first_account_of_a_kind_hears_at_the_address_of_the_kind(client: Client, kind: str):
    ProviderAccount.objects.all().delete()
    deaf = esp(kind)
    ProviderAccount.objects.update(secrets={})
    first, second = esp(kind), esp(kind)
    headers, body = first.signed(first.tells("delivered", mailed(first)), timezone.now())
    others, other_body = second.signed(second.tells("open", mailed(second)), timezone.now())

    assert post(client, f"/api/webhooks/email/{kind}", body, headers) == (200, b"")
    assert post(client, f"/api/webhooks/email/{kind}/", other_body, others) == REFUSED

    assert RawRequest.objects.get().account == first.account != deaf.account
    apply_pending(10, timezone.now())
    assert Event.objects.get().message_id


@pytest.mark.parametrize("kind", KINDS)
def test_an_account_hears_at_its_name_and_at_its_token(client: Client, kind: str):
    provider = esp(kind, name=f"Shop, Europe {secrets.token_hex(2)}")
    name = provider.account.name.lower().replace(", ", "-").replace(" ", "-")
    message = mailed(provider)

    for last in (name, provider.account.webhook_token):
        headers, body = provider.signed(provider.tells("delivered", message), timezone.now())
        assert post(client, f"/api/webhooks/email/{kind}/{last}", body, headers) == (200, b"")

    apply_pending(10, timezone.now())
    assert set(Event.objects.values_list("message_id", flat=True)) == {message.pk}


@pytest.mark.parametrize("kind", KINDS)
def test_a_stranger_cannot_tell_which_names_there_are(client: Client, kind: str):
    provider = esp(kind, name="Shop")
    headers, body = provider.signed({}, timezone.now())
    forged = dict.fromkeys(headers, "wrong")
    body = body.replace(b'"signature": "', b'"signature": "0')

    answers = {
        post(
            client,
            f"/api/webhooks/email/{kind}{last}",
            body.replace(b'"Signature": "', b'"'),
            forged,
        )
        for last in ("", "/shop", "/no-such-shop", "/smtp")
    }
    looks = {
        client.get(f"/api/webhooks/email/{kind}{last}").content for last in ("/shop", "/x", "")
    }

    assert answers == {REFUSED}
    assert len(looks) == 1
    assert client.get("/api/webhooks/email/nobody").status_code == 404
    assert client.post("/api/webhooks/email/nobody/shop").status_code == 404


DEEP = b'{"signature": ' + b"[" * 100_000
HOSTILE = {
    "empty": b"",
    "truncated": b'{"event-data": {"event": "deliv',
    "not UTF-8": b"\xff\xfe{\x80}",
    "deep": DEEP,
    "a long number": b"9" * 100_000,
    "no object": b"[1, null, NaN]",
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("body", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("is_named", [False, True])
def test_whatever_a_stranger_posts_is_refused_in_words(client: Client, kind, body, is_named):
    provider = esp(kind, name="Shop")
    headers = dict.fromkeys(provider.signed({}, timezone.now())[0], "x")
    path = f"/api/webhooks/email/{kind}/shop" if is_named else provider.path

    for given in ({}, headers):
        assert post(client, path, body, given) == REFUSED
    assert not RawRequest.objects.exists()


@pytest.mark.parametrize("kind", KINDS)
def test_a_body_of_more_than_20_mb_is_too_large(client: Client, kind: str):
    provider = esp(kind)
    body = b'["' + b"x" * 20 * 1024 * 1024 + b'"]'

    answer = client.post(provider.path, body, content_type="application/json")

    assert (answer.status_code, answer.content) == (413, b"The body is too large.\n")
    assert not RawRequest.objects.exists()


@pytest.mark.parametrize("kind", KINDS)
def test_a_body_is_as_large_as_what_the_provider_posts_at_once(client: Client, kind: str):
    provider = esp(kind)
    most = 20_000_000 if kind in {"sendgrid", "generic"} else 1_000_000
    deep = b"[" * 20
    largest = deep + b" " * (most - len(deep))

    assert post(client, provider.path, largest, {}) == REFUSED
    assert post(client, provider.path, largest + b" ", {}) == (413, b"The body is too large.\n")
    assert not RawRequest.objects.exists()


@pytest.mark.parametrize("last", ["", "shop"])
def test_one_account_that_cannot_be_read_does_not_silence_its_siblings(
    client: Client, last: str, settings
):
    kept = settings.ENCRYPTION_KEYS
    settings.ENCRYPTION_KEYS = [Fernet.generate_key().decode()]
    esp("sendgrid", name="Locked out")
    settings.ENCRYPTION_KEYS = kept
    provider = esp("sendgrid", name="Shop")
    headers, body = provider.signed([], timezone.now())
    path = f"/api/webhooks/email/sendgrid/{last}".rstrip("/")

    assert post(client, path, body, headers) == (200, b"")


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in {"mailgun", "ses"}])
@pytest.mark.parametrize("body", [b"", b"\xff\xfe", b"[" * 100_000, b'{"a": "trunc'])
def test_what_is_genuine_and_broken_is_kept_and_hurts_nobody(
    client: Client, kind: str, body, monkeypatch
):
    provider = esp(kind)
    monkeypatch.setattr("tests.webhooks.esp.json.dumps", lambda _value: body.decode("latin-1"))
    headers, signed = provider.signed({}, timezone.now())
    monkeypatch.undo()

    assert post(client, provider.path, signed, headers) == (200, b"")
    apply_pending(10, timezone.now())

    assert RawRequest.objects.get().status == "unparsable"


def test_what_is_proved_has_a_ceiling_of_its_own(monkeypatch):
    monkeypatch.setattr(views, "proved", Ceiling(f"test{secrets.token_hex(4)}", 3))
    client = Client(REMOTE_ADDR=f"2001:db8:{secrets.token_hex(2)}::1")
    provider = esp("generic")

    answers = [provider.post(client, []) for _ in range(5)]

    assert [each.status_code for each in answers] == [200, 200, 200, 429, 429]
    assert 0 < int(answers[-1]["Retry-After"]) <= 60
    assert RawRequest.objects.count() == 3


def test_processes_share_the_ceiling_through_redis():
    group = f"test{secrets.token_hex(4)}"
    one, other = Ceiling(group, 100), Ceiling(group, 100)

    waits = [each.seconds_to_wait("192.0.2.1") for _ in range(60) for each in (one, other)]

    assert not any(waits[:90])
    assert waits[-1]
    assert not other.seconds_to_wait("192.0.2.2")


def test_what_an_account_does_not_want_to_hear_is_left_out(client: Client):
    provider = esp("generic")
    provider.account.config = {"webhook_types": "delivered"}
    provider.account.save()
    message = mailed(provider)

    for what in ("delivered", "open", "click", "hard bounce"):
        provider.post(client, provider.tells(what, message))
    apply_pending(10, timezone.now())

    assert set(Event.objects.values_list("type", flat=True)) == {"delivered", "bounced"}


def test_the_example_in_the_documentation_is_heard(client: Client):
    """The Python of docs/events.md, run as it stands."""
    page = (Path(__file__).parents[2] / "docs" / "events.md").read_text()
    code = page.split("```python\n", 1)[1].split("```", 1)[0]
    provider = esp("generic")
    message = mailed(provider)
    posted = []
    names = {
        "ADDRESS": provider.path,
        "SECRET": provider.keys["secret"],
        "EVENTS": [{"type": "delivered", "message_id": message.token, "recipient": message.email}],
        "post": lambda url, data, headers: posted.append(
            client.post(url, data, content_type="application/json", headers=headers)
        ),
    }

    exec(code, names)  # noqa: S102 (our own page)
    apply_pending(10, timezone.now())

    assert [each.status_code for each in posted] == [200], json.dumps(code)
    assert Event.objects.get().message_id == message.pk
