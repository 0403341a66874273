"""Postmark: basic auth, and facts that are told twice."""

import json

import pytest

from delivery.providers import postmark_events
from delivery.providers.base import Forged, Unparsable
from tests.delivery.providers import posts

PAYLOAD = posts.sample("postmark", "delivery").payload


def test_each_of_several_user_and_password_lines_is_good() -> None:
    account = posts.account("postmark", webhook_basic_auth="old:one\n\n new:two:three \n")

    for credentials in ("old:one", "new:two:three"):
        postmark_events.verify(account, posts.post("postmark", PAYLOAD, credentials=credentials))

    for credentials in ("old:two", "new:two", "old:one\n", "", ":"):
        with pytest.raises(Forged):
            postmark_events.verify(
                account, posts.post("postmark", PAYLOAD, credentials=credentials)
            )


@pytest.mark.parametrize("setting", ["", " \n ", ":", "user:", ":password", "nocolon"])
def test_a_setting_without_user_or_password_protects_nothing_and_is_refused(setting: str) -> None:
    account = posts.account("postmark", webhook_basic_auth=setting)

    for credentials in (setting, setting.strip(), ":"):
        with pytest.raises(Forged, match="set one"):
            postmark_events.verify(
                account, posts.post("postmark", PAYLOAD, credentials=credentials)
            )


@pytest.mark.parametrize("header", ["", "Basic", "Basic ???", "Bearer cG9zdG1hcms6eA==", "é"])
def test_a_header_that_is_not_basic_auth_is_forged(header: str) -> None:
    with pytest.raises(Forged):
        postmark_events.verify(posts.account("postmark"), posts.raw(b"{}", authorization=header))


def test_a_password_beyond_ascii_is_good() -> None:
    account = posts.account("postmark", webhook_basic_auth="über:pässwort")

    postmark_events.verify(account, posts.post("postmark", PAYLOAD, credentials="über:pässwort"))


def test_a_hard_bounce_and_the_suppression_it_causes_are_one_event() -> None:
    told = [
        posts.sample("postmark", name).payload for name in ("hard_bounce", "suppressed_by_bounce")
    ]
    told[1]["ChangedAt"] = "2026-11-23T04:07:00Z"

    keys = {postmark_events.parse(posts.post("postmark", p))[0].dedupe_key for p in told}

    assert len(keys) == 1


def test_suppressions_by_hand_of_two_addresses_without_a_message_are_two_events() -> None:
    change = posts.sample("postmark", "suppressed_by_bounce").payload
    nobody = "00000000-0000-0000-0000-000000000000"
    told = [{**change, "MessageID": nobody, "ChangedAt": f"2026-11-23T04:0{m}:00Z"} for m in (1, 2)]

    keys = {postmark_events.parse(posts.post("postmark", p))[0].dedupe_key for p in told}

    assert len(keys) == 2


def test_two_clicks_on_two_links_in_one_moment_are_two_events() -> None:
    click = posts.sample("postmark", "click").payload
    other = {**click, "OriginalLink": "https://shop.example/other"}

    keys = {postmark_events.parse(posts.post("postmark", p))[0].dedupe_key for p in (click, other)}

    assert len(keys) == 2


def test_an_inbound_message_is_unparsable_with_a_hint() -> None:
    with pytest.raises(Unparsable, match="inbound"):
        postmark_events.parse(posts.raw(json.dumps({"FromFull": {}}).encode()))
