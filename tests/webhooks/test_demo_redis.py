"""The demo talks to a database of its own in the same Redis."""

from __future__ import annotations

import pytest

from webhooks.management.commands.demo import _other_redis


@pytest.mark.parametrize(
    ("url", "other"),
    [
        ("unix:///run/redis.sock", "unix:///run/redis.sock?db=1"),
        ("unix:///run/redis.sock?db=0", "unix:///run/redis.sock?db=1"),
        ("redis://:secret@127.0.0.1:6379/0", "redis://:secret@127.0.0.1:6379/1"),
    ],
)
def test_the_same_server_another_database(url, other):
    assert _other_redis(url) == other
