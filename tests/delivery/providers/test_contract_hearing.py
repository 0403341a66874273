"""One suite for every provider's hearing half: whatever is posted, what is promised holds."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from delivery.providers.base import Event, Forged, TooOld, Unparsable, WebhookRequest
from delivery.sandbox import signing
from tests.delivery.providers import posts
from tests.delivery.providers.posts import ESPS, MODULES, NOW, Sample
from webhooks.classifying import judge_alone

SAMPLES = posts.samples()
FIRST = {
    "sendgrid": "delivered",
    "mailgun": "delivered",
    "postmark": "delivery",
    "ses": "delivery",
    "generic": "delivered",
}


def first(provider: str) -> Sample:
    return posts.sample(provider, FIRST[provider])


def plain(event: Event, names: Any) -> dict[str, Any]:
    """Return the named fields as JSON has them; whose a look was as we judge it by itself."""
    judged = judge_alone(
        event.type, event.user_agent or "", event.ip or "", event.is_machine, event.reason
    )
    values: dict[str, Any] = {name: getattr(event, name) for name in names}
    if "is_machine" in values:
        values["is_machine"] = judged.is_machine
    return {n: v.isoformat() if n == "occurred_at" else v for n, v in values.items()}


# --- What is said ------------------------------------------------------------------------


@pytest.mark.parametrize("sample", SAMPLES, ids=str)
def test_a_documented_payload_becomes_the_events_it_means(sample: Sample) -> None:
    request = posts.post(sample.provider, sample.payload)

    MODULES[sample.provider].verify(posts.account(sample.provider), request)
    events, problems = MODULES[sample.provider].parse_each(request)

    heard = [plain(e, x) for e, x in zip(events, sample.expected, strict=True)]
    assert heard == sample.expected
    assert problems == sample.problems


@pytest.mark.parametrize("sample", SAMPLES, ids=str)
def test_the_same_payload_told_again_has_the_same_dedupe_keys(sample: Sample) -> None:
    module = MODULES[sample.provider]

    told = [
        module.parse_each(posts.post(sample.provider, sample.payload, at))
        for at in (NOW - timedelta(minutes=5), NOW)
    ]

    keys = [[event.dedupe_key for event in events] for events, _ in told]
    assert keys[0] == keys[1]
    assert len(set(keys[0])) == len(keys[0])
    assert all(0 < len(key) <= 200 for key in keys[0])


@pytest.mark.parametrize("provider", ESPS)
def test_different_payloads_have_different_dedupe_keys(provider: str) -> None:
    # One SNS message carries one event, so the SNS id is part of what differs.
    by_key: dict[str, str] = {}
    for sample in SAMPLES:
        if sample.provider != provider:
            continue
        for event in MODULES[provider].parse_each(_unique(sample))[0]:
            assert by_key.setdefault(event.dedupe_key, sample.name) == sample.name, sample.name


def _unique(sample: Sample) -> Any:
    """Return a post whose provider's event id is this sample's own, as a provider would."""
    payload = json.loads(json.dumps(sample.payload))
    if sample.provider == "ses":
        message = posts.sns(Message=json.dumps(payload), MessageId=sample.name)
        return posts.raw(posts.sign(message))
    if sample.provider == "mailgun":
        payload["event-data"]["id"] = sample.name
    elif sample.provider == "postmark":
        payload["MessageID"] = sample.name
    elif sample.provider == "generic":
        payload["id"] = sample.name
    else:
        for number, entry in enumerate(e for e in payload if isinstance(e, dict)):
            entry["sg_event_id"] = f"{sample.name}-{number}"
    return posts.post(sample.provider, payload)


@pytest.mark.parametrize("sample", SAMPLES, ids=str)
def test_an_event_names_no_address_in_its_dedupe_key_and_keeps_its_raw_json(sample: Sample) -> None:
    for event in MODULES[sample.provider].parse_each(posts.post(sample.provider, sample.payload))[
        0
    ]:
        assert "@" not in event.dedupe_key
        assert "Signature" not in event.raw
        assert "signature" not in event.raw
        json.dumps(event.raw, allow_nan=False)


# --- Who says it -------------------------------------------------------------------------


@pytest.mark.parametrize("provider", ESPS)
def test_an_account_without_a_secret_refuses_everything(provider: str) -> None:
    nothing = posts.account(provider, **dict.fromkeys(posts.account(provider).values, ""))
    signed = posts.post(provider, first(provider).payload)

    with pytest.raises(Forged, match=r"set "):
        MODULES[provider].verify(nothing, signed)


@pytest.mark.parametrize("provider", ESPS)
def test_an_unsigned_request_is_forged(provider: str) -> None:
    body = json.dumps(first(provider).payload).encode()

    with pytest.raises(Forged):
        MODULES[provider].verify(posts.account(provider), posts.raw(body))


@pytest.mark.parametrize(
    ("provider", "how"),
    [
        ("sendgrid", {"key": "second"}),
        ("mailgun", {"key": "another-key"}),
        ("postmark", {"credentials": "postmark:wrong"}),
        ("ses", {"key": "second"}),
        ("generic", {"secret": "another-secret-of-16-characters"}),
    ],
)
def test_a_request_signed_with_another_key_is_forged(provider: str, how: dict[str, Any]) -> None:
    request = posts.post(provider, first(provider).payload, **how)

    with pytest.raises(Forged) as refused:
        MODULES[provider].verify(posts.account(provider), request)

    assert not isinstance(refused.value, TooOld)


@pytest.mark.parametrize("provider", ["sendgrid", "ses", "generic"])
def test_a_changed_body_is_forged_where_the_signature_covers_it(provider: str) -> None:
    request = posts.post(provider, first(provider).payload)
    changed = request.body.replace(b"ada@example.com", b"eve@example.com")

    with pytest.raises(Forged):
        MODULES[provider].verify(
            posts.account(provider),
            WebhookRequest(headers=request.headers, body=changed, received_at=NOW),
        )


@pytest.mark.parametrize(
    ("provider", "window"), [("sendgrid", 10), ("mailgun", 15), ("ses", 65), ("generic", 10)]
)
def test_a_signature_is_good_inside_its_window_and_too_old_outside(
    provider: str, window: int
) -> None:
    account, payload = posts.account(provider), first(provider).payload
    verify = MODULES[provider].verify

    verify(account, posts.post(provider, payload, NOW - timedelta(minutes=window)))
    verify(account, posts.post(provider, payload, NOW + timedelta(minutes=4)))

    with pytest.raises(TooOld):
        verify(account, posts.post(provider, payload, NOW - timedelta(minutes=window, seconds=1)))
    with pytest.raises(TooOld):
        verify(account, posts.post(provider, payload, NOW + timedelta(minutes=6)))


@pytest.mark.parametrize("provider", ["sendgrid", "mailgun", "ses", "generic"])
def test_what_is_old_and_forged_is_called_forged_not_old(provider: str) -> None:
    """TooOld may be kept as late, so only what is genuine may be called that."""
    how = {"key": "second" if provider != "mailgun" else "another-key"}
    if provider == "generic":
        how = {"secret": "another-secret-of-16-characters"}
    request = posts.post(provider, first(provider).payload, NOW - timedelta(days=3), **how)

    with pytest.raises(Forged) as refused:
        MODULES[provider].verify(posts.account(provider), request)

    assert not isinstance(refused.value, TooOld)


ROTATED: dict[str, tuple[dict[str, str], dict[str, Any]]] = {
    "sendgrid": ({"webhook_public_key": "second\nfirst"}, {"key": "second"}),
    "mailgun": (
        {"webhook_signing_key": f"a-newer-key\n{posts.MAILGUN_KEY}"},
        {"key": "a-newer-key"},
    ),
    "postmark": (
        {"webhook_basic_auth": f"new:pass word\n{posts.BASIC_AUTH}"},
        {"credentials": "new:pass word"},
    ),
    "generic": (
        {"webhook_secrets": f"the-newer-secret-of-us\n{posts.GENERIC_SECRET}"},
        {"secret": "the-newer-secret-of-us"},
    ),
}


@pytest.mark.parametrize("provider", ROTATED)
def test_while_secrets_are_rotated_old_and_new_are_both_good(provider: str) -> None:
    values, how = ROTATED[provider]
    if provider == "sendgrid":
        keys = [posts.public_key(posts.ec_key(name)) for name in ("second", "first")]
        values = {"webhook_public_key": "\n".join(keys)}
    account, payload = posts.account(provider, **values), first(provider).payload

    MODULES[provider].verify(account, posts.post(provider, payload))
    MODULES[provider].verify(account, posts.post(provider, payload, **how))
    with pytest.raises(Forged):
        MODULES[provider].verify(posts.account(provider), posts.post(provider, payload, **how))


def test_a_sender_may_sign_with_old_and_new_secret_at_once() -> None:
    old = posts.post("generic", first("generic").payload)
    new = posts.post("generic", first("generic").payload, secret="the-newer-secret-of-us")
    name = "x-webhook-signature"
    both = {**old.headers, name: f"{old.headers[name]}, {new.headers[name]}"}
    request = WebhookRequest(headers=both, body=old.body, received_at=NOW)

    for secret in (posts.GENERIC_SECRET, "the-newer-secret-of-us"):
        MODULES["generic"].verify(posts.account("generic", webhook_secrets=secret), request)


def test_a_short_secret_is_as_good_as_none() -> None:
    request = posts.post("generic", first("generic").payload, secret="short")

    with pytest.raises(Forged, match="too short"):
        MODULES["generic"].verify(posts.account("generic", webhook_secrets="short"), request)


def test_an_account_may_have_a_window_of_its_own() -> None:
    request = posts.post("sendgrid", first("sendgrid").payload, NOW - timedelta(minutes=20))

    MODULES["sendgrid"].verify(posts.account("sendgrid", webhook_window_min="30"), request)
    with pytest.raises(TooOld):
        MODULES["sendgrid"].verify(posts.account("sendgrid", webhook_window_min="abc"), request)


def test_only_mailgun_needs_its_requests_to_be_used_up() -> None:
    keys = {p: MODULES[p].replay_key(posts.post(p, first(p).payload)) for p in ESPS}

    assert keys.pop("mailgun") == first("mailgun").payload["signature"]["token"]
    assert set(keys.values()) == {""}


# --- Whatever the bytes ------------------------------------------------------------------

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=12,
)


def mangled(provider: str, draw: st.DataObject) -> Any:
    """Return a real payload in which one value, anywhere, is any JSON value."""
    choices = [s for s in SAMPLES if s.provider == provider]
    payload = json.loads(json.dumps(draw.draw(st.sampled_from(choices)).payload))
    paths = list(_paths(payload))
    node: Any = payload
    *way, last = draw.draw(st.sampled_from(paths))
    for step in way:
        node = node[step]
    node[last] = draw.draw(JSON)
    return payload


def _paths(node: Any, way: tuple[Any, ...] = ()) -> Any:
    pairs = node.items() if isinstance(node, dict) else enumerate(node)
    for key, child in pairs:
        yield (*way, key)
        if isinstance(child, dict | list):
            yield from _paths(child, (*way, key))


@pytest.mark.parametrize("provider", ESPS)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(draw=st.data())
def test_a_payload_with_any_value_anywhere_is_parsed_or_unparsable(
    provider: str, draw: st.DataObject
) -> None:
    payload = mangled(provider, draw)
    body = json.dumps(payload).encode()
    if provider == "ses":
        body = json.dumps({**posts.sns(), "Message": json.dumps(payload)}).encode()

    try:
        events = MODULES[provider].parse(posts.raw(body))
    except Unparsable:
        return

    for event in events:
        _assert_storable(event)


def _assert_storable(event: Event) -> None:
    """PostgreSQL takes every text and the raw JSON, and no text is longer than its limit."""
    texts = (event.recipient, event.message_id, event.url, event.user_agent, event.reason, event.ip)
    assert all("\0" not in text and text.encode() is not None for text in texts)
    assert len(event.reason) <= 500
    assert len(event.dedupe_key) <= 200
    assert "\\u0000" not in json.dumps(event.raw, allow_nan=False).replace("\\\\", "")
    assert event.occurred_at.tzinfo is not None
    assert 2000 <= event.occurred_at.year <= NOW.year


@pytest.mark.parametrize("provider", ESPS)
@settings(max_examples=150, deadline=None)
@given(body=st.binary(max_size=60) | JSON.map(lambda v: json.dumps(v).encode()))
def test_whatever_the_bytes_they_are_refused_in_words(provider: str, body: bytes) -> None:
    module, request = MODULES[provider], posts.raw(body)

    with pytest.raises(Forged):
        module.verify(posts.account(provider), request)
    try:
        module.parse(request)
    except Unparsable as error:
        assert str(error)  # noqa: PT017 - that it may or may not be raised is the point


@pytest.mark.parametrize("provider", ESPS)
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff\xfe\x00",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"[" * 40 + b"]" * 40,
        b"9" * 5000,
        b"NaN",
        b'"\xed\xa0\x80"',
        b"[1e999, null, true, 7]",
    ],
    ids=[
        "empty",
        "not-utf8",
        "deep",
        "deep-object",
        "deeper-than-ours",
        "long-number",
        "nan",
        "surrogate",
        "no-objects",
    ],
)
def test_a_hostile_body_is_unparsable(provider: str, body: bytes) -> None:
    with pytest.raises(Unparsable):
        MODULES[provider].parse(posts.raw(body))


# --- The sandbox signs as the providers do -----------------------------------------------


def test_what_the_sandbox_signs_for_sendgrid_is_genuine() -> None:
    keys = signing.make_keys("sendgrid")
    body, timestamp = b"[]", str(int(NOW.timestamp()))
    request = posts.raw(
        body,
        **{
            "x-twilio-email-event-webhook-timestamp": timestamp,
            "x-twilio-email-event-webhook-signature": signing.sign_sendgrid(
                keys["private_key"], timestamp, body
            ),
        },
    )

    account = posts.account("sendgrid", webhook_public_key=keys["public_key"])
    MODULES["sendgrid"].verify(account, request)


def test_what_the_sandbox_signs_for_mailgun_is_genuine() -> None:
    key = signing.make_keys("mailgun")["signing_key"]
    block = {"timestamp": str(int(NOW.timestamp())), "token": "5" * 50}
    block["signature"] = signing.sign_mailgun(key, block["timestamp"], block["token"])
    body = json.dumps({"signature": block, "event-data": {}}).encode()

    account = posts.account("mailgun", webhook_signing_key=key)
    MODULES["mailgun"].verify(account, posts.raw(body))


def test_what_the_sandbox_sends_for_postmark_is_genuine() -> None:
    keys = signing.make_keys("postmark")
    header = signing.basic_auth(keys["user"], keys["password"])

    account = posts.account("postmark", webhook_basic_auth=f"{keys['user']}:{keys['password']}")
    MODULES["postmark"].verify(account, posts.raw(b"{}", authorization=header))


@pytest.mark.parametrize("version", ["1", "2"])
def test_what_the_sandbox_signs_for_sns_is_genuine(version: str) -> None:
    # The sandbox's certificate is valid from today, so the message is of today as well.
    keys, now = signing.make_keys("ses"), datetime.now(UTC)
    message = posts.sns(at=now, TopicArn=keys["topic_arn"], Message="{}")
    signature = signing.sign_sns(keys["private_key"], message, version)
    body = json.dumps({**message, "SignatureVersion": version, "Signature": signature}).encode()

    account = posts.account(
        "ses", topic_arns=keys["topic_arn"], sns_certificate=keys["certificate"]
    )
    MODULES["ses"].verify(account, WebhookRequest(headers={}, body=body, received_at=now))
