"""What is made of DNS answers: real packets from a server on this machine."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest

from subscribers.resolving import State, ask_many
from tests.subscribers.nameserver import NEGATIVE_TTL_S, TTL_S, Zones, nameserver


@pytest.fixture
def zones(settings: Any) -> Iterator[Zones]:
    with nameserver() as zones:
        settings.DNS_RESOLVERS = [zones.address_of_server]
        settings.DNS_TIMEOUT_S = 2
        yield zones


def state_of(domain: str) -> State:
    return ask_many([domain])[domain].state


def test_a_domain_whose_mail_server_has_an_address_takes_mail(zones: Zones) -> None:
    zones.mx("shop.com", "gone.shop.com", "mx.shop.com")
    zones.address("mx.shop.com", "2001:db8::1")

    answer = ask_many(["shop.com"])["shop.com"]

    assert answer.state == State.MAIL
    assert answer.detail == "Mail goes to mx.shop.com."
    assert answer.ttl_s == TTL_S


def test_null_mx_says_that_there_is_no_mail(zones: Zones) -> None:
    zones.mx("parked.com", ".")
    zones.address("parked.com")

    assert state_of("parked.com") == State.NULL_MX


def test_without_mx_mail_goes_to_the_address_of_the_domain(zones: Zones) -> None:
    zones.address("old.com")

    assert state_of("old.com") == State.ADDRESS


def test_a_domain_with_neither_takes_no_mail(zones: Zones) -> None:
    zones.address("www.empty.com")

    assert state_of("empty.com") == State.NO_SERVER


def test_mail_servers_that_do_not_exist_are_none(zones: Zones) -> None:
    zones.mx("wrong.com", "nowhere.com", "neither.com")

    answer = ask_many(["wrong.com"])["wrong.com"]

    assert answer.state == State.NO_SERVER
    assert "nowhere.com, neither.com" in answer.detail


def test_a_domain_that_is_not_there_is_missing_for_as_long_as_its_zone_says(zones: Zones) -> None:
    answer = ask_many(["nxdomain.com"])["nxdomain.com"]

    assert answer.state == State.MISSING
    assert answer.ttl_s == NEGATIVE_TTL_S


def test_an_alias_is_followed_and_one_that_leads_nowhere_is_missing(zones: Zones) -> None:
    zones.alias("alias.com", "shop.com")
    zones.good("shop.com")
    zones.alias("astray.com", "nxdomain.com")

    answers = ask_many(["alias.com", "astray.com"])

    assert answers["alias.com"].state == State.MAIL
    assert answers["astray.com"].state == State.MISSING


def test_an_idn_domain_is_asked_for_by_its_a_labels(zones: Zones) -> None:
    zones.good("xn--bcher-kva.com")

    assert state_of("xn--bcher-kva.com") == State.MAIL


def test_an_answer_too_long_for_udp_is_fetched_by_tcp(zones: Zones) -> None:
    servers = [f"mx{number}.a-rather-long-name-for-a-server.many.com" for number in range(90)]
    zones.mx("many.com", *servers)
    zones.address(servers[0])

    assert state_of("many.com") == State.MAIL
    assert "many.com" in zones.by_tcp


@pytest.mark.parametrize("trouble", ["broken", "silent", "loop"])
def test_what_is_no_answer_leaves_a_domain_not_known(
    zones: Zones, settings: Any, trouble: str
) -> None:
    settings.DNS_TIMEOUT_S = 0.4
    zones.good("shop.com")
    if trouble == "loop":
        zones.alias("odd.com", "even.com")
        zones.alias("even.com", "odd.com")
    else:
        getattr(zones, trouble).add("odd.com")

    answers = ask_many(["odd.com", "shop.com"])

    assert answers["odd.com"].state == State.UNKNOWN
    assert answers["shop.com"].state == State.MAIL


@pytest.mark.parametrize("trouble", ["broken", "silent"])
def test_a_mail_server_nobody_tells_of_leaves_the_domain_not_known(
    zones: Zones, settings: Any, trouble: str
) -> None:
    settings.DNS_TIMEOUT_S = 0.4
    zones.mx("shop.com", "gone.com", "mx.shop.com")
    getattr(zones, trouble).add("mx.shop.com")

    assert state_of("shop.com") == State.UNKNOWN


def test_a_resolver_that_is_down_makes_nothing_bad(settings: Any) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))  # nobody reads it
        settings.DNS_RESOLVERS = [taken.getsockname()]
        settings.DNS_TIMEOUT_S = 0.2

        assert state_of("shop.com") == State.UNKNOWN


def test_the_no_of_a_resolver_that_does_not_know_com_is_not_believed(zones: Zones) -> None:
    del zones.records["com"]

    answer = ask_many(["nxdomain.com"])["nxdomain.com"]

    assert answer.state == State.UNKNOWN
    assert ".com" in answer.detail


def test_reserved_names_are_nobodys_business(zones: Zones) -> None:
    answers = ask_many(["shop.example", "intranet.local", "example.com", "mail.example.org"])

    assert {answer.state for answer in answers.values()} == {State.UNKNOWN}
    assert not zones.asked


def test_a_mail_server_of_many_domains_is_looked_up_once(zones: Zones) -> None:
    domains = [f"shop{number}.com" for number in range(300)]
    for domain in domains:
        zones.mx(domain, "mx.host.com")
    zones.address("mx.host.com")

    answers = ask_many(domains)

    assert {answer.state for answer in answers.values()} == {State.MAIL}
    assert zones.asked["A mx.host.com"] == 1
