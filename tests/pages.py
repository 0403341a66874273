"""What tests of the admin's pages share."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from django.contrib.auth.models import Group
from django.test import Client

from tests import make


def use_own_cache(settings: Any) -> None:
    """Keep what other tests left in Redis out of this one."""
    default = {**settings.CACHES["default"], "KEY_PREFIX": uuid4().hex}
    settings.CACHES = {"default": default}


def member(role: str) -> Client:
    """Return a browser in which somebody with this role is signed in."""
    user = make.user(is_staff=True)
    user.groups.add(Group.objects.get(name=role))
    client = Client()
    client.force_login(user)
    return client


def text(answer: Any) -> str:
    """Return the page, which must be there."""
    assert answer.status_code == 200
    return str(answer.content.decode())
