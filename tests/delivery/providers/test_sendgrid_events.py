"""SendGrid: the public test vector, key rotation, and single entries of a batch."""

import base64
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from delivery.providers import sendgrid_events
from delivery.providers.base import Account, BounceClass, Forged, TooOld, WebhookRequest
from tests.delivery.providers import posts
from tests.delivery.providers.posts import NOW

VECTOR = json.loads((posts.PAYLOADS / "sendgrid" / "vectors" / "signature.json").read_text())
SIGNED_AT = datetime.fromtimestamp(int(VECTOR["timestamp"]), tz=UTC)


def vector(**changes: str) -> tuple[Account, WebhookRequest]:
    """Return the account and the request of SendGrid's own test vector, with some of it changed."""
    one = {**VECTOR, **changes}
    request = WebhookRequest(
        headers={
            sendgrid_events.TIMESTAMP_HEADER: one["timestamp"],
            sendgrid_events.SIGNATURE_HEADER: one["signature"],
        },
        body=one["body"].encode(),
        received_at=SIGNED_AT + timedelta(minutes=1),
    )
    return posts.account("sendgrid", webhook_public_key=one["public_key"]), request


def test_sendgrid_s_own_test_vector_verifies() -> None:
    account, request = vector()

    sendgrid_events.verify(account, request)

    [event] = sendgrid_events.parse(request)
    assert event.bounce_class is BounceClass.HARD
    assert event.provider_message_id == "LRzXl_NHStOGhQ4kofSm_A"


def test_sendgrid_s_own_test_vector_is_too_old_today() -> None:
    account, request = vector()

    with pytest.raises(TooOld):
        sendgrid_events.verify(account, replace(request, received_at=NOW))


@pytest.mark.parametrize(
    "changes",
    [
        {"body": VECTOR["body"].strip()},
        {"body": "payload"},
        {"timestamp": "1600112503"},
        {"timestamp": "timestamp"},
        {"signature": ""},
        {"signature": "not base64"},
        {"signature": "AAAA"},
        {"signature": "MEUCIQCtIHJeH93Y+qpYeWrySphQgpNGNr/U+UyUlBkU6n7RAwIgJTz2C+8a8xonZGi6"
                      "BpSzoQsbVRamr2nlxFDWYNH3j/0="},
        {"public_key": posts.public_key(posts.ec_key("first"))},
        {"public_key": "not-a-key"},
    ],
)  # fmt: skip
def test_a_vector_with_anything_changed_is_forged(changes: dict[str, str]) -> None:
    account, request = vector(**changes)

    with pytest.raises(Forged) as refused:
        sendgrid_events.verify(account, request)

    assert not isinstance(refused.value, TooOld)


def test_while_keys_rotate_the_old_and_the_new_one_are_both_good() -> None:
    old, new, foreign = (posts.ec_key(name) for name in ("first", "second", "third"))
    keys = f"{posts.public_key(old)}\n  {posts.public_key(new)}\n"
    account = posts.account("sendgrid", webhook_public_key=keys)
    payload = posts.sample("sendgrid", "delivered").payload

    for name in ("first", "second"):
        sendgrid_events.verify(account, posts.post("sendgrid", payload, key=name))

    assert posts.public_key(foreign) not in keys
    with pytest.raises(Forged):
        sendgrid_events.verify(account, posts.post("sendgrid", payload, key="third"))


def test_an_rsa_key_is_refused_in_words() -> None:
    der = (
        posts.rsa_key("first")
        .public_key()
        .public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    )
    account = posts.account("sendgrid", webhook_public_key=base64.b64encode(der).decode())
    with pytest.raises(Forged, match="paste it again"):
        sendgrid_events.verify(account, posts.post("sendgrid", []))


def test_an_event_without_an_id_is_known_by_all_it_says() -> None:
    entry = {"event": "dropped", "email": "ada@example.com", "timestamp": 1795406400}
    reordered = dict(reversed(entry.items()))
    other = {**entry, "email": "bob@example.com"}

    events = sendgrid_events.parse(posts.post("sendgrid", [entry, reordered, other]))

    assert events[0].dedupe_key == events[1].dedupe_key != events[2].dedupe_key


def test_what_cannot_be_read_of_an_event_does_not_lose_the_event() -> None:
    entry = {"event": "spamreport", "email": ["?"], "timestamp": "yesterday", "ip": "nowhere"}

    [event] = sendgrid_events.parse(posts.post("sendgrid", [entry]))

    assert event.occurred_at == NOW
    assert (event.recipient, event.ip, event.message_id) == ("", "", "")


def test_nul_and_lone_surrogates_are_taken_out_and_emoji_stay() -> None:
    body = (
        rb'[{"event": "bounce", "email": "a\u0000da@example.com", "reason": "\ud83d\ude00 \ud800"}]'
    )

    [event] = sendgrid_events.parse(posts.raw(body))

    assert event.recipient == "ada@example.com"
    assert event.reason == "😀 ?"
    assert event.raw["email"] == "ada@example.com"


def test_numbers_that_json_cannot_carry_on_are_left_out_of_the_raw_event() -> None:
    """PostgreSQL refuses Infinity and NaN, and Python makes them of these."""
    body = b'[{"event": "delivered", "timestamp": 1e999, "a": -1e999, "b": NaN, "c": Infinity}]'

    [event] = sendgrid_events.parse(posts.raw(body))

    assert [event.raw[name] for name in ("timestamp", "a", "b", "c")] == [None] * 4


def test_a_broken_batch_tells_each_problem_once() -> None:
    entries = [{"event": "surprise"}] * 999 + [{"event": "delivered", "email": "ada@example.com"}]

    events, problems = sendgrid_events.parse_each(posts.post("sendgrid", entries))

    assert len(events) == 1
    assert problems == ["unknown event type 'surprise' (999 times)"]
