"""How often a stranger may try: by address, counted in Redis, off while Redis is away."""

from __future__ import annotations

import logging
from ipaddress import ip_network

from django.conf import settings
from django.http import HttpRequest
from django_ratelimit.core import get_usage
from redis.exceptions import RedisError

logger = logging.getLogger(__name__)

FORGED_RATE = "1000/m"
"""Webhooks that prove nothing. Genuine ones are never limited."""
GUESSING_RATE = "60/m"
"""Public links that were not made by us."""


def seconds_to_wait(request: HttpRequest, group: str, rate: str) -> int:
    """Count one failed try; return 0, or in how many seconds its sender may try again."""
    try:
        usage = get_usage(request, group=group, key=_sender, rate=rate, increment=True)
    except RedisError as error:
        logger.warning("The limit on %s is off: Redis is away (%s)", group, type(error).__name__)
        return 0
    return max(1, usage["time_left"]) if usage and usage["should_limit"] else 0


def _sender(_group: str, request: HttpRequest) -> str:
    """Return whom to count: an IPv4 address, or the /64 that an IPv6 one usually owns."""
    address: str = client_address(request)
    if ":" not in address:
        return address
    try:
        return str(ip_network(f"{address}/64", strict=False))
    except ValueError:
        return address


def client_address(request: HttpRequest) -> str:
    """Return the address of the sender, as the outermost of our own proxies saw it."""
    seen: list[str] = request.META.get("HTTP_X_FORWARDED_FOR", "").split(",")
    proxies: int = settings.TRUSTED_PROXIES
    if proxies and len(seen) >= proxies and seen[-proxies].strip():
        return seen[-proxies].strip()
    return str(request.META.get("REMOTE_ADDR", ""))
