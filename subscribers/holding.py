"""Uploads held between looking and saying yes, for whoever brought them and nobody else.

What nobody confirms goes with the nightly retention: such files hold addresses.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import BinaryIO, cast
from uuid import uuid4

from django.core import signing
from django.core.files import File
from django.core.files.storage import default_storage

from emailplatform.errors import InvalidInput

FOLDER = "held"
_SALT = "subscribers.holding"


def hold(file: File[bytes], owner: int) -> str:
    """Store an upload; return what its owner shows to read it again."""
    stored = default_storage.save(f"{FOLDER}/{uuid4().hex}.csv", file)
    return signing.dumps([stored, file.name or "list.csv", owner], salt=_SALT)


@contextmanager
def held(token: str, owner: int) -> Iterator[tuple[BinaryIO, str]]:
    """Open what is held; give its content and how it was called.

    Raises InvalidInput if it is gone, or somebody else's.
    """
    stored, name = _stored(token, owner)
    try:
        file = default_storage.open(stored)
    except FileNotFoundError as error:
        raise InvalidInput("The file is not here any more: choose it again.") from error
    with file:
        yield cast("BinaryIO", file.file), name


def let_go(token: str, owner: int) -> None:
    default_storage.delete(_stored(token, owner)[0])


def _stored(token: str, owner: int) -> tuple[str, str]:
    """Return the place and the name of what is held."""
    try:
        stored, name, whose = signing.loads(token, salt=_SALT)
    except signing.BadSignature as error:
        raise InvalidInput("This is not what was looked at: choose the file again.") from error
    if whose != owner:
        raise InvalidInput("Somebody else looked at this file: choose it yourself.")
    return stored, name


def forgotten(before: datetime) -> list[str]:
    """Return the files that were held before a moment and never confirmed."""
    try:
        _, names = default_storage.listdir(FOLDER)
    except FileNotFoundError:  # nothing was ever held
        return []
    places = [f"{FOLDER}/{name}" for name in names]
    return [place for place in places if default_storage.get_modified_time(place) < before]


def end(before: datetime, limit: int) -> int:
    """Throw away up to so many forgotten files; return how many."""
    places = forgotten(before)[:limit]
    for place in places:
        default_storage.delete(place)
    return len(places)
