"""Queues and lanes: what waits, how fast it goes, what holds it up, and who works on it."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.core.cache import cache
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern
from django.utils import timezone
from redis.exceptions import RedisError

from delivery import overseeing
from delivery.models import Stream, Worker
from delivery.overseeing import Overview
from emailplatform.admin import ReadOnlyAdmin
from subscribers.mailboxes import Mailbox

FRESH_S = 2
"""However many people watch: the queues are read every two seconds."""


@admin.register(Worker)
class QueuesAdmin(ReadOnlyAdmin):
    """The page stands where the list of processes would."""

    heading = "Queues & lanes"
    intro = (
        "A lane is the mail of one stream to one mailbox provider. Lanes do not wait for each "
        "other: one that is limited or slowed is passed over until it has room again."
    )

    class Media:
        css = {"all": ["ui/mail.css"]}

    def own_urls(self) -> list[URLPattern]:
        return [self.page("now/", self.now, "now")]

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        template = "admin/delivery/queues.html"
        return self.render(request, template, self.heading, intro=self.intro, **_facts())

    def now(self, request: HttpRequest) -> HttpResponse:
        """The tables alone, as the page reads them anew."""
        return self.fragment(request, "admin/delivery/queues_now.html", "", **_facts())


def _facts() -> dict[str, Any]:
    return {
        "facts": _overview(),
        "streams": dict(Stream.choices),
        "mailboxes": dict(Mailbox.choices),
    }


def _overview() -> Overview:
    """Return what the page shows, at most FRESH_S old; without Redis, read now."""
    try:
        known: Overview | None = cache.get("queues")
        if known is None:
            known = overseeing.overview(timezone.now())
            cache.set("queues", known, FRESH_S)
    except RedisError:
        return overseeing.overview(timezone.now())
    return known
