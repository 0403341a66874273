from __future__ import annotations

import secrets

import pytest
from django.test import RequestFactory

from emailplatform.limiting import client_address, seconds_to_wait


@pytest.mark.parametrize(
    ("proxies", "forwarded", "address"),
    [
        (0, "203.0.113.9", "198.51.100.1"),
        (1, "203.0.113.9", "203.0.113.9"),
        (1, "192.0.2.66, 203.0.113.9", "203.0.113.9"),
        (2, "192.0.2.66, 203.0.113.9, 10.0.0.2", "203.0.113.9"),
        (2, "203.0.113.9", "198.51.100.1"),
        (1, "", "198.51.100.1"),
    ],
)
def test_only_our_own_proxies_are_believed(settings, proxies, forwarded, address):
    settings.TRUSTED_PROXIES = proxies
    headers = {"x-forwarded-for": forwarded} if forwarded else {}

    request = RequestFactory().post("/", REMOTE_ADDR="198.51.100.1", headers=headers)

    assert client_address(request) == address


def test_addresses_of_one_ipv6_network_are_counted_together():
    network = f"2001:db8:{secrets.token_hex(2)}:1"

    def wait(address: str) -> int:
        request = RequestFactory().get("/", REMOTE_ADDR=address)
        return seconds_to_wait(request, "test", "2/h")

    waits = [wait(f"{network}::{number}") for number in range(1, 4)]

    assert waits[:2] == [0, 0]
    assert waits[2] > 0
    assert wait(network.removesuffix("1") + "2::1") == 0


@pytest.mark.parametrize("address", ["", "not:an:address", "127.0.0.1"])
def test_any_address_can_be_counted(address):
    assert seconds_to_wait(RequestFactory().get("/", REMOTE_ADDR=address), "test", "9999/s") == 0
