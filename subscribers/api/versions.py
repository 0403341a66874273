"""Which version of a person somebody means: `If-Match`, `If-Unmodified-Since`, else 412.

Told from what the API says of a person, scores left out: who changes a name does not mind an open.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from django.utils.http import http_date, parse_http_date_safe
from rest_framework.request import Request
from rest_framework.utils.encoders import JSONEncoder

from emailplatform.errors import DomainError
from subscribers.models import Subscriber

Told = Callable[[Subscriber], Mapping[str, Any]]
"""What the API says of a person."""


class Outdated(DomainError):
    """Somebody else changed it meanwhile."""

    code = "outdated"
    http_status = 412


def tag_of(told: Mapping[str, Any]) -> str:
    """Return the ETag of a person as told."""
    lasting = {name: value for name, value in told.items() if name != "engagement"}
    text = json.dumps(lasting, cls=JSONEncoder, sort_keys=True)
    return f'"{hashlib.sha256(text.encode()).hexdigest()[:32]}"'


def changed_at(person: Subscriber) -> datetime:
    """Return when the person or one of their subscriptions changed last."""
    moments = [each.changed_at for each in person.subscriptions.all()]
    return max(person.updated_at, person.status_changed_at, *moments)


def headers_of(person: Subscriber, told: Mapping[str, Any]) -> dict[str, str]:
    """Return the headers that name this version."""
    return {"ETag": tag_of(told), "Last-Modified": http_date(changed_at(person).timestamp())}


def condition(request: Request, tell: Told) -> Callable[[Subscriber], None] | None:
    """Return what checks that a person is still as the caller knows them; None if nobody asks.

    It raises Outdated.
    """
    wanted = request.headers.get("If-Match", "")
    since = request.headers.get("If-Unmodified-Since", "")
    if not wanted and not since:
        return None

    def check(person: Subscriber) -> None:
        if wanted:
            is_same = wanted.strip() == "*" or tag_of(tell(person)) in _tags(wanted)
        else:
            is_same = _is_unmodified(person, since)
        if not is_same:
            raise Outdated("This person was changed meanwhile. Fetch them anew and try again.")

    return check


def _tags(header: str) -> set[str]:
    """Return the tags in a header. Weak ones count: proxies that compress make them so."""
    return {each.strip().removeprefix("W/") for each in header.split(",")}


def _is_unmodified(person: Subscriber, since: str) -> bool:
    """Say if nothing changed after a date; one that cannot be read is passed over (RFC 9110)."""
    seconds = parse_http_date_safe(since)
    if seconds is None:
        return True
    return changed_at(person).replace(microsecond=0) <= datetime.fromtimestamp(seconds, tz=UTC)
