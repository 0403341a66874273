"""What becomes of a message depends on seed and address, never on order or time."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from delivery.sandbox.config import Options
from delivery.sandbox.outcomes import FORCED, Planned, clicked_link, plan

PEOPLE = [f"person{number}@example.com" for number in range(4000)]


def outcomes(
    options: Options, account: str = "sg", message_id: str = ""
) -> dict[str, list[Planned]]:
    return {email: plan(options, account, email, message_id) for email in PEOPLE}


def test_a_run_repeats_whatever_the_order():
    options = Options(seed=7)
    forwards = outcomes(options)

    backwards = {email: plan(options, "sg", email, "") for email in reversed(PEOPLE)}

    assert forwards == backwards
    assert forwards != outcomes(Options(seed=8))


def test_what_an_outcome_varies_by_is_an_option():
    by_address = Options(vary_by="address")
    by_account = Options(vary_by="account")
    by_message = Options(vary_by="message")

    assert outcomes(by_address, "a", "1") == outcomes(by_address, "b", "2")
    assert outcomes(by_account, "a", "1") == outcomes(by_account, "a", "2")
    assert outcomes(by_account, "a") != outcomes(by_account, "b")
    assert outcomes(by_message, "a", "1") != outcomes(by_message, "a", "2")


def test_rates_are_met_within_chance():
    options = Options(
        bounce=0.1, soft_bounce=0.05, block=0.05, drop=0.05, open=0.5, machine_open=0, click=0.5
    )

    told = Counter(item.type for events in outcomes(options).values() for item in events)

    assert told["processed"] == len(PEOPLE)
    assert 0.085 < told["bounce"] / len(PEOPLE) < 0.115
    assert 0.73 < told["delivered"] / len(PEOPLE) < 0.77
    assert told["bounce"] + told["soft_bounce"] + told["block"] + told["drop"] + (
        told["delivered"]
    ) == len(PEOPLE)
    assert 0.46 < told["open"] / told["delivered"] < 0.54
    assert 0.2 < told["click"] / told["open"] < 0.6


def test_a_share_may_never_be_heard_of():
    options = Options(delivery=0.5, bounce=0, soft_bounce=0, block=0)

    heard = sum(bool(events) for events in outcomes(options).values())

    assert 0.46 < heard / len(PEOPLE) < 0.54


@pytest.mark.parametrize(
    ("prefix", "types"),
    [
        ("bounce", {"processed", "bounce"}),
        ("soft", {"processed", "soft_bounce"}),
        ("block", {"processed", "block"}),
        ("drop", {"processed", "drop"}),
        ("defer", {"processed", "defer", "delivered"}),
        ("open", {"processed", "delivered", "open"}),
        ("click", {"processed", "delivered", "open", "click"}),
        ("complaint", {"processed", "delivered", "complaint"}),
        ("unsubscribe", {"processed", "delivered", "open", "unsubscribe"}),
    ],
)
def test_an_address_can_ask_for_its_outcome(prefix, types):
    options = Options(bounce=0.3, open=0.3, complaint=0.3)

    told = plan(options, "sg", f"{prefix}+anna@example.com", "")

    assert {item.type for item in told} == types
    assert set(FORCED) >= {prefix}


@given(st.emails(), st.integers(0, 10**9))
def test_events_follow_in_a_possible_order(email, seed):
    options = Options(seed=seed, open=1, click=1, defer=0.5, unsubscribe=0.5, event_latency=2)

    at: dict[str, float] = {}
    for item in sorted(plan(options, "sg", email, ""), key=lambda item: item.delay):
        at.setdefault(item.type, item.delay)

    order = [name for name in ("processed", "defer", "delivered", "open") if name in at]
    assert [at[name] for name in order] == sorted(at[name] for name in order)
    assert all(delay >= 0 for delay in at.values())


def test_a_click_follows_a_link_that_is_not_for_unsubscribing():
    html = """<a href="https://x.example/unsubscribe/1"><a HREF='https://x.example/?a=1&amp;b=2'>"""

    assert {clicked_link(html, "", pick) for pick in range(5)} == {"https://x.example/?a=1&b=2"}
    assert clicked_link("", "see https://y.example/z.", 0) == "https://y.example/z."
    assert clicked_link("<p>no link", "", 0) == ""
