"""Engagement: how everybody does, over time."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils import timezone

from emailplatform.admin import ReadOnlyAdmin
from subscribers import engaging
from subscribers.engaging import Health
from subscribers.models import ScoreRun


@admin.register(ScoreRun)
class EngagementAdmin(ReadOnlyAdmin):
    """The page stands where the list of scorings would."""

    heading = "Engagement"
    intro = "How people do with your mail, by when they last opened, clicked, replied or bought."

    class Media:
        css = {"all": ["ui/engagement.css"]}

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        health = engaging.health(timezone.now())
        return self.render(
            request,
            "admin/subscribers/engagement.html",
            self.heading,
            intro=self.intro,
            health=health,
            now_stages=_now(health),
            dots=_dots(health),
            people_url=reverse("admin:subscribers_subscriber_changelist"),
        )


def _now(health: Health) -> list[tuple[str, str, int, str]]:
    """Return name, label, people, and what makes the stage, in their order."""
    active, cooling, dormant = settings.STAGE_DAYS
    rules = [
        f"no sign yet, mailed for less than {settings.NEW_DAYS} days",
        f"in the last {active} days",
        f"{active} to {cooling} days ago",
        f"{cooling} to {dormant} days ago",
        f"over {dormant} days ago",
    ]
    known = health.last.stages if health.last else {}
    return [
        (stage.value, str(stage.label), known.get(stage.value, 0), rule)
        for stage, rule in zip(engaging.STAGES, rules, strict=True)
    ]


def _dots(health: Health) -> list[tuple[str, str]]:
    """Return where each group of the calibration stands in a square of 100."""
    bins = health.model.metrics.get("bins", []) if health.model else []
    return [(f"{100 * b['predicted']:.1f}", f"{100 - 100 * b['happened']:.1f}") for b in bins]
