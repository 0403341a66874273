"""What a request shows of who sent it, as far as settings let it be kept."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address, ip_network
from typing import Any

from django.conf import settings
from django.http import HttpRequest

from emailplatform.limiting import client_address
from subscribers.consents import Proof


def proof_of(
    request: HttpRequest,
    via: str,
    language: str = "",
    text: str | None = None,
    evidence: Mapping[str, Any] | None = None,
) -> Proof:
    """Return the proof of what a person does on a page of ours."""
    agent = request.headers.get("User-Agent", "")
    return Proof(via, _kept(client_address(request)), agent, language, text, evidence or {})


def _kept(address: str) -> str:
    """Return an address as CONSENT_IP says: whole, its network only, or nothing."""
    if settings.CONSENT_IP == "none":
        return ""
    return address if settings.CONSENT_IP == "full" else network_of(address)


def network_of(address: str) -> str:
    """Return the /24 of an IPv4 address, the /48 of an IPv6 one; "" for what is none.

    >>> network_of("192.0.2.17"), network_of("2001:db8:1:2::3"), network_of("?")
    ('192.0.2.0/24', '2001:db8:1::/48', '')
    """
    try:
        length = 24 if ip_address(address).version == 4 else 48
        return str(ip_network(f"{address}/{length}", strict=False))
    except ValueError:
        return ""
