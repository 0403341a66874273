"""Scores of accounts: always from 0 to 1, and nothing is gained by doing worse."""

from __future__ import annotations

import pytest
from django.core.exceptions import ImproperlyConfigured
from hypothesis import given
from hypothesis import strategies as st

from delivery import scoring
from delivery.scoring import Calls, Traffic
from emailplatform import env

rates = st.floats(0, 1)
numbers = st.integers(0, 1_000_000)
prices = st.floats(0, 1000)
weights = st.lists(st.floats(0, 1), min_size=4, max_size=4).filter(lambda each: sum(each) > 0.01)


@given(rates, rates, rates, rates, weights)
def test_a_score_lies_between_0_and_1_and_so_does_each_part(health, free, cost, region, raw):
    shares = [each / sum(raw) for each in raw]

    score = scoring.score(health, free, cost, region, shares)

    for part in (score.health, score.free, score.cost, score.region, score.total):
        assert 0 <= part <= 1


@given(rates, rates, rates, rates, rates, weights)
def test_a_better_part_never_lowers_the_score(low, high, free, cost, region, raw):
    low, high = sorted([low, high])
    shares = [each / sum(raw) for each in raw]

    worse, better = (scoring.score(each, free, cost, region, shares) for each in (low, high))

    assert worse.total <= better.total + 1e-9


@given(numbers, numbers, numbers, st.floats(0, 600), st.floats(0, 600), st.floats(0, 100))
def test_failing_more_or_taking_longer_never_makes_an_account_healthier(
    calls, good, more_good, fast, slow, reputation
):
    good, more_good = sorted([min(good, calls), min(more_good, calls)])
    fast, slow = sorted([fast, slow])

    best = scoring.health(Calls(calls, more_good, fast), reputation)

    assert 0 <= scoring.health(Calls(calls, good, fast), reputation) <= best <= 1
    assert scoring.health(Calls(calls, more_good, slow), reputation) <= best


@given(prices, st.lists(prices, min_size=1))
def test_the_cheapest_costs_nothing_in_points_and_dearer_is_never_better(own, others):
    known = [own, *others]

    assert scoring.cost(min(known), known) == 1
    assert 0 <= scoring.cost(own, known) <= 1
    assert scoring.cost(own + 1, [*known, own + 1]) <= scoring.cost(own, [*known, own + 1])


def test_an_unknown_price_counts_as_the_mean_and_nobodys_price_as_nothing():
    assert scoring.cost(None, [1, 3]) == scoring.cost(2, [1, 3]) == 0.5
    assert scoring.cost(None, []) == 1


@given(
    st.builds(Traffic, numbers, numbers, numbers, numbers, numbers, numbers),
    st.sampled_from(["bounced", "complained", "deferred", "failed_calls"]),
    numbers,
)
def test_a_reputation_lies_between_0_and_100_and_trouble_never_raises_it(traffic, kind, more):
    facts = {name: getattr(traffic, name) for name in Traffic.__slots__}
    worse = Traffic(**{**facts, kind: facts[kind] + more})

    assert 0 <= scoring.reputation(worse) <= scoring.reputation(traffic) <= 100


@pytest.mark.parametrize(
    ("traffic", "expected"),
    [
        (Traffic(), 100),
        (Traffic(sent=10_000, bounced=500), 50),  # SES: under review
        (Traffic(sent=10_000, bounced=1000), 0),  # SES: may be paused
        (Traffic(sent=10_000, complained=10), 50),
        (Traffic(sent=10_000, complained=50), 0),
        (Traffic(sent=3, complained=1), 0),
        (Traffic(sent=3, bounced=1), 95),
        (Traffic(calls=100, failed_calls=50), 50),
    ],
)
def test_a_reputation_halves_where_amazon_reviews_and_ends_where_it_pauses(traffic, expected):
    assert scoring.reputation(traffic) == pytest.approx(expected)


@pytest.mark.parametrize("value", ["", "1", "1,1,1", "1,1,1,x", "-1,1,1,1", "0,0,0,0", "nan,1,1,1"])
def test_weights_that_say_nothing_stop_the_start(monkeypatch, value):
    monkeypatch.setenv("ROUTING_WEIGHTS", value)

    with pytest.raises(ImproperlyConfigured, match="ROUTING_WEIGHTS"):
        env.shares("ROUTING_WEIGHTS", "0.4,0.3,0.2,0.1", of=4)


def test_weights_are_shares_of_one(monkeypatch):
    monkeypatch.setenv("ROUTING_WEIGHTS", "4, 3, 2, 1")

    assert env.shares("ROUTING_WEIGHTS", "", of=4) == pytest.approx((0.4, 0.3, 0.2, 0.1))
