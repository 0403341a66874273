"""Lines of a Postfix log: every form of them, and that strange ones are passed over."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from django.conf import settings
from hypothesis import given
from hypothesis import strategies as st

from delivery.providers.postfix_log import Expired, Named, Reader, Removed, Tried, moment

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
LOG = Path(__file__).parents[2] / "payloads" / "postfix" / "mail.log"


def log_lines() -> list[bytes]:
    text = LOG.read_text().replace("DOMAIN", settings.MESSAGE_ID_DOMAIN)
    return text.encode().splitlines()


def read(lines: list[bytes], relays: tuple[str, ...] = ()) -> list[object]:
    return list(Reader(UTC, relays, NOW).read(lines))


def test_every_form_of_delivery_is_read():
    said = read(log_lines())

    tries = [each for each in said if isinstance(each, Tried)]
    assert [(each.recipient, str(each.type), each.status) for each in tries] == [
        ("m1@example.net", "delivered", "2.0.0"),
        ("alias@example.net", "bounced", "5.0.0"),
        ("m3@example.net", "bounced", "5.1.1"),
        ("m4@example.net", "deferred", "4.4.2"),
        ("m5@example.net", "delivered", "2.0.0"),
        ("m6@example.net", "bounced", "5.1.0"),
        ("m7@example.net", "sent", "2.0.0"),
        ("m7@example.net", "bounced", "5.1.1"),
        ("m8@example.net", "dropped", "2.0.0"),
        ("stranger@example.net", "delivered", "2.0.0"),
    ]
    assert [type(each) for each in said].count(Removed) == 2
    assert sum(isinstance(each, Expired) for each in said) == 1


def test_every_form_of_time_is_read():
    said = read(log_lines())

    times = [each.at for each in said if isinstance(each, Tried)][:3]
    assert times == [
        datetime(2026, 11, 24, 8, 0, 2, tzinfo=UTC),
        datetime(2026, 11, 24, 8, 0, 4, 123456, tzinfo=UTC),
        datetime(2026, 11, 24, 8, 0, 6, tzinfo=UTC),
    ]


def test_a_queue_id_is_one_of_its_host_and_service():
    said = [each for each in read(log_lines()) if isinstance(each, Named)]

    assert said[0] == Named("mx/postfix:4135B3FC06", "m1")
    assert said[2] == Named("mx/postfix-out:4135B3FC07XXXX", "m3")
    assert Named("mx/postfix:A270320179", "") in said


def test_what_a_named_relay_takes_is_not_delivered_yet():
    said = read(log_lines(), relays=("Mail.example.net",))

    first = next(each for each in said if isinstance(each, Tried))
    assert first.type == "sent"


@pytest.mark.parametrize(
    ("written", "at"),
    [
        ("Nov 26 11:00:00", datetime(2026, 11, 26, 11, tzinfo=UTC)),
        ("Nov 27 11:00:00", datetime(2025, 11, 27, 11, tzinfo=UTC)),
        ("Dec 31 23:59:59", datetime(2025, 12, 31, 23, 59, 59, tzinfo=UTC)),
        ("Feb 29 10:00:00", datetime(2024, 2, 29, 10, tzinfo=UTC)),
        ("Feb 30 10:00:00", None),
        ("2026-11-24T25:00:00Z", None),
    ],
)
def test_a_date_without_a_year_is_of_the_last_one(written, at):
    assert moment(written, UTC, NOW) == at


def test_a_date_without_a_zone_is_of_the_one_that_is_named():
    at = moment("Nov 24 08:00:00", ZoneInfo("Europe/Vienna"), NOW)

    assert at == datetime(2026, 11, 24, 7, tzinfo=UTC)


PIECES = [
    b"status=bounced (",
    b"to=<",
    b">, relay=",
    b"dsn=5.1.1, ",
    b": removed",
    b": message-id=",
]


@given(
    st.one_of(
        st.lists(st.binary(max_size=200)),
        st.lists(
            st.builds(
                lambda line, at, junk: line[:at] + junk + line[at + 1 :],
                st.sampled_from(log_lines()),
                st.integers(0, 300),
                st.one_of(st.binary(max_size=8), st.sampled_from(PIECES)),
            )
        ),
    )
)
def test_any_lines_are_read_or_passed_over(lines):
    for each in read(lines):
        stored = str(each)
        assert "\0" not in stored
        stored.encode()


def test_a_second_is_enough_for_many_thousand_lines():
    lines = log_lines() * 1000

    began = time.process_time()
    said = read(lines)
    took_s = time.process_time() - began

    assert len(said) > 20_000
    assert len(lines) / took_s > 10_000, f"{len(lines) / took_s:.0f} lines a second"
