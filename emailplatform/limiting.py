"""How often a stranger may try: by address, counted in Redis, off while Redis is away."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from ipaddress import ip_network

from django.conf import settings
from django.core.cache import cache
from django.http import HttpRequest
from django.utils.crypto import salted_hmac
from django_ratelimit.core import get_usage
from redis.exceptions import RedisError

logger = logging.getLogger(__name__)


def seconds_to_wait(request: HttpRequest, group: str, rate: str) -> int:
    """Count one failed try; return 0, or in how many seconds its sender may try again."""
    try:
        usage = get_usage(request, group=group, key=_sender, rate=rate, increment=True)
    except RedisError as error:
        _say_it_is_off(group, error)
        return 0
    return max(1, usage["time_left"]) if usage and usage["should_limit"] else 0


class Tries:
    """Tries of one kind by one sender, of which so many may fail within a window.

    A try is counted before it is made, so that many at once are no way around it, and taken back
    if it succeeds. `parts` say whose tries they are; they are stored as a keyed hash only.
    """

    def __init__(self, group: str, *parts: str, most: int, window_s: int) -> None:
        now = time.time()
        who = salted_hmac(f"tries.{group}", "\0".join(parts), algorithm="sha256").hexdigest()
        self.group, self.most, self.window_s = group, most, window_s
        self.key = f"tries:{group}:{who}:{int(now // window_s)}"
        self.left_s = max(1, round(window_s - now % window_s))

    def begin(self) -> int:
        """Count one try; return 0, or in how many seconds the next one is listened to."""
        try:
            cache.add(self.key, 0, self.window_s)
            return self.left_s if cache.incr(self.key) > self.most else 0
        except (RedisError, ValueError) as error:  # ValueError: it went between the two
            _say_it_is_off(self.group, error)
            return 0

    def forget(self) -> None:
        """Begin anew: who succeeds has as many tries as before."""
        try:
            cache.delete(self.key)
        except RedisError as error:
            _say_it_is_off(self.group, error)

    def take_back(self) -> None:
        """Take one try back and leave those of others."""
        try:
            cache.decr(self.key)
        except (RedisError, ValueError) as error:
            _say_it_is_off(self.group, error)


class Ceiling:
    """A limit per sender and minute that costs next to nothing, for what comes by the thousand.

    Each process counts for itself and adds to Redis in steps: the limit may be passed by one step
    per process. `most` 0: no limit.
    """

    STEP = 50

    def __init__(self, group: str, most: int) -> None:
        self.group, self.most = group, most
        self.step = max(1, min(self.STEP, most // 10))
        self._lock = threading.Lock()
        self._window = 0
        self._own: Counter[str] = Counter()
        self._all: dict[str, int] = {}

    def seconds_to_wait(self, sender: str) -> int:
        """Count one; return 0, or in how many seconds its sender may try again."""
        if not self.most:
            return 0
        now = time.time()
        with self._lock:
            if self._window != int(now // 60):
                self._window = int(now // 60)
                self._own.clear()
                self._all.clear()
            self._own[sender] += 1
            count = self._own[sender]
            is_step = count % self.step == 0
        if is_step:
            self._all[sender] = self._add(sender, int(now // 60))
        total = max(count, self._all.get(sender, 0))
        return max(1, round(60 - now % 60)) if total > self.most else 0

    def _add(self, sender: str, window: int) -> int:
        who = salted_hmac(f"ceiling.{self.group}", sender, algorithm="sha256").hexdigest()
        key = f"ceiling:{self.group}:{who}:{window}"
        try:
            cache.add(key, 0, 120)
            return int(cache.incr(key, self.step))
        except (RedisError, ValueError) as error:
            _say_it_is_off(self.group, error)
            return 0


def _say_it_is_off(group: str, error: Exception) -> None:
    logger.warning("The limit on %s is off: Redis is away (%s)", group, type(error).__name__)


def sender_of(request: HttpRequest) -> str:
    """Return whom to count: an IPv4 address, or the /64 that an IPv6 one usually owns."""
    address: str = client_address(request)
    if ":" not in address:
        return address
    try:
        return str(ip_network(f"{address}/64", strict=False))
    except ValueError:
        return address


def _sender(_group: str, request: HttpRequest) -> str:
    return sender_of(request)


def client_address(request: HttpRequest) -> str:
    """Return the address of the sender, as the outermost of our own proxies saw it."""
    seen: list[str] = request.META.get("HTTP_X_FORWARDED_FOR", "").split(",")
    proxies: int = settings.TRUSTED_PROXIES
    if proxies and len(seen) >= proxies and seen[-proxies].strip():
        return seen[-proxies].strip()
    return str(request.META.get("REMOTE_ADDR", ""))
