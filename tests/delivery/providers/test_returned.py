"""Mail that comes back: what it says, and that nothing in it can hurt."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from django.conf import settings
from hypothesis import given
from hypothesis import strategies as st

from delivery.providers import returned
from delivery.providers.base import Event, Unparsable
from delivery.providers.returning import message_returned, return_path

PAYLOADS = Path(__file__).parents[2] / "payloads"
NOW = datetime(2026, 11, 24, 9, 0, tzinfo=UTC)
TO = "ana@example.net"
RETURN_PATH = return_path("m1f", "bounces.example.com")


def letter(name: str, to: str = TO, came_to: str = "bounces@example.com", at: str = "m1f") -> bytes:
    text = (PAYLOADS / f"{name}.eml").read_text()
    values = {
        "{to}": to,
        "{to_us}": came_to,
        "{return_path}": came_to,
        "{id}": at,
        "{domain}": settings.MESSAGE_ID_DOMAIN,
        "{unsubscribe}": "https://mail.example.com/u/none/",
    }
    for key, value in values.items():
        text = text.replace(key, value)
    return text.encode()


def read(body: bytes) -> list[Event]:
    return returned.read(body, "", NOW).events


@pytest.mark.parametrize(
    ("name", "kind", "bounce_class"),
    [
        ("postfix", "bounced", "hard"),
        ("full", "bounced", "soft"),
        ("blocked", "bounced", "block"),
        ("expired", "bounced", "soft"),
        ("delayed", "deferred", "soft"),
        ("arrived", "delivered", None),
        ("exchange", "bounced", "hard"),
        ("qmail", "bounced", "hard"),
        ("exim", "bounced", "hard"),
        ("untyped", "bounced", "hard"),
    ],
)
def test_a_report_says_of_whom_it_is_what_became_of_the_mail_and_why(name, kind, bounce_class):
    [event] = read(letter(f"dsn/{name}"))

    assert (event.type, event.bounce_class) == (kind, bounce_class)
    assert (event.message_id, event.recipient) == ("m1f", TO)
    assert event.occurred_at == datetime(2026, 11, 24, 8, 0, tzinfo=UTC)
    assert event.reason


def test_each_recipient_of_one_report_is_told_of_apart():
    gone, full = read(letter("dsn/several"))

    assert (gone.recipient, gone.type, gone.bounce_class) == (TO, "bounced", "hard")
    assert (full.recipient, full.type, full.bounce_class) == ("dan@example.org", "deferred", "soft")
    assert gone.dedupe_key != full.dedupe_key


def test_an_automatic_answer_is_no_bounce():
    assert read(letter("dsn/vacation")) == []


def test_a_letter_of_a_person_is_not_understood():
    with pytest.raises(Unparsable, match="Re: News"):
        read(letter("dsn/answer"))


def test_a_bounce_that_names_nobody_names_nobody():
    [event] = read(letter("dsn/nameless"))

    assert (event.recipient, event.message_id) == ("", "")
    assert (event.type, event.bounce_class) == ("bounced", "hard")


@pytest.mark.parametrize(
    ("name", "kind", "recipient", "type_of_complaint"),
    [
        ("abuse", "complained", TO, "abuse"),
        ("redacted", "complained", "redacted@isp.example.net", "abuse"),
        ("linked", "complained", "", "fraud"),
        ("opt-out", "unsubscribed", TO, "opt-out"),
    ],
)
def test_a_feedback_report_is_a_complaint(name, kind, recipient, type_of_complaint):
    [event] = read(letter(f"arf/{name}"))

    assert (event.type, event.recipient) == (kind, recipient)
    assert (event.complaint_type, event.message_id) == (type_of_complaint, "m1f")
    assert event.user_agent == "SomeGenerator/1.0"


def test_who_says_that_it_was_no_spam_does_not_complain():
    assert read(letter("arf/not-spam")) == []


def test_the_same_letter_read_twice_is_one_event():
    [first] = read(letter("dsn/postfix"))
    [again] = read(b"Received: from elsewhere\r\n" + letter("dsn/postfix"))

    assert first.dedupe_key == again.dedupe_key


def test_a_message_id_of_another_domain_is_not_ours():
    body = letter("dsn/postfix").replace(settings.MESSAGE_ID_DOMAIN.encode(), b"other.example")

    [event] = read(body)

    assert event.message_id == ""


# --- Return paths ------------------------------------------------------------------------


def test_a_return_path_names_its_message_whatever_case_it_comes_back_in():
    assert message_returned(RETURN_PATH) == "m1f"
    assert message_returned(f"<{RETURN_PATH.upper()}>") == "m1f"
    assert len(return_path("m" + "f" * 15, "x.example").partition("@")[0]) <= 64


def test_a_forged_return_path_names_nothing():
    local, _, domain = RETURN_PATH.partition("@")
    for position in range(len("bounce+m"), len(local)):
        changed = "a" if local[position] != "a" else "b"
        forged = local[:position] + changed + local[position + 1 :]
        assert message_returned(f"{forged}@{domain}") == ""
    assert message_returned("bounce+m1f@bounces.example.com") == ""


def test_a_return_path_outlives_the_rotation_of_its_key(settings):
    settings.TOKEN_KEYS = ["a new key", *settings.TOKEN_KEYS]

    assert message_returned(RETURN_PATH) == "m1f"
    assert return_path("m1f", "bounces.example.com") != RETURN_PATH


# --- Anything ----------------------------------------------------------------------------

SAMPLES = sorted(PAYLOADS.glob("dsn/*.eml")) + sorted(PAYLOADS.glob("arf/*.eml"))
SHAPES = st.one_of(
    st.binary(max_size=400),
    st.builds(
        lambda path, at, junk: path.read_bytes()[:at] + junk + path.read_bytes()[at:],
        st.sampled_from(SAMPLES),
        st.integers(0, 1200),
        st.binary(max_size=40),
    ),
    st.builds(
        lambda path, name, junk: path.read_bytes().replace(name, junk),
        st.sampled_from(SAMPLES),
        st.sampled_from([b"us-ascii", b"rfc822", b"b1", b"{to}", b"multipart", b"7bit", b"Date: "]),
        st.binary(max_size=40),
    ),
)


@given(SHAPES)
def test_any_bytes_are_read_or_not_understood(body):
    try:
        events = read(body)
    except Unparsable:
        return
    for event in events:
        stored = f"{event.recipient}{event.reason}{event.user_agent}{event.complaint_type}"
        assert "\0" not in stored
        stored.encode()
        assert len(event.dedupe_key) <= 200


def test_mail_nested_without_end_and_without_measure_is_not_understood():
    deep = b"".join(
        b'Content-Type: multipart/mixed; boundary="b%d"\n\n--b%d\n' % (n, n) for n in range(3000)
    )
    for body in (deep, b"x" * 20_000_000, b"Subject: " + b"a" * 5_000_000, b"\xff\xfe" * 1000):
        with pytest.raises(Unparsable):
            read(body)
