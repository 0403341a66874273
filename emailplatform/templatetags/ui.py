"""What templates of the admin share: `{% load ui %}`."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django import template
from django.utils import timezone
from django.utils.safestring import SafeString

from emailplatform import formats

register = template.Library()


@register.filter
def number(value: float | None) -> str:
    """Return a count with separators; a dash for what is not known."""
    return "–" if value is None else formats.number(value)


@register.filter
def share(part: float, whole: float) -> str:
    """Return `part` of `whole` in percent: {{ opened|share:delivered }}."""
    return formats.share(part, whole)


@register.filter
def span(duration: timedelta | float) -> str:
    """Return a duration, or seconds, in words."""
    return formats.span(duration)


@register.filter
def ago(when: datetime | None) -> SafeString | str:
    """Return a relative time with the exact one on hover."""
    return formats.ago(when)


@register.filter
def exact(when: datetime | None) -> str:
    """Return date, time and zone."""
    return "–" if when is None else formats.exact(when)


@register.simple_tag
def badge(text: object, tone: str = "quiet") -> SafeString:
    """Return a small label: {% badge "Paused" "warn" %}."""
    return formats.badge(text, tone)


@register.simple_tag
def zone() -> str:
    """Return the name of the zone in which times are shown."""
    return timezone.get_current_timezone_name()


@register.inclusion_tag("admin/parts/bar.html")
def bar(done: float, total: float, label: str, tone: str = "primary") -> dict[str, Any]:
    """Draw a progress bar that says its value to screen readers as well."""
    percent = min(100.0, 100 * done / total) if total else 0.0
    return {"percent": percent, "label": label, "tone": tone}
