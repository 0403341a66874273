"""Mailgun: the signature beside the event, its token, and subaccounts."""

import json
from typing import Any

import pytest

from delivery.providers import mailgun_events
from delivery.providers.base import Forged, Unparsable, WebhookRequest
from tests.delivery.providers import posts
from tests.delivery.providers.posts import NOW

PAYLOAD = posts.sample("mailgun", "delivered").payload


def with_block(**changes: Any) -> WebhookRequest:
    """Return a well signed request whose signature block is changed afterwards."""
    body = json.loads(posts.post("mailgun", PAYLOAD).body)
    body["signature"] |= changes
    return posts.raw(json.dumps(body).encode())


def test_while_keys_rotate_the_old_and_the_new_one_are_both_good() -> None:
    account = posts.account("mailgun", webhook_signing_key="old-key\nnew-key")

    for key in ("old-key", "new-key"):
        mailgun_events.verify(account, posts.post("mailgun", PAYLOAD, key=key))

    with pytest.raises(Forged):
        mailgun_events.verify(account, posts.post("mailgun", PAYLOAD, key="old-key new-key"))


def test_the_primary_account_s_signature_is_good_for_a_subaccount() -> None:
    request = posts.post("mailgun", PAYLOAD, key="subaccount-key", parent_key=posts.MAILGUN_KEY)

    mailgun_events.verify(posts.account("mailgun"), request)


@pytest.mark.parametrize(
    "changes",
    [
        {"token": "0" * 50},
        {"token": ""},
        {"token": "x" * 101},
        {"token": None},
        {"token": ["a"]},
        {"timestamp": str(int(NOW.timestamp()) + 1)},
        {"timestamp": "soon"},
        {"signature": "é" * 64},
        {"signature": None},
        {"signature": {}},
    ],
)
def test_a_signature_block_with_anything_changed_is_forged(changes: dict[str, Any]) -> None:
    with pytest.raises(Forged):
        mailgun_events.verify(posts.account("mailgun"), with_block(**changes))


def test_a_digit_cannot_be_moved_from_the_timestamp_to_the_token_to_make_a_new_token() -> None:
    """Both texts are signed as one, so a moved digit leaves the signature valid."""
    block = json.loads(posts.post("mailgun", PAYLOAD).body)["signature"]
    moved = with_block(
        timestamp=block["timestamp"][:-1], token=block["timestamp"][-1] + block["token"]
    )

    with pytest.raises(Forged, match="timestamp"):
        mailgun_events.verify(posts.account("mailgun"), moved)


def test_a_captured_signature_on_another_body_has_the_replay_key_of_the_first() -> None:
    genuine = posts.post("mailgun", PAYLOAD)
    body = json.loads(genuine.body)
    body["event-data"] |= {"event": "complained", "recipient": "victim@example.com"}
    pasted = posts.raw(json.dumps(body).encode())

    mailgun_events.verify(posts.account("mailgun"), pasted)

    assert mailgun_events.replay_key(pasted) == mailgun_events.replay_key(genuine) != ""


def test_a_timestamp_may_be_a_number_as_the_documentation_says() -> None:
    request = with_block(timestamp=int(NOW.timestamp()))

    mailgun_events.verify(posts.account("mailgun"), request)


def test_the_same_event_id_on_another_day_is_another_event() -> None:
    """Mailgun's ids are unique within a day."""
    later = json.loads(json.dumps(PAYLOAD))
    later["event-data"]["timestamp"] -= 86_400

    keys = {mailgun_events.parse(posts.post("mailgun", p))[0].dedupe_key for p in (PAYLOAD, later)}

    assert len(keys) == 2


def test_an_inbound_message_is_unparsable_with_a_hint() -> None:
    with pytest.raises(Unparsable, match="inbound"):
        mailgun_events.parse(posts.raw(b'{"sender": "ada@example.com"}'))
