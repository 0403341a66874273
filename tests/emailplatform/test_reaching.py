"""No address that somebody types in leads into our own network."""

from __future__ import annotations

import ipaddress
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emailplatform import calling, reaching
from emailplatform.errors import InvalidInput
from emailplatform.reaching import Rules, addresses_of, is_public, place_of
from tests.receiving import Receiver

STRICT = Rules()
NUMBERS_4 = st.integers(0, 2**32 - 1)


def resolve_to(monkeypatch: pytest.MonkeyPatch, *answers: list[str]) -> list[str]:
    """Let the resolver say these, one list after the other, the last for ever."""
    asked: list[str] = []
    real, left = socket.getaddrinfo, list(answers)

    def told(host: str, port: int, *args: Any, **more: Any) -> Any:
        if host[0].isdecimal() or ":" in host:
            return real(host, port, *args, **more)
        asked.append(host)
        found = left.pop(0) if len(left) > 1 else left[0]
        return [
            (socket.AF_INET6 if ":" in each else socket.AF_INET, 1, 6, "", (each, port))
            for each in found
        ]

    monkeypatch.setattr(socket, "getaddrinfo", told)
    return asked


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/",
        "ftp://example.com/",
        "file:///etc/passwd",
        "gopher://example.com/",
        "//example.com/",
        "https://",
        "https:///path",
        "https://127.0.0.1/",
        "https://127.1/",
        "https://0/",
        "https://0x7f000001/",
        "https://0x7f.1/",
        "https://2130706433/",
        "https://017700000001/",
        "https://0177.0.0.1/",
        "https://10.0.0.1/",
        "https://172.16.4.1/",
        "https://192.168.1.1/",
        "https://100.64.0.1/",
        "https://169.254.169.254/latest/meta-data/",
        "https://168.63.129.16/",
        "https://0.0.0.0/",
        "https://224.0.0.1/",
        "https://255.255.255.255/",
        "https://198.18.0.1/",
        "https://[::1]/",
        "https://[::]/",
        "https://[::ffff:169.254.169.254]/",
        "https://[::ffff:8.8.8.8]/",
        "https://[::127.0.0.1]/",
        "https://[64:ff9b::a9fe:a9fe]/",
        "https://[64:ff9b:1::7f00:1]/",
        "https://[2002:7f00:1::]/",
        "https://[2001:0:7f00:1::]/",
        "https://[fe80::1]/",
        "https://[fe80::1%25eth0]/",
        "https://[2606:4700::1%25lo]/",
        "https://[fc00::1]/",
        "https://[fd00:ec2::254]/",
        "https://[ff02::1]/",
        "https://[fec0::1]/",
        "https://localhost/",
        "https://LOCALHOST./",
        "https://a.localhost/",
        "https://metadata.google.internal/",
        "https://printer.local/",
        "https://router.lan/",
        "https://database/",
        "https://me:secret@example.com/",
        "https://example.com@127.0.0.1/",
        "https://127.0.0.1#@example.com/",
        "https://example.com\\@127.0.0.1/",
        "https://example.com /",
        "https://example.com\r\nX: y/",
        "https://ex ample.com/",
        "https://éxample.com/",
        "https://example.com:22/",
        "https://example.com:0/",
        "https://example.com:99999/",
        "https://-example.com/",
        "https://exa_mple.com:443x/",
        "https://" + "a" * 3000 + ".com/",
    ],
)
def test_an_address_that_may_not_be_called_is_refused_before_it_is_looked_up(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = resolve_to(monkeypatch, ["93.184.216.34"])

    with pytest.raises(InvalidInput):
        place_of(url, STRICT)
    assert asked == []


def test_a_usual_address_is_taken_apart() -> None:
    place = place_of("https://Hooks.Example.com/in?x=1#y", STRICT)

    assert (place.host, place.port, place.target) == ("hooks.example.com", 443, "/in?x=1")
    assert place.netloc == "hooks.example.com"
    assert place_of("https://93.184.216.34", STRICT).target == "/"
    assert place_of("https://[2606:4700::6810:85e5]/", STRICT).netloc == "[2606:4700::6810:85e5]"


@pytest.mark.parametrize(
    "addresses",
    [
        ["10.0.0.1"],
        ["93.184.216.34", "127.0.0.1"],
        ["2606:4700::1", "fe80::1"],
        ["::ffff:10.0.0.1"],
        ["64:ff9b::5db8:d822"],
    ],
)
def test_a_name_one_of_whose_addresses_is_private_is_refused(
    addresses: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve_to(monkeypatch, addresses)

    with pytest.raises(InvalidInput, match="not on the public internet"):
        addresses_of(place_of("https://rebinding.example.com/", STRICT), STRICT)


def test_a_network_of_our_own_can_be_allowed_and_nothing_beside_it() -> None:
    allowed = Rules(networks=(ip_network("10.1.0.0/16"),))

    place = place_of("https://10.1.2.3/", allowed)
    assert addresses_of(place, allowed) == [ip_address("10.1.2.3")]
    with pytest.raises(InvalidInput):
        place_of("https://10.2.0.1/", allowed)


@given(NUMBERS_4.map(IPv4Address))
def test_no_address_that_python_knows_to_be_special_passes(address: IPv4Address) -> None:
    special = not address.is_global or address.is_multicast or address.is_reserved
    assert not (special and is_public(address))


@given(st.integers(0, 2**128 - 1).map(IPv6Address))
def test_no_special_address_of_the_new_protocol_passes(address: IPv6Address) -> None:
    special = (
        *(address.is_multicast, address.is_site_local, address.is_link_local, address.is_private),
        *(address.is_reserved, address.is_loopback, address.is_unspecified),
        *(address.ipv4_mapped, address.sixtofour, address.teredo),
    )
    assert not (any(special) and is_public(address))


@given(
    NUMBERS_4,
    st.sampled_from(["::ffff:0:0", "::", "::ffff:0:0:0", "64:ff9b::", "64:ff9b:1::", "fe80::"]),
)
def test_no_address_of_the_old_protocol_passes_inside_of_a_new_one(number: int, net: str) -> None:
    wrapped = IPv6Address(int(ipaddress.IPv6Address(net)) + number)
    assert not is_public(wrapped)


@given(NUMBERS_4.map(IPv4Address), st.sampled_from(["{}", "0x{:x}", "0{:o}"]))
def test_an_odd_spelling_of_a_number_is_never_looked_up(address: IPv4Address, form: str) -> None:
    with pytest.raises(InvalidInput):
        place_of(f"https://{form.format(int(address))}/", STRICT)


def test_a_name_that_changes_its_mind_gains_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is looked up once: what was judged is what is connected to."""
    receiver = Receiver()
    asked = resolve_to(monkeypatch, ["192.0.2.7"], ["127.0.0.1"])
    tried: list[Any] = []

    def refuse(self: socket.socket, address: Any) -> None:
        tried.append(address)
        raise ConnectionRefusedError(111, "Connection refused")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    allowed = Rules(is_http_allowed=True, ports=(), networks=(ip_network("192.0.2.0/24"),))
    said = calling.post(f"http://hooks.example.com:{receiver.port}/", {}, b"{}", allowed)

    assert asked == ["hooks.example.com"]
    assert tried == [("192.0.2.7", receiver.port)]
    assert (said.status, said.error) == (0, "Not reached: connection refused.")
    second = calling.post(f"http://hooks.example.com:{receiver.port}/", {}, b"{}", allowed)
    assert second.is_refused, "the second look-up leads to loopback, which is not allowed"
    receiver.close()
    assert receiver.got == []


def test_a_name_without_an_address_can_be_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)

    with pytest.raises(reaching.Unreachable):
        addresses_of(place_of("https://gone.example.com/", STRICT), STRICT)


# --- Names that are slow to be found -----------------------------------------------------


@pytest.fixture
def stuck(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """A resolver that says nothing of names with "slow" in them; those that it was asked for."""
    asked: list[str] = []
    is_over = threading.Event()

    def told(host: str, port: int, **_more: Any) -> Any:
        asked.append(host)
        if "slow" in host:
            is_over.wait(20)
        return [(socket.AF_INET, 1, 6, "", ("93.184.216.34", port))]

    monkeypatch.setattr(socket, "getaddrinfo", told)
    monkeypatch.setattr(reaching, "LOOKUP_S", 0.2)
    lookups = ThreadPoolExecutor(reaching.LOOKUPS)
    monkeypatch.setattr(reaching, "_lookups", lookups)
    yield asked
    is_over.set()
    lookups.shutdown()


def look_up(host: str) -> list[Any]:
    return addresses_of(place_of(f"https://{host}/", STRICT), STRICT)


def test_a_name_that_is_slow_is_looked_up_once_at_a_time_and_keeps_no_other_waiting(
    stuck: list[str],
) -> None:
    def slow(_number: int) -> str:
        with pytest.raises(reaching.Unreachable, match="not found within") as refused:
            look_up("slow.example.com")
        return type(refused.value).__name__

    with ThreadPoolExecutor(40) as callers:
        found = set(callers.map(slow, range(40)))

    assert found == {"Unreachable"}
    assert stuck == ["slow.example.com"]
    assert look_up("quick.example.com") == [ip_address("93.184.216.34")]


def test_a_look_up_that_could_not_begin_is_told_from_one_that_took_too_long(
    stuck: list[str],
) -> None:
    with ThreadPoolExecutor(reaching.LOOKUPS) as callers:
        list(callers.map(_tried, [f"slow{each}.example.com" for each in range(reaching.LOOKUPS)]))

    with pytest.raises(reaching.Busy):
        look_up("quick.example.com")
    answer = calling.post("https://quick.example.com/", {}, b"", STRICT)

    assert (answer.status, answer.is_put_off) == (0, True)
    assert "quick.example.com" not in stuck


def _tried(host: str) -> None:
    with pytest.raises(reaching.Unreachable):
        look_up(host)
