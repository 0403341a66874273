"""The menu of the admin as one reader may see it, and what its search finds."""

from __future__ import annotations

from typing import Any, NamedTuple

from django.apps import apps
from django.conf import settings
from django.contrib import admin
from django.http import HttpRequest
from django.urls import reverse
from unfold.dataclasses import SearchResult

MOST_FOUND = 6
"""Rows per kind that the command search shows."""


class Entry(NamedTuple):
    """A line of the menu: the list of a model (with `model`), or another page (with `url`)."""

    title: str
    icon: str
    model: str = ""
    url: str = ""
    right: str = ""
    """For `url`: the permission it takes; empty: everybody in the admin."""
    badge: str = ""
    """Path of a function that returns what stands behind the title: a count, or ""."""


class Group(NamedTuple):
    title: str
    entries: list[Entry]
    is_folded: bool = False


def groups() -> list[Group]:
    """Return the whole menu, for somebody who may see everything."""
    developers = [
        Entry("API keys", "key", "emailplatform.apikey"),
        Entry("API changes", "history", "emailplatform.auditentry"),
        Entry("Webhooks out", "send", "webhooks.endpoint"),
        Entry("Incoming webhooks", "webhook", "webhooks.rawrequest"),
        Entry("Events", "bolt", "webhooks.event"),
        Entry("Live", "sensors", url="admin:webhooks_event_live", right="webhooks.view_event"),
        Entry("API docs", "menu_book", url="/api/docs/"),
    ]
    if settings.SANDBOX_URL:
        sandbox = Entry("Sandbox inbox", "inbox", url=settings.SANDBOX_URL)
        developers.insert(6, sandbox)
    return [
        Group("", [Entry("Overview", "space_dashboard", url="admin:index")]),
        Group(
            "Campaigns",
            [
                Entry("Campaigns", "campaign", "campaigns.campaign"),
                Entry("Templates", "draft", "campaigns.template"),
            ],
        ),
        Group(
            "Audience",
            [
                Entry("People", "group", "subscribers.subscriber"),
                Entry("Lists", "list_alt", "subscribers.mailinglist"),
                Entry("Segments", "filter_alt", "subscribers.segment"),
                Entry("Imports", "upload_file", "subscribers.import"),
                Entry("Forms", "assignment", "subscribers.signupform"),
                Entry("Suppressions", "block", "subscribers.suppression"),
                Entry(
                    "Data of a person",
                    "privacy_tip",
                    url="admin:subscribers_subscriber_privacy",
                    right="subscribers.erase_subscriber",
                ),
                Entry(
                    "Held addresses",
                    "front_hand",
                    "subscribers.heldsubscription",
                    badge="subscribers.admin.checks.held_badge",
                ),
                Entry("Address checks", "domain_verification", "subscribers.checkrun"),
                Entry("Engagement", "monitor_heart", "subscribers.scorerun"),
                Entry("List hygiene", "cleaning_services", "subscribers.hygienerun"),
            ],
        ),
        Group(
            "Transactional",
            [
                Entry("Messages", "forward_to_inbox", "delivery.mailmessage"),
                Entry("Message types", "timer", "delivery.messagetype"),
                Entry("Late mail", "running_with_errors", "delivery.slabreach"),
            ],
        ),
        Group(
            "Delivery",
            [
                Entry("Providers", "dns", "delivery.provideraccount"),
                Entry("Sending domains", "language", "delivery.sendingdomain"),
                Entry("Routing rules", "alt_route", "delivery.routingrule"),
                Entry("Queues & lanes", "swap_vert", "delivery.worker"),
                Entry("Hand-offs", "outbox", "delivery.handoff"),
                Entry("All messages", "mail", "delivery.message"),
                Entry(
                    "Dead letters",
                    "unsubscribe",
                    "delivery.deadletter",
                    badge="delivery.admin.dead_letters.badge",
                ),
                Entry("Alerts", "notifications", "delivery.alert"),
            ],
        ),
        Group("Developers", developers, is_folded=True),
        Group(
            "Settings",
            [
                Entry("Team", "badge", "auth.user"),
                Entry("Roles", "admin_panel_settings", "auth.group"),
                Entry("People’s fields", "label", "subscribers.attribute"),
                Entry("Retention", "auto_delete", "subscribers.retentionrun"),
                Entry("Schedules", "schedule", "django_celery_beat.periodictask"),
            ],
            is_folded=True,
        ),
    ]


def navigation(request: HttpRequest) -> list[dict[str, Any]]:
    """Return the menu for one reader: without what they may not see."""
    shown = []
    for group in groups():
        items = [item for entry in group.entries if (item := _item(entry, request))]
        if items:
            shown.append({"title": group.title, "collapsible": group.is_folded, "items": items})
    return shown


def _item(entry: Entry, request: HttpRequest) -> dict[str, Any] | None:
    """Return one line as unfold wants it; None for what the reader may not see."""
    if entry.model:
        model = apps.get_model(entry.model)
        if model not in admin.site._registry or not _may_view(request, model):
            return None
        link = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")
    else:
        if entry.right and not request.user.has_perm(entry.right):
            return None
        link = reverse(entry.url) if entry.url.startswith("admin:") else entry.url
    is_here = request.path == link if entry.url else request.path.startswith(link)
    item = {"title": entry.title, "icon": entry.icon, "link": link, "active": is_here}
    return {**item, "badge": entry.badge} if entry.badge else item


def _may_view(request: HttpRequest, model: type[Any]) -> bool:
    return admin.site.get_model_admin(model).has_view_permission(request)


SEARCHED = [
    ("subscribers.subscriber", "Person", "person"),
    ("campaigns.campaign", "Campaign", "campaign"),
    ("campaigns.template", "Template", "draft"),
    ("subscribers.mailinglist", "List", "list_alt"),
    ("subscribers.segment", "Segment", "filter_alt"),
]


def search(request: HttpRequest, term: str) -> list[SearchResult]:
    """Return what the command search finds among people (by address), campaigns and the rest.

    Each model's admin says how it is searched; what the reader may not see is not found.
    """
    found = []
    for label, kind, icon in SEARCHED:
        model = apps.get_model(label)
        if model in admin.site._registry and _may_view(request, model):
            found += _found(request, model, term, kind, icon)
    return found


def _found(
    request: HttpRequest, model: type[Any], term: str, kind: str, icon: str
) -> list[SearchResult]:
    page = admin.site.get_model_admin(model)
    rows, _ = page.get_search_results(request, page.get_queryset(request), term)
    name = f"admin:{model._meta.app_label}_{model._meta.model_name}_change"
    return [
        SearchResult(title=str(row), description=kind, link=reverse(name, args=[row.pk]), icon=icon)
        for row in rows[:MOST_FOUND]
    ]


def environment(request: HttpRequest) -> list[str] | None:
    """Mark an installation whose mail goes to the sandbox: nobody out there gets any."""
    return ["Sandbox", "info"] if settings.SANDBOX_URL else None
