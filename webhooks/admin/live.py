"""The newest events as they come: a small cached piece that the page asks for again and again.

No thread is kept open for a browser (docs/adr/0011): who asks with the ETag of what it has, and
nothing is new, gets 304 for the price of a look into the cache.
"""

from __future__ import annotations

import hashlib
from typing import Any

from django.core.cache import cache
from django.http import HttpRequest, HttpResponse, HttpResponseNotModified
from django.template.response import TemplateResponse
from django.utils import timezone
from redis.exceptions import RedisError

from campaigns.models import Campaign
from delivery.providers.base import EventType
from webhooks import streaming
from webhooks.recounting import WORDS, Moment, moments
from webhooks.streaming import Wish

MOST = 50
FRESH_S = 1
"""However many people watch: the newest events are read once a second and filter."""
MOST_CAMPAIGNS = 20


def context(request: HttpRequest) -> dict[str, Any]:
    """Return what the page shows at first."""
    wish = wish_of(request)
    tag, lines = _newest(wish)
    return {
        "lines": lines,
        "tag": tag,
        "wish": wish,
        "types": [(each.value, WORDS[each.value].label) for each in EventType],
        "campaigns": Campaign.objects.exclude(launched_at=None).order_by("-launched_at")[
            :MOST_CAMPAIGNS
        ],
    }


def piece(request: HttpRequest) -> HttpResponse:
    """The table's rows alone; 304 if they are those that the page has."""
    tag, lines = _newest(wish_of(request))
    if request.headers.get("If-None-Match") == tag:
        response: HttpResponse = HttpResponseNotModified()
    else:
        since = _number(request.GET.get("since", ""))
        facts = {"lines": lines, "since": since or None}
        response = TemplateResponse(request, "admin/webhooks/live_rows.html", facts)
    response["ETag"] = tag
    response["Cache-Control"] = "private, no-cache"
    return response


def wish_of(request: HttpRequest) -> Wish:
    """Return which events the page was asked for; what makes no sense asks for all."""
    kind = request.GET.get("type", "")
    known = {each.value for each in EventType}
    return Wish(kind if kind in known else "", _number(request.GET.get("campaign", "")))


def _number(text: str) -> int:
    return int(text[:18]) if text.isascii() and text.isdecimal() else 0


def _newest(wish: Wish) -> tuple[str, list[Moment]]:
    """Return the newest events, at most FRESH_S old, and their tag; without Redis, read now."""
    zone = timezone.get_current_timezone_name()
    key = f"live:{wish.type}:{wish.campaign}"
    try:
        lines: list[Moment] | None = cache.get(key)
        if lines is None:
            lines = moments(streaming.newest(wish, MOST))
            cache.set(key, lines, FRESH_S)
    except RedisError:
        lines = moments(streaming.newest(wish, MOST))
    told = ",".join(f"{each.event.pk}{each.label}" for each in lines)
    # Times are relative and in the reader's zone, so a tag lasts no longer than a minute.
    minute = int(timezone.now().timestamp() // 60)
    digest = hashlib.sha256(f"{zone}:{minute}:{wish}:{told}".encode()).hexdigest()[:24]
    return f'"{digest}"', lines
